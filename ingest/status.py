"""What is in and how far it is seen: the last loads, open rejects, the lag of each target, the waiting inbox."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingest.inbox import inbox_folder, waiting
from ingest.rejects import Filters, summary

# One row per target; `make status` reads it too.
MARKS = """
select
    bounds.target,
    bounds.completed_seq as mark,
    count(loads.load_id) as unseen_loads,
    coalesce(sum(loads.loaded), 0) as unseen_rows,
    min(loads.finished_at) as oldest_unseen_at,
    bounds.as_of,
    ops.refresh_is_running(bounds.target) as is_running
from ops.bounds
left join raw.loads on loads.published_seq > bounds.completed_seq
group by bounds.target, bounds.completed_seq, bounds.as_of
order by bounds.target
"""
LOADS = """
select
    load_id, file, stream, app, records, loaded, rejected, mended, bytes, seconds, checksum, loaded_by, finished_at,
    published_seq
from raw.loads
order by published_seq desc nulls last
limit %s
"""
# A load's rows are received when it starts.
STREAMS = """
select
    stream, count(*) as loads, sum(loaded) as loaded, sum(rejected) as rejected,
    max(started_at) filter (where loaded > 0) as newest_received_at
from raw.loads
group by stream
order by stream
"""
NEWEST = "select coalesce(max(published_seq), 0) as seq from raw.loads"
REASONS_SHOWN = 20


def status(connection: psycopg.Connection, last: int = 10, inbox: Path | None = None) -> dict[str, Any]:
    """The state of the ingest.

    `loads`: the last ones, newest first; `rejects`: the open ones by stream, field and reason; `streams`: counts and
    the newest `received_at` of each; `newest_seq`: the newest load's published_seq, 0 for none; `marks`: the lag of
    each target in loads and rows; `inbox`: `folder`, `files` waiting, their `bytes`, and `oldest_at`.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        return {
            "loads": cursor.execute(LOADS, [last]).fetchall(),
            "rejects": summary(connection, Filters(limit=REASONS_SHOWN)),
            "streams": cursor.execute(STREAMS).fetchall(),
            "newest_seq": cursor.execute(NEWEST).fetchone()["seq"],
            "marks": cursor.execute(MARKS).fetchall(),
            "inbox": inbox_state(inbox or inbox_folder()),
        }


def inbox_state(folder: Path) -> dict[str, Any]:
    """The files waiting in an inbox, which may not be there yet. Times are those of the files' last change."""
    found = []
    for path in waiting(folder):
        try:
            found.append(path.stat())
        except OSError:
            # Taken by a load in this instant.
            continue
    oldest = min((file.st_mtime for file in found), default=None)
    return {
        "folder": str(folder),
        "files": len(found),
        "bytes": sum(file.st_size for file in found),
        "oldest_at": None if oldest is None else datetime.fromtimestamp(oldest, timezone.utc),
    }
