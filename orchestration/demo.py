"""`make demo`: sample data through the whole warehouse, and the answers it gives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from ingest.connection import DEMO_DATABASE, Server, connect, resolve
from ingest.load import LOADED, load_paths
from ingest.migrate import migrate
from ingest.sample import AS_OF, write_sample
from ingest.server import home_folder
from orchestration.refresh import refresh

SAMPLE = {"seed": 7, "days": 35, "visitors": 400}

DAILY = """
select
    stat_date::text as day, app_id as app, total_sessions as sessions, unique_visitors as visitors, new_visitors as new,
    page_views, goals, total_conversations as conversations, error_count as errors
from marts.agg_daily_stats
where stat_date > (select max(stat_date) from marts.agg_daily_stats) - 3
order by stat_date desc, total_sessions desc
"""

SESSIONS = """
select
    started_at::timestamp(0)::text as started, display_name as visitor, session_type as type,
    pages_visited as pages, exit_page, source, goal_count as goals, llm_requests as "LLM", cost as "cost $"
from (
    select *, llm_request_count as llm_requests, coalesce(round(llm_cost_usd, 4)::text, '') as cost
    from marts.fct_sessions
) as sessions
inner join marts.dim_visitors using (visitor_id)
where sessions.session_type = 'conversion' and sessions.llm_request_count > 0
order by started_at desc, session_key
limit 5
"""

COST = """
select
    model, sum(requests)::bigint as requests, sum(total_tokens)::bigint as tokens,
    sum(unpriced_requests)::bigint as unpriced, coalesce(round(sum(cost_usd), 2)::text, 'unpriced') as "cost $",
    coalesce(to_char(100 * sum(cost_usd) / sum(sum(cost_usd)) over (), 'FM990.0"%"'), '') as share
from marts.agg_cost_daily
where requests > 0
group by model
order by sum(cost_usd) desc nulls last, model
"""

ANOMALIES = """
select
    first_seen_at::timestamp(0)::text as first_seen, kind, severity, metric,
    round(current, 2) as value, round(expected, 2) as expected,
    case when resolved_at is null then 'no' else 'yes' end as resolved
from marts.fct_anomalies
order by severity, first_seen_at desc
limit 8
"""

TOTALS = """
select
    (select count(*) from marts.fct_sessions) as sessions,
    (select count(*) from marts.fct_page_views) as page_views,
    (select count(*) from marts.fct_goals) as goals,
    (select count(*) from marts.fct_llm_requests) as llm_requests,
    (select sum(total_tokens) from marts.fct_llm_requests) as tokens,
    (select sum(cost_usd) from marts.fct_llm_requests) as cost_usd
"""


def demo(console: Console | None = None) -> None:
    """Write the sample, load it into the demo's own database, build every model, print the answers.

    Run again it loads nothing twice and changes no answer: the sample ends on a fixed day, and the demo's
    clock stands there.

    Raises:
        TidemarkError: the server, the disk or a model fails; the text says what to do.
    """
    console = console or Console(width=None if os.isatty(1) else 120)
    began = time.monotonic()
    folder = sample_folder()
    with _progress(console) as progress:
        step = progress.add_task("Writing 35 days of a made-up company's data")
        truth = write_once(folder)
        progress.update(step, description="Preparing the database")
        server = prepare_database(folder)
        progress.update(step, description="Loading")
        with connect(server) as connection:
            results = load_paths(connection, [str(folder)])
        loaded = [result for result in results if result.status == LOADED]
        progress.update(step, description="Building and testing every model")
        os.environ["TIDEMARK_AS_OF"] = AS_OF.isoformat()
        run = refresh(server, quiet=True)
    console.print(
        f"Loaded {sum(result.loaded for result in loaded):,} records of {len(loaded)} files"
        f" ({sum(result.rejected for result in loaded)} broken ones kept in raw.rejects),"
        f" refreshed as of {run.as_of:%Y-%m-%d %H:%M} UTC, {len(run.tests_failed)} tests failed,"
        f" in {time.monotonic() - began:.0f} s."
    )
    with connect(server, autocommit=True) as connection:
        print_answers(console, connection, truth)
    print_next(console, server)


def sample_folder() -> Path:
    """Where the demo's sample lies: named after what decides its content."""
    return home_folder() / "demo" / "-".join(f"{name}{value}" for name, value in SAMPLE.items())


def write_once(folder: Path) -> dict[str, Any]:
    """Write the sample unless it is there whole; returns its truth."""
    if not (folder / "truth.json").exists():
        partial = folder.with_name(folder.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        write_sample(partial, **SAMPLE)
        partial.rename(folder)
    return json.loads((folder / "truth.json").read_text(encoding="utf-8"))


def prepare_database(folder: Path) -> Server:
    """The demo's own database, migrated, its clock stopped; made anew when it holds another sample.

    Its comment says which sample it holds.
    """
    sample = f"tidemark demo {hashlib.sha256((folder / 'truth.json').read_bytes()).hexdigest()}"
    server = resolve(DEMO_DATABASE)
    with connect(server, autocommit=True) as connection:
        held = connection.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
        ).fetchone()[0]
    name = sql.Identifier(server.database)
    if held and held != sample:
        with connect(server.with_database("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(name))
        server = resolve(DEMO_DATABASE)
    with connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("comment on database {} is {}").format(name, sql.Literal(sample)))
        connection.execute(
            sql.SQL("alter database {} set tidemark.as_of = {}").format(name, sql.Literal(AS_OF.isoformat()))
        )
        migrate(connection)
    return server


def _progress(console: Console) -> Progress:
    return Progress(SpinnerColumn(), TextColumn("{task.description} …"), console=console, transient=True)


def print_answers(console: Console, connection: psycopg.Connection, truth: dict[str, Any]) -> None:
    """The tables a newcomer asks for first, and the totals beside what really happened."""
    for title, query in (
        ("The last three days, by app", DAILY),
        ("Latest visits that converted and used AI", SESSIONS),
        ("What the models cost", COST),
        ("Anomalies", ANOMALIES),
    ):
        console.print(_table(title, connection.execute(query)))
    row = connection.execute(TOTALS).fetchone()
    table = Table(title="Measured beside what really happened", title_justify="left", title_style="bold")
    for heading in ("", "warehouse", "truth"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, measured in zip(
        ("sessions", "page_views", "goals", "llm_requests", "tokens", "cost_usd"), row, strict=True
    ):
        table.add_row(name.replace("_", " "), f"{measured:,}", f"{type(measured)(truth['totals']['all'][name]):,}")
    console.print(table)


def _table(title: str, cursor: psycopg.Cursor) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    rows = cursor.fetchall()
    for place, column in enumerate(cursor.description or []):
        is_number = (bool(rows) and isinstance(rows[0][place], int)) or column.name.endswith("$")
        table.add_column(column.name.replace("_", " "), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*[f"{value:,}" if isinstance(value, int) else str(value) for value in row])
    return table


def print_next(console: Console, server: Server) -> None:
    """Where to look next."""
    place = f"{server.parameters.get('host')}:{server.parameters.get('port')}"
    console.print(
        f"""
[bold]Where to look next[/bold]
  make psql      then: select * from marts.agg_daily_stats order by stat_date desc limit 5;
  make dev       the Dagster UI: every raw stream and model as one graph; launch the job `refresh`
  make docs      every relation and column explained
  make status    how far the marts are
  models/marts   the SQL behind these answers; edit, then PGDATABASE={server.database} make refresh
  BI tools       PostgreSQL at {place}, database {server.database}; `python -m ingest server url` prints the login""",
        highlight=False,
    )
