"""What the warehouse remembers of pulls: how far each has come, and what lies in its overlap."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from ingest.errors import TidemarkError
from ingest.load import database_error

LOCK_CLASS = 0x7075_6C6C  # "pull"

TIMES_AS_TEXT = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'"
FIND = """
    select pull_id, watermark::text, (watermark - %(overlap)s)::text as window_start
    from ops.pulls where source = %(source)s and mapping = %(mapping)s
"""
ADD = """
    insert into ops.pulls (source, mapping) values (%(source)s, %(mapping)s) on conflict do nothing
"""
KNOWN = """
    select replace(row_hash::text, '-', '') from ops.pulled_rows where pull_id = %s and row_hash = any(%s::uuid[])
"""
# A watermark beyond the source's clock is not believed: rows behind it are still to come. It never goes back.
MOVE = """
    update ops.pulls set
        watermark = case
            when %(newest)s::timestamptz is null then watermark
            else greatest(watermark, least(%(newest)s::timestamptz, %(now)s::timestamptz))
        end,
        rows_pulled = rows_pulled + %(rows)s,
        pulled_at = case when %(finished)s then clock_timestamp() else pulled_at end
    where pull_id = %(pull_id)s and watermark is not distinct from %(expected)s::timestamptz
    returning watermark::text, (watermark - %(overlap)s)::text
"""
REMEMBER = """
    insert into ops.pulled_rows (pull_id, row_hash, watermark)
    select %(pull_id)s, pulled.row_hash, pulled.watermark
    from unnest(%(hashes)s::uuid[], %(watermarks)s::timestamptz[]) as pulled (row_hash, watermark)
    where pulled.watermark is null or pulled.watermark >= %(window_start)s::timestamptz
    on conflict (pull_id, row_hash) do nothing
"""
FORGET = "delete from ops.pulled_rows where pull_id = %(pull_id)s and watermark < %(window_start)s::timestamptz"
ALL = """
    select source, mapping, watermark::text, rows_pulled, date_trunc('second', pulled_at)::text as pulled_at
    from ops.pulls order by mapping, source
"""


@dataclass
class Progress:
    """How far the pull of one mapping from one source has come. Times are text as PostgreSQL writes it.

    `pull_id` is None, and the rest too, where nothing was ever pulled and nothing may be written.
    """

    source: str
    mapping: str
    overlap: timedelta
    pull_id: int | None = None
    watermark: str | None = None
    window_start: str | None = None

    def read(self, connection: psycopg.Connection) -> None:
        """Learns what the warehouse knows."""
        with warehouse_errors(self.mapping):
            connection.execute(TIMES_AS_TEXT)
            row = connection.execute(FIND, vars(self)).fetchone()
        if row:
            self.pull_id, self.watermark, self.window_start = row

    @contextmanager
    def locked(self, connection: psycopg.Connection, notify: Callable[[str], None]) -> Iterator[None]:
        """Keeps other pulls of the same mapping and source waiting, then reads how far the last one came."""
        with warehouse_errors(self.mapping):
            connection.execute(ADD, vars(self))
            self.read(connection)
            key = [LOCK_CLASS, self.pull_id]
            if not connection.execute("select pg_try_advisory_lock(%s, %s)", key).fetchone()[0]:
                notify(f"another pull of {self.mapping} from {self.source} is running: waiting for it")
                connection.execute("select pg_advisory_lock(%s, %s)", key)
            self.read(connection)
        try:
            yield
        finally:
            # Without its connection the lock is gone as well.
            with suppress(psycopg.Error):
                connection.execute("select pg_advisory_unlock(%s, %s)", key)

    def known(self, connection: psycopg.Connection, hashes: list[str]) -> set[str]:
        """Those of the hashes (hexadecimal) that are of rows pulled before."""
        if self.pull_id is None:
            return set()
        with warehouse_errors(self.mapping):
            return {found for (found,) in connection.execute(KNOWN, [self.pull_id, hashes])}

    def move(
        self,
        cursor: psycopg.Cursor,
        *,
        newest: str | None,
        now: str,
        rows: dict[str, str | None],
        finished: bool = False,
    ) -> None:
        """Moves the watermark to `newest`, remembers the rows (hash → watermark) within the overlap and forgets
        those behind it.

        In the caller's transaction: call `read` when that was rolled back. TidemarkError when somebody else
        has moved it meanwhile.
        """
        values = {
            **vars(self),
            "expected": self.watermark,
            "newest": newest,
            "now": now,
            "rows": len(rows),
            "finished": finished,
            "hashes": list(rows),
            "watermarks": list(rows.values()),
        }
        moved = cursor.execute(MOVE, values).fetchone()
        if moved is None:
            raise TidemarkError(f"another pull of {self.mapping} from {self.source} came in between: run it again")
        self.watermark, self.window_start = moved
        values["window_start"] = self.window_start
        if rows:
            cursor.execute(REMEMBER, values)
        cursor.execute(FORGET, values)


def all_progress(connection: psycopg.Connection) -> list[dict[str, object]]:
    """One object per mapping and source ever pulled."""
    with warehouse_errors("--list"):
        connection.execute(TIMES_AS_TEXT)
        cursor = connection.execute(ALL)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def is_older(connection: psycopg.Connection, one: str | None, other: str) -> bool:
    """Whether a watermark, or none at all, is older than another."""
    return connection.execute("select coalesce(%s::timestamptz < %s::timestamptz, true)", [one, other]).fetchone()[0]


@contextmanager
def warehouse_errors(mapping: str) -> Iterator[None]:
    """Turns what the warehouse refuses into one line."""
    try:
        yield
    except psycopg.Error as error:
        raise database_error(f"pull {mapping}", error) from None
