"""The refresh: lock, bounds, work list, dbt, mark. `make refresh` and the Dagster job both run this."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from ingest.connection import Server, connect
from ingest.enrich import Kind, Source, enrich, open_sources
from ingest.errors import TidemarkError
from ingest.hash_key import VARIABLE, configured_key
from orchestration import budget_alerts, model_state, recommendations, replay, seeds, selection, work_list
from orchestration.environments import environment

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunner

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
TARGETS = ("prod", "dev")

# Seconds that a lock is asked for: the server notices within two that the client which held it was killed.
LOCK_PATIENCE = 4.0


@dataclass
class Refresh:
    """A refresh under way. `to_build` holds the unique ids of the seeds, models and functions that dbt must build;
    whoever runs dbt sets `models_failed` and `tests_failed`."""

    refresh_id: int
    target: str
    from_seq: int
    to_seq: int
    as_of: datetime
    touched_groups: int
    rebuilt: list[str]
    to_build: set[str]
    models_failed: list[str] = field(default_factory=list)
    tests_failed: list[str] = field(default_factory=list)

    def environment(self, server: Server) -> dict[str, str]:
        """What dbt must find in its environment: the server, and that it runs for this refresh."""
        return server.environment() | {"TIDEMARK_REFRESH_ID": str(self.refresh_id)}


def mark_name(target: str, server: Server) -> str:
    """The name under which a dbt target keeps its mark: `prod`, or the schema prefix of a dev target.

    Raises:
        TidemarkError: an unknown target.
    """
    if target not in TARGETS:
        raise TidemarkError(f"There is no target {target!r}: the targets are {', '.join(TARGETS)}.")
    return (
        "prod" if target == "prod" else f"dev_{server.parameters.get('user') or os.environ.get('PGUSER', 'postgres')}"
    )


def dbt_arguments(target: str) -> list[str]:
    """The options every dbt call of the project carries."""
    folder = str(PROJECT_FOLDER)
    return ["--target", target, "--project-dir", folder, "--profiles-dir", folder]


@contextmanager
def refreshing(
    server: Server, target: str, manifest: Mapping[str, Any], days: replay.Days | None = None
) -> Iterator[Refresh]:
    """Hold the target's refresh lock, write bounds and work list, and move the mark when the body succeeded.

    The body runs dbt and fills `models_failed` and `tests_failed`; the mark moves when it ends without an
    exception and with no failed model. Whatever happens, the work list stays until the mark moves, so the next
    refresh takes up what this one left. With `days` everything of those days is re-processed too.

    Raises:
        TidemarkError: a seed is broken, another refresh of the target runs, the schema is not there, what user agents
            and addresses are looked up in cannot be read, `days` are closed, or the lock was lost on the way.
    """
    mark = mark_name(target, server)
    seeds.check(manifest)
    sources = open_sources()
    with connect(server, autocommit=True, application_name=f"tidemark refresh {mark}") as connection:
        check_hash_key(connection)
        take_lock(connection, mark)
        if days:
            replay.check_open(connection, days)
        refresh = _begin(connection, mark, manifest, sources, days)
        try:
            yield refresh
        except BaseException as error:
            _fail(connection, refresh, f"{type(error).__name__}: {error}")
            raise
        try:
            if refresh.models_failed:
                _fail(connection, refresh, f"failed: {', '.join(refresh.models_failed)}")
            else:
                _complete(connection, refresh, manifest)
        except psycopg.OperationalError as error:
            raise TidemarkError(
                f"The connection that held the refresh lock was lost ({' '.join(str(error).split())}): the mark stays; "
                "refresh again."
            ) from error


def set_phase(server: Server, refresh: Refresh, phase: str) -> None:
    """Say in `ops.refreshes` what the refresh does now; whatever it is, it is planned by the work list as it stands."""
    with connect(server, autocommit=True) as connection:
        connection.execute("analyze ops.touched")
        connection.execute("update ops.refreshes set phase = %s where refresh_id = %s", [phase, refresh.refresh_id])


def take_lock(connection: psycopg.Connection, mark: str, patience: float = LOCK_PATIENCE) -> None:
    """Take a target's refresh lock for as long as the connection lives.

    Raises:
        TidemarkError: another process has it and keeps it for `patience` seconds, or the schema is not there.
    """
    ask = "select pg_try_advisory_lock(hashtext('tidemark.refresh'), hashtext(%s))"
    until = time.monotonic() + patience
    try:
        while not (held := connection.execute(ask, [mark]).fetchone()[0]) and time.monotonic() < until:
            time.sleep(0.1)
        if held:
            return
        holder = connection.execute(
            "select host, pid, started_at from ops.refreshes where target = %s order by refresh_id desc limit 1",
            [mark],
        ).fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise _not_migrated() from error
    who = f" (process {holder[1]} on {holder[0]}, since {holder[2]:%Y-%m-%d %H:%M:%S %Z})" if holder else ""
    raise TidemarkError(f"Another refresh of {mark} is running{who}: wait for it, or look at `make status`.")


def _not_migrated() -> TidemarkError:
    return TidemarkError("The schema ops is not there yet: run `python -m ingest migrate` first.")


def check_hash_key(connection: psycopg.Connection) -> None:
    """In production e-mail addresses are never without their hash.

    Raises:
        TidemarkError: TIDEMARK_ENVIRONMENT is `production` and there is no key.
    """
    if environment().name == "production" and configured_key(connection) is None:
        raise TidemarkError(
            f"{VARIABLE} is not set: in production e-mail addresses are shown as keyed hashes; give it a long random "
            "text, the same for ever."
        )


def _begin(
    connection: psycopg.Connection,
    mark: str,
    manifest: Mapping[str, Any],
    sources: Mapping[Kind, Source | None],
    days: replay.Days | None,
) -> Refresh:
    try:
        with connection.transaction():
            connection.execute("insert into ops.bounds (target) values (%s) on conflict do nothing", [mark])
            from_seq = connection.execute(
                "select completed_seq from ops.bounds where target = %s for update", [mark]
            ).fetchone()[0]
            to_seq = connection.execute("select coalesce(max(published_seq), 0) from raw.loads").fetchone()[0]
            as_of = connection.execute(
                "select coalesce(nullif(%s, '')::timestamptz, ops.clock())",
                [os.environ.get("TIDEMARK_AS_OF", "")],
            ).fetchone()[0]
            refresh_id = connection.execute(
                """
                insert into ops.refreshes (target, from_seq, to_seq, as_of, phase, host, pid, backend_pid)
                values (%s, %s, %s, %s, 'work list', %s, %s, pg_backend_pid())
                returning refresh_id
                """,
                [mark, from_seq, to_seq, as_of, socket.gethostname(), os.getpid()],
            ).fetchone()[0]
            lacking = _lacking(connection, manifest)
            rebuilt = _list_rebuilds(connection, mark, from_seq, manifest, lacking)
            connection.execute("update ops.bounds set to_seq = %s, as_of = %s where target = %s", [to_seq, as_of, mark])
        enrich(connection, sources, to_seq, target=mark)
        stale = lacking | _stale(connection, mark, refresh_id, manifest)
        with connection.transaction():
            work_list.link_groups(connection, to_seq)
            work_list.touch_seeds(connection, mark, stale.intersection(model_state.compared_seeds(manifest).values()))
            everything = len(rebuilt) == len(model_state.incremental_models(manifest))
            touched = 0 if everything else _touch(connection, mark, manifest, from_seq, to_seq, days)
            connection.execute(
                "update ops.refreshes set phase = 'models', touched = %s, rebuilt = %s where refresh_id = %s",
                [touched, rebuilt, refresh_id],
            )
        connection.execute("analyze ops.touched")
        to_build = selection.to_build(
            manifest,
            stale=stale,
            rebuilt=rebuilt,
            keys_listed=_keys_listed(connection, mark),
        )
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise _not_migrated() from error
    return Refresh(refresh_id, mark, from_seq, to_seq, as_of, touched, rebuilt, to_build)


def _touch(
    connection: psycopg.Connection,
    mark: str,
    manifest: Mapping[str, Any],
    from_seq: int,
    to_seq: int,
    days: replay.Days | None,
) -> int:
    """Fill the work list from the new loads and the days to replay; returns how many session groups it names."""
    if days:
        longest_visit = timedelta(hours=_variables(manifest)["session_cap_hours"])
        replay.touch_groups(connection, mark, manifest, days, longest_visit)
    touched = work_list.touch_groups(connection, mark, from_seq, to_seq)
    if days:
        replay.touch_keys(connection, mark, manifest, days)
    return touched


def _lacking(connection: psycopg.Connection, manifest: Mapping[str, Any]) -> set[str]:
    """Names of the seeds and models that have no relation of their kind, and of the functions that are not there."""
    wanted = {
        node["name"]: (node["schema"], node["alias"], node["config"]["materialized"] == "view")
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
    }
    there = connection.execute(
        """
        select relnamespace::regnamespace::text, relname, relkind = 'v' from pg_class
        where relkind in ('r', 'p', 'v') and relnamespace = any(
            select oid from pg_namespace where nspname = any(%s)
        )
        """,
        [list({schema for schema, _, _ in wanted.values()})],
    ).fetchall()
    functions = {node["name"]: (node["schema"], node["alias"]) for node in manifest.get("functions", {}).values()}
    made = connection.execute(
        "select pronamespace::regnamespace::text, proname from pg_proc where pronamespace = any("
        "select oid from pg_namespace where nspname = any(%s))",
        [list({schema for schema, _ in functions.values()})],
    ).fetchall()
    return {name for name, relation in wanted.items() if relation not in set(there)} | {
        name for name, function in functions.items() if function not in set(made)
    }


def _stale(connection: psycopg.Connection, mark: str, refresh_id: int, manifest: Mapping[str, Any]) -> set[str]:
    """Names of the seeds, views, tables and functions that are not as the project says, or may not be."""
    wanted = model_state.checksums_of_the_rest(manifest, _variables(manifest))
    completed = connection.execute(
        "select completed_at is not null from ops.refreshes where target = %s and refresh_id < %s"
        " order by refresh_id desc limit 1",
        [mark, refresh_id],
    ).fetchone()
    if completed != (True,):
        # What the last refresh left half done may be of another state of the project.
        return set(wanted)
    built = _built(connection, mark)
    return {name for name, checksum in wanted.items() if built.get(name) != checksum}


def _keys_listed(connection: psycopg.Connection, mark: str) -> bool:
    # a seed that is not as it was is for those alone that stand on it
    return connection.execute(
        "select exists (select from ops.touched where target = %s and kind <> 'seed')", [mark]
    ).fetchone()[0]


def _built(connection: psycopg.Connection, mark: str) -> dict[str, str]:
    return dict(connection.execute("select model, checksum from ops.model_state where target = %s", [mark]).fetchall())


def _list_rebuilds(
    connection: psycopg.Connection, mark: str, from_seq: int, manifest: Mapping[str, Any], lacking: set[str]
) -> list[str]:
    wanted = _checksums(manifest)
    built = _built(connection, mark)
    pending = {
        model for (model,) in connection.execute("select model from ops.rebuilds where target = %s", [mark]).fetchall()
    }
    # Before the first mark nothing can be trusted: what a broken first refresh left is built anew.
    changed = {name for name, checksum in wanted.items() if not from_seq or built.get(name) != checksum}
    rebuilt = sorted(model_state.with_descendants(manifest, changed | ((pending | lacking) & wanted.keys())))
    connection.execute("delete from ops.rebuilds where target = %s", [mark])
    connection.cursor().executemany("insert into ops.rebuilds values (%s, %s)", [(mark, model) for model in rebuilt])
    return rebuilt


def _checksums(manifest: Mapping[str, Any]) -> dict[str, str]:
    return model_state.checksums(manifest, _variables(manifest))


def _variables(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return manifest.get("metadata", {}).get("vars") or project_variables()


def project_variables() -> dict[str, Any]:
    """The `vars` of dbt_project.yml."""
    import yaml

    return yaml.safe_load((PROJECT_FOLDER / "dbt_project.yml").read_text(encoding="utf-8")).get("vars", {})


def _complete(connection: psycopg.Connection, refresh: Refresh, manifest: Mapping[str, Any]) -> None:
    with connection.transaction():
        connection.execute("delete from ops.touched where target = %s", [refresh.target])
        connection.execute("delete from ops.rebuilds where target = %s", [refresh.target])
        connection.execute(
            "update ops.bounds set completed_seq = %s, to_seq = %s where target = %s",
            [refresh.to_seq, refresh.to_seq, refresh.target],
        )
        budget_alerts.give(connection, refresh.target, manifest, refresh.refresh_id, refresh.as_of)
        recommendations.note_sightings(connection, refresh.target, manifest, refresh.as_of)
        _keep_state(connection, refresh, manifest)
        connection.execute(
            """
            update ops.refreshes set phase = 'complete', completed_at = clock_timestamp(), tests_failed = %s
            where refresh_id = %s
            """,
            [len(refresh.tests_failed), refresh.refresh_id],
        )


def _keep_state(connection: psycopg.Connection, refresh: Refresh, manifest: Mapping[str, Any]) -> None:
    incremental = _checksums(manifest)
    rest = model_state.checksums_of_the_rest(manifest, _variables(manifest))
    # What a failed test reads is made and tested again by the next refresh, so that it does not fall silent.
    doubtful = {
        manifest["nodes"][parent]["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and node["name"] in refresh.tests_failed
        for parent in node["depends_on"]["nodes"]
        if parent in manifest["nodes"]
    }
    connection.cursor().executemany(
        """
        insert into ops.model_state (target, model, checksum, incremental) values (%s, %s, %s, %s)
        on conflict (target, model) do update
        set checksum = excluded.checksum, built_at = excluded.built_at, incremental = excluded.incremental
        where model_state.checksum <> excluded.checksum or model_state.incremental <> excluded.incremental
        """,
        [
            (refresh.target, name, "" if name in doubtful and name in rest else checksum, name in incremental)
            for name, checksum in (incremental | rest).items()
        ],
    )


def _fail(connection: psycopg.Connection, refresh: Refresh, error: str) -> None:
    if connection.closed:
        return
    # If the server went away the refresh stays without an end; status tells that from the free lock.
    with suppress(psycopg.Error):
        connection.execute(
            "update ops.refreshes set failed_at = clock_timestamp(), error = %s where refresh_id = %s",
            [error[:2000], refresh.refresh_id],
        )


def refresh(
    server: Server,
    target: str = "prod",
    *,
    quiet: bool = False,
    check_all: bool = False,
    days: replay.Days | None = None,
) -> Refresh:
    """Bring a target's marts up to every load committed so far; returns what was done.

    dbt runs in this process: models first, then the tests that follow change. With `check_all` every seed and view is
    made anew, needed or not, and every test runs. With `days` everything received or done on those days is
    re-processed too.

    Raises:
        TidemarkError: the refresh is refused, the project does not parse, or a model failed.
    """
    mark_name(target, server)
    with variables_set(server.environment()):
        run = _refresh(server, target, quiet, check_all, days)
    if run.models_failed:
        raise TidemarkError(
            f"{len(run.models_failed)} models failed ({', '.join(run.models_failed[:5])}): "
            "mend what dbt says above and refresh again; the work list is kept."
        )
    return run


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables, as they were when the block is left: whoever called may go on to another server."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def project_parsed(options: Sequence[str]) -> Iterator[tuple[dbtRunner, dict[str, Any]]]:
    """dbt in this process with the project parsed, and the project's manifest as a document.

    Of the hundreds of thousands of objects that make up a manifest none is garbage while the block runs: Python's
    collector does not look through them, which takes a tenth of dbt's time.

    Raises:
        TidemarkError: the project does not parse.
    """
    from dbt.cli.main import dbtRunner

    from orchestration.dbt_overhead import spare_overhead

    spare_overhead()
    gc.disable()
    try:
        parsed = dbtRunner().invoke(["parse", *options])
        if not parsed.success:
            # after an upgrade dbt may take what it remembers of the project for a second copy of it
            parsed = dbtRunner().invoke(["parse", "--no-partial-parse", *options])
        if not parsed.success:
            raise TidemarkError(f"The dbt project does not parse: {parsed.exception}")
        manifest = parsed.result.writable_manifest().to_dict(omit_none=False)
        gc.freeze()
    finally:
        gc.enable()
    try:
        yield dbtRunner(manifest=parsed.result), manifest
    finally:
        gc.unfreeze()


def _refresh(server: Server, target: str, quiet: bool, check_all: bool, days: replay.Days | None) -> Refresh:
    # Nobody reads the artifacts of these calls, and each would write the whole manifest.
    options = [*dbt_arguments(target), "--no-write-json", *(["--quiet"] if quiet else [])]
    with (
        project_parsed(options) as (runner, manifest),
        refreshing(server, target, manifest, days) as run,
        variables_set(run.environment(server)),
    ):
        models, tests = chosen(manifest, run, check_all)
        if models != []:
            run.models_failed = _failures(runner.invoke([*selection.arguments_to_build(models), *options]))
        if tests != [] and not run.models_failed:
            set_phase(server, run, "tests")
            arguments = selection.arguments_to_test(tests, hourly=not check_all)
            run.tests_failed = _failures(runner.invoke([*arguments, *options]))
    return run


def chosen(manifest: Mapping[str, Any], run: Refresh, everything: bool) -> tuple[list[str] | None, list[str] | None]:
    """dbt selectors of what to build and of what to test; None means all there is, of tests all that a refresh runs."""
    if everything or run.to_build == selection.all_made(manifest):
        # dbt looks at every node for each selector it is given: naming all takes it seconds
        return None, None
    tests = selection.lean_tests_of(manifest, run.to_build)
    return selection.selectors(manifest, run.to_build), selection.selectors(manifest, tests)


def _failures(invocation: Any) -> list[str]:
    if isinstance(invocation.exception, KeyboardInterrupt):
        raise TidemarkError("The refresh was interrupted: start it again, it takes up what is left.")
    if invocation.exception is not None:
        raise TidemarkError(
            f"dbt stopped ({' '.join(str(invocation.exception).split())}): mend that and refresh again; "
            "the work list is kept."
        )
    return [
        result.node.name
        for result in invocation.result
        if str(result.status) in ("error", "fail", "runtime error", "skipped", "partial success")
    ]
