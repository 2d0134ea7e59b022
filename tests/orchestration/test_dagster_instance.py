"""Dagster's storage on a user's server, and the UI as `make dev` serves it."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from psycopg import sql

from ingest.connection import Server, connect
from orchestration.definitions import definitions
from orchestration.dev import free_port
from orchestration.instance import make_storage, prepare_instance, warehouse_environment

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "p@ss/w:rd %20 'x'"
ASSETS = "{ assetsOrError { __typename ... on AssetConnection { nodes { key { path } } } } }"
DEV = "import sys; from orchestration.dev import dev; sys.exit(dev(int(sys.argv[1]), sys.argv[2]))"


@pytest.fixture
def users_server(make_database: Callable[[], Server]) -> Iterator[Server]:
    """A server as a user names it, whose login needs every escape there is."""
    server = make_database()
    login = f"tidemark_test_{secrets.token_hex(4)}"
    with connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {0} login password {1}; grant create on database {2} to {0}").format(
                sql.Identifier(login), sql.Literal(PASSWORD), sql.Identifier(server.database)
            )
        )
        yield Server(server.parameters | {"user": login, "password": PASSWORD}, embedded=False)
        connection.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(sql.Identifier(login)))


def tables(server: Server) -> set[tuple[str, str]]:
    with connect(server, autocommit=True) as connection:
        return set(
            connection.execute(
                "select schemaname, tablename from pg_tables where tablename in ('runs', 'event_logs', 'instigators')"
            ).fetchall()
        )


def test_on_a_users_server_the_storage_is_a_schema(users_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMARK_DAGSTER_DATABASE", raising=False)
    for name, value in prepare_instance(users_server).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("told"))
        assert instance.get_latest_materialization_event(dg.AssetKey("told"))
        assert tables(users_server) == {("dagster", "runs"), ("dagster", "event_logs"), ("dagster", "instigators")}


def test_a_database_named_for_dagster_is_used(
    make_database: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, storage = make_database(), make_database()
    monkeypatch.setenv("TIDEMARK_DAGSTER_DATABASE", storage.database)
    users = Server(warehouse.parameters, embedded=False)
    assert make_storage(users).database == storage.database


def test_dagsters_processes_find_the_same_warehouse(
    users_server: Server, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@elsewhere:1/other")
    monkeypatch.setenv("PGPORT", "1")
    told = warehouse_environment(users_server)
    assert "DATABASE_URL" not in told
    assert (told["PGPORT"], told["PGPASSWORD"]) == (users_server.parameters["port"], PASSWORD)
    of_embedded = warehouse_environment(Server(server.parameters | {"dbname": "mine"}, embedded=True))
    # Whatever port it has when a run starts.
    assert {name: value for name, value in of_embedded.items() if name.startswith("PG")} == {"PGDATABASE": "mine"}


def ask(port: int, query: str) -> dict[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/graphql", json.dumps({"query": query}), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())["data"]


@pytest.fixture
def served(fresh_database: Server) -> Iterator[tuple[subprocess.Popen[str], int, Server]]:
    """The UI of a warehouse, started as `make dev` starts it and stopped whatever happens."""
    port = free_port(None)
    process = subprocess.Popen(
        [sys.executable, "-c", DEV, str(port), fresh_database.database],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        | fresh_database.environment(),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Dagster is at http://127.0.0.1:{port} (Ctrl-C stops it)\n"
        yield process, port, fresh_database
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


def test_the_ui_shows_the_warehouse_and_ctrl_c_leaves_nothing(
    served: tuple[subprocess.Popen[str], int, Server],
) -> None:
    process, port, server = served
    expected = {tuple(spec.key.path) for spec in definitions().resolve_all_asset_specs()}
    deadline = time.monotonic() + 60
    found: set[tuple[str, ...]] = set()
    # It answers before it has loaded the definitions.
    while found != expected and time.monotonic() < deadline:
        answer = ask(port, ASSETS)["assetsOrError"]
        found = {tuple(node["key"]["path"]) for node in answer.get("nodes", [])}
        time.sleep(0.5)
    assert found == expected

    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port, ASSETS)
    with connect(server, autocommit=True) as connection:
        left = connection.execute(
            "select count(*) from pg_stat_activity where datname like %s and pid <> pg_backend_pid()",
            [f"{server.database}%"],
        ).fetchone()
    assert left == (0,)
