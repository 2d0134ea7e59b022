"""Dagster's instance: its storage in PostgreSQL, its folder, its settings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from ingest.connection import Server, connect, variable_names
from ingest.errors import TidemarkError
from ingest.server import home_folder

URL_VARIABLE = "TIDEMARK_DAGSTER_URL"
DATABASE_VARIABLE = "TIDEMARK_DAGSTER_DATABASE"
SCHEMA = "dagster"
# One run at a time in each: what changes the marts, and what loads the inbox. A database lock stands below the first.
POOL, INBOX_POOL, ALERTS_POOL, READING_POOL = "warehouse", "inbox", "alerts", "reading"
# What names a server in a way that PG* could contradict.
OTHER_WAYS_TO_NAME_A_SERVER = ("DATABASE_URL", "PGSERVICE")


def instance_folder() -> Path:
    """DAGSTER_HOME: run logs, dbt artifacts and dagster.yaml."""
    return home_folder() / "dagster"


def prepare_instance(server: Server) -> dict[str, str]:
    """Make folder, dagster.yaml and storage; returns the environment that Dagster's processes need.

    In it the warehouse is `server`. Passwords are nowhere but there.

    Raises:
        TidemarkError: the folder cannot be written or the storage cannot be made.
    """
    folder = instance_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dagster.yaml").write_text(yaml.safe_dump(settings(folder), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise TidemarkError(f"{folder} cannot be written ({error.strerror}): set TIDEMARK_HOME to another.") from error
    return warehouse_environment(server) | {
        "DAGSTER_HOME": str(folder),
        # SQLAlchemy takes another driver for a bare postgresql:// and every event write would fail.
        URL_VARIABLE: make_storage(server).url(driver="postgresql+psycopg2"),
    }


def settings(folder: Path) -> dict[str, Any]:
    """The content of dagster.yaml."""
    kept_days = {"skipped": 7, "success": 90, "failure": 90}
    return {
        "storage": {"postgres": {"postgres_url": {"env": URL_VARIABLE}}},
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(folder)},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(folder / "logs")},
        },
        "retention": {"schedule": {"purge_after_days": kept_days}, "sensor": {"purge_after_days": kept_days}},
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 180, "max_resume_run_attempts": 0},
        # `failures.py` owns retrying.
        "run_retries": {"enabled": False},
        "concurrency": {"pools": {"granularity": "run", "default_limit": 1}},
        "freshness": {"enabled": True},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def warehouse_environment(server: Server) -> dict[str, str]:
    """Our environment, changed so that `ingest.connection.resolve()` finds this server and database."""
    named = {*variable_names().values(), *OTHER_WAYS_TO_NAME_A_SERVER}
    kept = {name: value for name, value in os.environ.items() if name not in named}
    # The embedded server may get another port while Dagster runs: only the database is fixed.
    return kept | ({"PGDATABASE": server.database} if server.embedded else server.environment())


def make_storage(server: Server) -> Server:
    """Where Dagster keeps runs and events, made if missing.

    A database of its own on the embedded server (`<warehouse>_dagster`) or where TIDEMARK_DAGSTER_DATABASE
    names one, else the schema `dagster` in the warehouse's database.

    Raises:
        TidemarkError: it cannot be made.
    """
    named = os.environ.get(DATABASE_VARIABLE)
    try:
        if named or server.embedded:
            return _make_database(server, named or f"{server.database}_dagster")
        return _make_schema(server)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise TidemarkError(
            f"Dagster's storage cannot be made ({reason}): grant that, or name an existing database in "
            f"{DATABASE_VARIABLE}."
        ) from error


def _make_database(server: Server, name: str) -> Server:
    with connect(server, autocommit=True) as connection:
        there = connection.execute("select from pg_catalog.pg_database where datname = %s", [name]).fetchone()
        if there is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return server.with_database(name)


def _make_schema(server: Server) -> Server:
    with connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(SCHEMA)))
    options = f"{server.parameters.get('options', '')} -c search_path={SCHEMA}".strip()
    storage = replace(server, parameters=server.parameters | {"options": options})
    with connect(storage, autocommit=True) as connection:
        found = connection.execute("select current_schema()").fetchone()
    if found != (SCHEMA,):
        # Some poolers drop the option; Dagster's tables would land among the user's.
        raise TidemarkError(
            f"The server at {server.place} ignores search_path in the connection: name a database of its own for "
            f"Dagster in {DATABASE_VARIABLE}."
        )
    return storage
