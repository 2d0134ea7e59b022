"""One module per command of `python -m ingest`: thin; the work is in the library modules."""
