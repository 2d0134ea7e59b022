"""What a person may ask for: to be erased, to get their data, to opt out and in again."""

from orchestration.privacy.erasure import Certificate, erase, resume
from orchestration.privacy.export import export
from orchestration.privacy.opting import opt_in, opt_out
from orchestration.privacy.person import Subject
from orchestration.privacy.requests import answer_requests
from orchestration.privacy.upkeep import truncate_addresses

__all__ = [
    "Certificate",
    "Subject",
    "answer_requests",
    "erase",
    "export",
    "opt_in",
    "opt_out",
    "resume",
    "truncate_addresses",
]
