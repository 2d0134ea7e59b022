"""Each role does what it is for and nothing else; workspace readers see their own rows alone."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from ingest.connection import Server, connect
from ingest.load import load_paths
from ingest.migrate import ACCESS, ROLES, migrate
from orchestration.refresh import refresh
from tests.warehouse.conftest import Warehouse, under_one_name

NOBODY = "tidemark_nobody"


@pytest.fixture(scope="module")
def logins(server: Server) -> Iterator[dict[str, tuple[str, str]]]:
    """Role → name and password of a login that is a member of it alone; one of no role at all."""
    made = {role: (f"{role}_{secrets.token_hex(3)}", secrets.token_hex(8)) for role in (*ROLES, NOBODY)}
    with connect(server, autocommit=True) as connection:
        for role, (name, password) in made.items():
            connection.execute(
                sql.SQL("create role {} login password {}").format(sql.Identifier(name), sql.Literal(password))
            )
            if role != NOBODY:
                connection.execute(sql.SQL("grant {} to {}").format(*map(sql.Identifier, (role, name))))
    yield made
    with connect(server, autocommit=True) as connection:
        for name, _ in made.values():
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def warehouse(sample_warehouse: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    """A copy of the built sample."""
    return copy_warehouse(sample_warehouse)


@pytest.fixture(scope="module")
def as_role(warehouse: Warehouse, logins: dict[str, tuple[str, str]]) -> Callable[..., psycopg.Connection]:
    """Connects as the login of a role, with settings of the session."""

    def connect_as(role: str, server: Server | None = None, **settings: str) -> psycopg.Connection:
        name, password = logins[role]
        at = server or warehouse.server
        login = replace(at, parameters=at.parameters | {"user": name, "password": password})
        connection = connect(login, autocommit=True)
        for setting, value in settings.items():
            connection.execute("select set_config(%s, %s, false)", [setting.replace("__", "."), value])
        return connection

    return connect_as


def refused(connection: psycopg.Connection, statement: str) -> bool:
    try:
        connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


MARTS = "select relname from pg_class where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v') order by 1"
# What nobody who merely reads may do.
WRITING = [
    "insert into raw.workspaces (load_id, line_number, received_at, content_hash, workspace_id, properties)"
    " values (1, 1, now(), gen_random_uuid(), 'w', '{}')",
    "delete from raw.events",
    "update raw.loads set file = ''",
    "truncate raw.rejects",
    "delete from history.closed_visits",
    "update ops.bounds set to_seq = 0",
    "update ops.horizon set horizon = now()",
    "insert into ops.app_access values ('default', 'mine')",
    "insert into ops.super_admins values ('me')",
    "delete from marts.fct_sessions",
    "update marts.fct_sessions set user_id = null",
    "alter table marts.fct_sessions disable row level security",
    "drop policy tenants on marts.fct_sessions",
    "create table marts.mine (a integer)",
    "create table raw.mine (a integer)",
    "create table ops.mine (a integer)",
    "create schema mine",
    "create function ops.reader_user() returns text language sql as 'select null'",
    "select ops.make_partitions(1000)",
]
READING_RAW = [
    *(f"select * from raw.{name} limit 1" for name in ("events", "events_default", "loads", "rejects", "identifies")),
    "select * from raw.privacy_requests limit 1",
    "select * from history.closed_visits limit 1",
    "copy raw.events to stdout",
]
ABOVE_RAW = ["select * from staging.stg_events limit 1", "select * from intermediate.int_sessions limit 1"]
# Readers may look at what the schema ops says of the refresh; nothing there names a person or a tenant.
OPS_OF_TENANTS = [
    f"select * from ops.{name} limit 1"
    for name in ("app_access", "super_admins", "group_links", "group_days", "user_agents", "pulls", "schema_migrations")
]


@pytest.mark.parametrize("role", ["tidemark_analyst", "tidemark_bi", "tidemark_workspace_reader", NOBODY])
def test_who_reads_marts_writes_nothing_and_reads_no_raw(role, as_role):
    forbidden = [*WRITING, *READING_RAW, *ABOVE_RAW, *OPS_OF_TENANTS]
    forbidden += ["select ops.refuse_rows('events', 1, now(), '{}')", "select ops.refuse_rejects(1, '{1}')"]
    forbidden += [f"select * from ops.{name}" for name in ("tombstones", "privacy_certificates", "opt_outs")]
    if role == NOBODY:
        forbidden += ["select * from marts.fct_sessions limit 1", "select ops.is_super_admin()"]
    forbidden += [f"set role {other}" for other in ROLES if other != role]
    with as_role(role) as connection:
        assert [statement for statement in forbidden if not refused(connection, statement)] == []


@pytest.mark.parametrize("role", ["tidemark_analyst", "tidemark_bi"])
def test_analysts_and_bi_read_every_mart_whole(role, as_role, warehouse):
    # A setting of a workspace reader's takes nothing from them.
    with as_role(role, app__workspace_id="none") as connection:
        for (mart,) in warehouse.query(MARTS):
            count = sql.SQL("select count(*) from marts.{}").format(sql.Identifier(mart))
            assert connection.execute(count).fetchall() == warehouse.query(count), mart


def test_the_loader_reads_no_mart_and_nobody_but_it_and_the_owner_writes_raw(as_role):
    with as_role("tidemark_loader") as connection:
        forbidden = [
            *ABOVE_RAW,
            *OPS_OF_TENANTS[:5],
            *(s for s in WRITING if not s.startswith(("insert into raw.", "update raw.loads"))),
            "select * from marts.fct_sessions limit 1",
            "select * from marts.agg_daily_stats limit 1",
            "select * from history.closed_visits limit 1",
            "update raw.events set user_id = null",
        ]
        assert [statement for statement in forbidden if not refused(connection, statement)] == []
    with as_role("tidemark_transformer") as connection:
        forbidden = [
            *(s for s in WRITING if " raw." in s or "history." in s or "super_admins" in s or "app_access" in s),
            "update ops.horizon set horizon = now()",
            "copy raw.events from stdin",
        ]
        assert [statement for statement in forbidden if not refused(connection, statement)] == []


def visible(connection: psycopg.Connection, mart: str) -> list[str]:
    return sorted(row for (row,) in connection.execute(f"select t::text from marts.{mart} as t"))


def expected(warehouse: Warehouse, mart: str, condition: str, *values: object) -> list[str]:
    statement = f"select t::text from marts.{mart} as t where {condition}"
    return sorted(row for (row,) in warehouse.query(statement, *values))


def busiest(warehouse: Warehouse, column: str, mart: str = "fct_sessions") -> str:
    ((value,),) = warehouse.query(
        f"select {column} from marts.{mart} where {column} is not null group by 1 order by count(*) desc, 1 limit 1"
    )
    return value


GRANTED = f"{MARTS.replace('order by 1', '')} and has_table_privilege('tidemark_workspace_reader', oid, 'select')"


def test_who_says_nothing_of_himself_sees_nothing(as_role, warehouse):
    granted = [mart for (mart,) in warehouse.query(GRANTED)]
    assert {"fct_sessions", "fct_llm_requests", "agg_daily_stats", "fct_cost_lines", "dim_visitors"} < set(granted)
    settings = [
        {},
        {"app__workspace_id": "", "app__user_id": ""},
        {"app__is_super_admin": "true", "app__role": "super_admin", "row_security": "on"},
        {"app__workspace_id": "%", "app__user_id": "' or true --"},
        {"request__jwt__claims": json.dumps({"user_metadata": {"workspace_id": "any", "is_super_admin": True}})},
        {"request__jwt__claims": json.dumps({"role": "super_admin", "is_super_admin": True})},
        {"request__jwt__claims": json.dumps(["super_admin"])},
    ]
    for given in settings:
        with as_role("tidemark_workspace_reader", **given) as connection:
            for mart in granted:
                count = sql.SQL("select count(*) from marts.{}").format(sql.Identifier(mart))
                # An aggregate over nothing may be a row; none may hold a tenant's.
                assert connection.execute(count).fetchone() == (0,), (mart, given)
    broken = as_role("tidemark_workspace_reader", request__jwt__claims="{broken")
    with broken as connection, pytest.raises(psycopg.errors.InvalidTextRepresentation):
        connection.execute("select * from marts.fct_sessions")
    with as_role("tidemark_workspace_reader") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("set row_security = off; select * from marts.fct_sessions")


def test_a_workspace_sees_its_own_rows_and_those_of_apps_given_to_it(as_role, warehouse):
    mine, app = busiest(warehouse, "workspace_id"), busiest(warehouse, "app_id", "agg_daily_stats")
    warehouse.query("insert into ops.app_access (app_id, workspace_id) values (%s, 'owner of apps') returning 1", app)
    claims = {"sub": "nobody", "app_metadata": {"workspace_ids": [mine]}}
    for given in (
        {"app__workspace_id": mine},
        {"request__jwt__claims": json.dumps(claims)},
        {"request__jwt__claims": json.dumps({"workspace_id": mine})},
        # claims come before settings
        {"request__jwt__claims": json.dumps(claims), "app__workspace_id": "owner of apps"},
    ):
        with as_role("tidemark_workspace_reader", **given) as connection:
            for mart in ("fct_sessions", "fct_llm_requests", "agg_cost_by_workspace", "agg_workspaces"):
                rows = expected(warehouse, mart, "workspace_id = %s", mine)
                assert visible(connection, mart) == rows, mart
            assert visible(connection, "agg_daily_stats") == []
            assert connection.execute("select count(*) from marts.dim_workspaces").fetchone() == (1,)
    with as_role("tidemark_workspace_reader", app__workspace_id="owner of apps") as connection:
        for mart in ("agg_daily_stats", "fct_page_views", "agg_metric_values", "fct_anomalies"):
            rows = expected(warehouse, mart, "app_id = %s", app)
            assert visible(connection, mart) == rows, mart
            assert rows or mart in ("fct_page_views", "fct_anomalies"), mart
        # Of an app that many workspaces share, what names another workspace stays that one's.
        rows = expected(warehouse, "fct_sessions", "app_id = %s and workspace_id is null", app)
        assert visible(connection, "fct_sessions") == rows


def test_a_person_sees_their_own_rows(as_role, warehouse):
    me = busiest(warehouse, "user_id")
    ((visitor,),) = warehouse.query("select md5('user:' || %s)::uuid", me)
    for given in ({"app__user_id": me}, {"request__jwt__claims": json.dumps({"sub": me, "role": "authenticated"})}):
        with as_role("tidemark_workspace_reader", **given) as connection:
            for mart in ("fct_sessions", "fct_events", "fct_goals", "agg_user_summary", "dim_users", "fct_cost_lines"):
                assert visible(connection, mart) == expected(warehouse, mart, "user_id = %s", me), mart
            for mart in ("fct_page_views", "agg_journey_costs", "dim_visitor_apps", "agg_cost_by_visitor"):
                assert visible(connection, mart) == expected(warehouse, mart, "visitor_id = %s", visitor), mart
            assert visible(connection, "fct_sessions")
            assert connection.execute("select user_id from marts.dim_visitors").fetchall() == [(me,)]


def test_a_super_admin_sees_all_by_what_the_server_says_alone(as_role, warehouse):
    warehouse.query("insert into ops.super_admins (user_id) values ('root') returning 1")
    for given in (
        {"app__user_id": "root"},
        {"request__jwt__claims": json.dumps({"sub": "root"})},
        {"request__jwt__claims": json.dumps({"sub": "x", "app_metadata": {"is_super_admin": True}})},
        {"request__jwt__claims": json.dumps({"sub": "x", "app_metadata": {"role": "super_admin"}})},
    ):
        with as_role("tidemark_workspace_reader", **given) as connection:
            for mart in ("fct_sessions", "agg_daily_stats", "fct_cost_lines", "dim_visitors"):
                assert len(visible(connection, mart)) == len(expected(warehouse, mart, "true")), mart


def test_a_function_shows_no_more_than_the_tables_do(as_role, warehouse):
    mine = busiest(warehouse, "workspace_id")
    with connect(warehouse.server, autocommit=True) as connection:
        connection.execute(
            "create function marts.count_sessions() returns bigint language sql stable"
            " as 'select count(*) from marts.fct_sessions'"
        )
    ((own,),) = warehouse.query("select count(*) from marts.fct_sessions where workspace_id = %s", mine)
    with as_role("tidemark_workspace_reader", app__workspace_id=mine) as connection:
        assert connection.execute("select marts.count_sessions()").fetchone() == (own,)
        # A function of the reader's own that looks at rows before the policy does is not let near them.
        assert refused(connection, "create function marts.peek(text) returns boolean language sql as 'select true'")


def test_a_mart_without_policy_is_found(warehouse, copy_warehouse):
    assert warehouse.query("select * from ops.unprotected_marts('marts')") == []
    other = copy_warehouse(warehouse)
    with connect(other.server, autocommit=True) as connection:
        connection.execute("create table marts.agg_new (workspace_id text, sessions bigint)")
        connection.execute("create view marts.agg_newer as select * from marts.fct_sessions")
        connection.execute("grant select on marts.agg_newer to tidemark_workspace_reader")
        connection.execute("alter table marts.fct_goals disable row level security")
    assert other.query("select * from ops.unprotected_marts('marts')") == [
        ("agg_new", "names a tenant and has no row-level security"),
        ("agg_newer", "is granted to workspace readers and restricts no rows"),
        ("fct_goals", "is granted to workspace readers and restricts no rows"),
        ("fct_goals", "names a tenant and has no row-level security"),
    ]


def test_the_script_of_grants_may_run_again(fresh_database):
    statement = "select has_table_privilege('tidemark_loader', 'raw.events', 'insert')"
    with connect(fresh_database, autocommit=True) as connection:
        connection.execute("revoke insert on raw.events from tidemark_loader")
        assert connection.execute(statement).fetchone() == (False,)
        # The file is as it was last applied: nothing is done, so that a migration a refresh costs nothing.
        migrate(connection)
        assert connection.execute(statement).fetchone() == (False,)
        connection.execute(ACCESS.read_text(encoding="utf-8"))
        connection.execute(ACCESS.read_text(encoding="utf-8"))
        assert connection.execute(statement).fetchone() == (True,)
        connection.execute("revoke insert on raw.events from tidemark_loader")
        connection.execute("update ops.access_state set checksum = ''")
        migrate(connection)
        assert connection.execute(statement).fetchone() == (True,)


def test_the_loader_loads_and_the_transformer_builds(make_warehouse, as_role, logins, small_sample, tmp_path):
    warehouse = make_warehouse()
    for stream, lines in small_sample.items():
        if stream != "workspaces":
            (tmp_path / f"{stream}.ndjson").write_bytes(b"\n".join([*lines[:50], b"no JSON"]) + b"\n")
    with contextlib.closing(as_role("tidemark_loader", warehouse.server)) as connection:
        results = load_paths(connection, [tmp_path])
    assert {result.error for result in results} == {None}
    assert all(result.rejected for result in results)
    name, password = logins["tidemark_transformer"]
    with under_one_name(warehouse.server) as server:
        with connect(server, autocommit=True) as connection:
            grant = sql.SQL("grant create on database {} to tidemark_transformer")
            connection.execute(grant.format(sql.Identifier(server.database)))
        login = replace(server, parameters=server.parameters | {"user": name, "password": password})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIDEMARK_AS_OF", "2026-04-01")
            run = refresh(login, quiet=True)
        assert (run.models_failed, run.tests_failed) == ([], [])
    assert warehouse.query("select * from ops.unprotected_marts('marts')") == []
    ((sessions,),) = warehouse.query("select count(*) from marts.fct_sessions")
    with contextlib.closing(as_role("tidemark_bi", warehouse.server)) as connection:
        assert connection.execute("select count(*) from marts.fct_sessions").fetchone() == (sessions,)
    assert sessions > 0
    with connect(warehouse.server, autocommit=True) as connection:
        # so that the login can be dropped
        connection.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
