"""A made-up company's data in its producers' own formats, and the truth about it."""

from ingest.sample.clock import AS_OF
from ingest.sample.generate import write_sample

__all__ = ["AS_OF", "write_sample"]
