"""Stream `privacy_requests`: a person asks to be erased, to get their data, to opt out or in again (S1, S4).

A request names the person by user id, anonymous id or e-mail address, and says when it was made. It is kept
whole even where it carries a refusal of consent: that is what it is about.
"""

import re
from typing import Any

from ingest.streams import values as v
from ingest.streams.flat import FlatStream, Values, both_styles, need
from ingest.streams.session_batches import ANONYMOUS_PREFIX
from ingest.streams.shape import Shape
from ingest.streams.values import Converter, Refusal, is_absent

SPELLINGS = {
    "erase": ("erase", "erasure", "delete", "deletion", "forget", "forgotten", "forgetme", "righttobeforgotten"),
    "export": ("export", "access", "portability", "download", "subjectaccess", "subjectaccessrequest"),
    "opt_out": ("optout", "optedout", "object", "objection", "withdraw", "withdrawconsent", "donottrack"),
    "opt_in": ("optin", "optedin", "giveconsent", "grantconsent"),
}
# Words around the type that change nothing: `gdpr_delete_request`, `dataExport`, `right to erasure`.
AROUND = re.compile(
    r"^(?:gdpr|ccpa)?(?:rightto)?(?:user|data)?|(?:my|user|personal)?(?:data|account)?(?:request(?:ed)?)?$"
)
TYPES = {spelling: kind for kind, spellings in SPELLINGS.items() for spelling in spellings}


def request_type(value: Any, field: str) -> str:
    """erase, export, opt_out or opt_in, in any of their spellings."""
    written = re.sub(r"[^a-z]", "", v.text(value, field).lower())
    kind = TYPES.get(written) or TYPES.get(AROUND.sub("", written))
    if not kind:
        raise Refusal(f"needs one of {', '.join(SPELLINGS)}, not {v.shown(value)}", field)
    return kind


def email(value: Any, field: str) -> str:
    """An e-mail address, which must look like one: somebody is to be found by it."""
    address = v.identifier(value, field).strip()
    if address and not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        raise Refusal(f"needs an e-mail address, not {v.shown(value)}", field)
    return address


COLUMNS: dict[str, Converter] = {
    "request_id": v.identifier,
    "request_type": request_type,
    "app_id": v.identifier,
    "anonymous_id": v.identifier,
    "user_id": v.identifier,
    "email": email,
    "requested_at": v.timestamp,
}
ALIASES = {
    "request_id": ("id", "event_id"),
    "request_type": ("type", "action", "event_name", "event", "kind"),
    "app_id": ("chatbot_id", "funnel_id"),
    "anonymous_id": ("visitor_id",),
    "user_id": ("distinct_id",),
    "email": ("user_email",),
    "requested_at": ("timestamp", "created_at", "occurred_at", "client_timestamp"),
    "properties": ("metadata", "props"),
}


class PrivacyRequests(FlatStream):
    """Decoder of the stream. `app` is the app of records that name none."""

    name = "privacy_requests"
    id_column = "request_id"
    convert = COLUMNS
    columns = ("session_group", "content_hash", *COLUMNS, "properties")
    shape = Shape("PrivacyRequest", (*COLUMNS, "properties"), ALIASES, ("session_id",))
    lifted = both_styles(("user_id", "anonymous_id", "email")) | {
        "user_email": "email",
        "userEmail": "email",
        "timestamp": "requested_at",
    }

    def prepare(self, values: Values, unknown: dict[str, Any]) -> None:
        """A browser session that nobody signed in to is its own anonymous id; another one is kept beside."""
        session_id = values["session_id"]
        if is_absent(session_id):
            return
        if str(session_id).startswith(ANONYMOUS_PREFIX) and is_absent(values["anonymous_id"]):
            values["anonymous_id"] = session_id
        else:
            unknown["session_id"] = session_id

    def check(self, row: dict[str, str]) -> None:
        """Somebody at some time."""
        need(row["requested_at"], "requested_at", "give requested_at, timestamp or created_at")
        somebody = row["user_id"] or row["anonymous_id"] or row["email"]
        need(somebody, "user_id", "a request names a person by user_id, anonymous_id or email")
