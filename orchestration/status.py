"""How far the warehouse is: lag, mark, lock, last refreshes, and what a stuck one waits for."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingest.status import MARKS

REFRESHES = """
select
    refresh_id, target, started_at, completed_at, failed_at, phase, from_seq, to_seq, touched,
    cardinality(rebuilt) as rebuilt, tests_failed, error, host, pid, backend_pid,
    case
        when completed_at is not null then 'complete'
        when failed_at is not null then 'failed'
        when ops.refresh_is_running(target) and refresh_id = max(refresh_id) over (partition by target) then 'running'
        else 'died'
    end as state
from ops.refreshes
order by refresh_id desc
limit %s
"""

WAITING = """
select
    waiting.pid, waiting.application_name, waiting.wait_event_type, waiting.wait_event,
    extract(epoch from clock_timestamp() - waiting.query_start)::integer as seconds,
    left(regexp_replace(waiting.query, '\\s+', ' ', 'g'), 80) as query,
    array(
        select format('%%s (%%s, %%s): %%s', pid, usename, application_name,
            left(regexp_replace(query, '\\s+', ' ', 'g'), 80))
        from pg_stat_activity where pid = any(pg_blocking_pids(waiting.pid))
    ) as blocked_by
from pg_stat_activity as waiting
where waiting.datname = current_database() and waiting.pid <> pg_backend_pid()
    and cardinality(pg_blocking_pids(waiting.pid)) > 0
"""


def status(connection: psycopg.Connection, last: int = 5) -> dict[str, list[dict[str, Any]]]:
    """Marks with their lag, the last refreshes of all targets, and every session that waits for a lock."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return {
            "marks": cursor.execute(MARKS).fetchall(),
            "refreshes": cursor.execute(REFRESHES, [last]).fetchall(),
            "waiting": cursor.execute(WAITING, []).fetchall(),
        }
