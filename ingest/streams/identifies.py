"""Stream `identifies`: who a visitor is, told by S1's `identifySession` or S4's `posthogIdentify`.

A record needs a time and a user id or e-mail address, and says of which session or anonymous id that user is,
where it knows. Traits (`user_metadata`, `traits`, `properties`, `$set`) and keys no column knows become
`properties`. E-mail address and name are moved out of them to columns of their own: raw keeps them there, and
staging selects neither.
"""

from typing import Any

from ingest.streams import values as v
from ingest.streams.flat import FlatStream, Values, both_styles, need
from ingest.streams.session_batches import ANONYMOUS_PREFIX
from ingest.streams.shape import Shape
from ingest.streams.values import Converter

COLUMNS: dict[str, Converter] = {
    "identify_id": v.identifier,
    "app_id": v.identifier,
    "session_id": v.identifier,
    "anonymous_id": v.identifier,
    "user_id": v.identifier,
    "email": v.identifier,
    "name": v.text,
    "occurred_at": v.timestamp,
}
ALIASES = {
    "identify_id": ("id", "event_id", "message_id"),
    "app_id": ("chatbot_id", "funnel_id"),
    "session_id": ("analytics_session_id",),
    "anonymous_id": ("visitor_id",),
    "user_id": ("distinct_id",),
    "email": ("user_email",),
    "name": ("user_name",),
    "occurred_at": ("timestamp", "client_timestamp", "created_at", "identified_at"),
    "properties": ("traits", "user_metadata", "user_properties", "metadata", "props"),
}
# PostHog's own spellings.
LITERAL = {"$anon_distinct_id": "anonymous_id", "$set": "traits"}


class Identifies(FlatStream):
    """Decoder of the stream. `app` is the app of records that name none."""

    name = "identifies"
    id_column = "identify_id"
    convert = COLUMNS
    columns = ("withheld", "session_group", "content_hash", *COLUMNS, "properties")
    shape = Shape("Identify", (*COLUMNS, "properties"), ALIASES, literal=LITERAL)
    lifted = both_styles(("user_id", "email", "name")) | {
        "user_email": "email",
        "userEmail": "email",
        "user_name": "name",
        "userName": "name",
        "timestamp": "occurred_at",
    }

    def prepare(self, values: Values, unknown: dict[str, Any]) -> None:
        """A browser session that nobody signed in to is its own anonymous id."""
        session_id = values["session_id"]
        if type(session_id) is str and session_id.startswith(ANONYMOUS_PREFIX):
            values["anonymous_id"] = values["anonymous_id"] or session_id

    def check(self, row: dict[str, str]) -> None:
        """Somebody at some time."""
        need(row["occurred_at"], "occurred_at", "give timestamp, created_at or occurred_at")
        need(row["user_id"] or row["email"], "user_id", "an identify names a user, by id or e-mail address")
