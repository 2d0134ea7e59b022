"""The streams there are, by name."""

from ingest.streams.costs import Costs
from ingest.streams.events import Events
from ingest.streams.identifies import Identifies
from ingest.streams.llm_requests import LlmRequests
from ingest.streams.privacy_requests import PrivacyRequests
from ingest.streams.record import Stream
from ingest.streams.session_batches import SessionBatches
from ingest.streams.workspaces import Workspaces

READ: dict[str, type[Stream]] = {
    "session_batches": SessionBatches,
    "events": Events,
    "llm_requests": LlmRequests,
    "identifies": Identifies,
    "costs": Costs,
    "privacy_requests": PrivacyRequests,
}
# Streams no file holds: only `pull` brings them.
PULLED: dict[str, type[Stream]] = {"workspaces": Workspaces}
DECODERS = READ | PULLED
NAMES = tuple(READ)
# Tables whose exports are a stream.
SYNONYMS = {"analytics_user_sessions": "session_batches"}
