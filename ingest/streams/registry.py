"""The streams there are, by name."""

from ingest.streams.events import Events
from ingest.streams.llm_requests import LlmRequests
from ingest.streams.record import Stream
from ingest.streams.session_batches import SessionBatches
from ingest.streams.workspaces import Workspaces

READ: dict[str, type[Stream]] = {
    "session_batches": SessionBatches,
    "events": Events,
    "llm_requests": LlmRequests,
}
# Streams no file holds: only `pull` brings them.
PULLED: dict[str, type[Stream]] = {"workspaces": Workspaces}
# Streams of the wire formats that have no raw table yet: their files are left alone.
LATER = ("identifies", "costs", "privacy_requests")
NAMES = (*READ, *LATER)
# Tables whose exports are a stream.
SYNONYMS = {"analytics_user_sessions": "session_batches"}
