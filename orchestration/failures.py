"""The one owner of retrying: what fails in a Dagster run is tried again here, or nowhere.

Runs are not retried by the instance, and no op has a retry policy of its own. A server that went away is worth another
try in a minute; anything else would only fail again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg
import psycopg

from ingest.connection import connect, resolve
from ingest.errors import TidemarkError

RETRIES = 3
SECONDS_BETWEEN = 60


@contextmanager
def one_owner_of_retries() -> Iterator[None]:
    """Tell an error in one line, and try the step again only where the server is what went away.

    Raises:
        RetryRequested: the server went away; after the last try the step fails with what went wrong.
        Failure: anything else that a user can mend; not to be tried again.
    """
    try:
        yield
    except (TidemarkError, psycopg.Error) as error:
        if lost_server(error):
            raise dg.RetryRequested(RETRIES, SECONDS_BETWEEN) from error
        raise dg.Failure(" ".join(str(error).split()), allow_retries=False) from None


def lost_server(error: BaseException) -> bool:
    """Whether an error came of a server that went away: a lost connection caused it, or nobody answers now."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, psycopg.OperationalError) and seen.sqlstate in LOST:
            return True
        seen = seen.__cause__ or seen.__context__
    with suppress(TidemarkError):
        server = resolve()
        if server.embedded:
            # Asking for it starts it: it is there.
            return False
        try:
            with connect(server, autocommit=True):
                return False
        except TidemarkError:
            return True
    return False


# No state at all: libpq itself lost the connection. Else: shutdown, crash, starting up, connection failures.
LOST = (None, "57P01", "57P02", "57P03", "08000", "08001", "08003", "08004", "08006")
