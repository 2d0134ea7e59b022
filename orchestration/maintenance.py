"""What a warehouse needs from time to time: partitions ahead, dead rows removed, statistics, old build files gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from ingest.connection import Server, connect
from orchestration.dbt_manifest import artifacts_folder
from orchestration.dbt_process import LOGS_KEPT, RUNS_KEPT, prune_runs
from orchestration.instance import instance_folder

SCHEMAS = ("raw", "history", "ops", "staging", "intermediate", "marts")
LOCK_TIMEOUT = "5s"

# Where rows changed since the last vacuum or statistics. A table that others keep locked waits for the next time.
WORN = """
select stats.schemaname, stats.relname
from pg_stat_user_tables as stats
inner join pg_class as tables on stats.relid = tables.oid
where stats.schemaname = any(%(schemas)s) and tables.relkind = 'r'
    and (stats.n_dead_tup > 0 or stats.n_mod_since_analyze > 0 or stats.n_ins_since_vacuum > 0)
order by 1, 2
"""
# The server by itself never makes statistics of a partitioned table as a whole.
PARTITIONED = """
select relnamespace::regnamespace::text, relname
from pg_class where relkind = 'p' and relnamespace = 'raw'::regnamespace and not relispartition
order by 2
"""


@dataclass
class Maintenance:
    """What was done: relations by name, partitions by number."""

    partitions_made: int = 0
    vacuumed: list[str] = field(default_factory=list)
    analyzed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def maintain(
    server: Server,
    *,
    days_ahead: int = 14,
    vacuum: bool = True,
    analyze: bool = True,
    runs_kept: int = RUNS_KEPT,
    report: Callable[[str], None] = lambda _: None,
) -> Maintenance:
    """Make partitions for the days ahead, vacuum and analyze what changed, prune dbt's folders and run logs.

    Each table is a transaction of its own: it may be stopped at any time. What is locked longer than a few seconds is
    left, and named.

    Raises:
        psycopg.Error: the database refused something.
    """
    done = Maintenance()
    with connect(server, autocommit=True, application_name="tidemark maintenance") as connection:
        connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        done.partitions_made = connection.execute("select ops.make_partitions(%s)", [days_ahead]).fetchone()[0]
        report(f"{done.partitions_made} partitions made")
        if vacuum:
            worn = connection.execute(WORN, {"schemas": list(SCHEMAS)}).fetchall()
            for schema, name in worn:
                _try(connection, "vacuum (analyze) {}", schema, name, done.vacuumed, done.left)
            report(f"{len(done.vacuumed)} tables vacuumed")
        if analyze:
            for schema, name in connection.execute(PARTITIONED).fetchall():
                _try(connection, "analyze {}", schema, name, done.analyzed, done.left)
            report(f"{len(done.analyzed)} partitioned tables analyzed")
    prune_runs(artifacts_folder() / "runs", runs_kept)
    prune_runs(instance_folder() / "logs", LOGS_KEPT)
    return done


def _try(
    connection: psycopg.Connection, statement: str, schema: str, name: str, done: list[str], left: list[str]
) -> None:
    try:
        connection.execute(sql.SQL(statement).format(sql.Identifier(schema, name)))
        done.append(f"{schema}.{name}")
    except psycopg.errors.LockNotAvailable:
        left.append(f"{schema}.{name}")
    except psycopg.errors.UndefinedTable:
        # A refresh replaced it, or a purge dropped it, since the list was made.
        pass
