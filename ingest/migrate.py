"""Numbered migrations: the schemas raw, history and ops, and the roles, brought up to date."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ingest.errors import TidemarkError

OLDEST_POSTGRES = 150000
# What the first migration creates; an admin may have to do it for a user without CREATEROLE.
ROLES = (
    "tidemark_loader",
    "tidemark_transformer",
    "tidemark_analyst",
    "tidemark_bi",
    "tidemark_workspace_reader",
)
# What each role may do, in one script that may run again at any time.
ACCESS = Path(__file__).parent / "access.sql"
# Files that some servers could not take were mended for those: where a former text was applied, nothing is to be done.
FORMER_CHECKSUMS = {
    "0010_first_value": ("cfe154aaa892827eed278dc076974133689e695bdd92439713ede4ce5a63489b",),
}
_LOCK = 0x7469_6465_6D61_726B  # "tidemark"


@dataclass(frozen=True)
class Migration:
    """One file NNNN_name.sql. `checksum` is the SHA-256 of its text with Unix line ends, hexadecimal."""

    version: int
    name: str
    checksum: str
    statements: str

    @property
    def label(self) -> str:
        return f"{self.version:04}_{self.name}"


def migrations() -> list[Migration]:
    """The migrations this code knows, in order."""
    found = []
    for file in (Path(__file__).parent / "migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
            checksum = hashlib.sha256(text.encode()).hexdigest()
            found.append(Migration(int(match[1]), match[2], checksum, text))
    found.sort(key=lambda migration: migration.version)
    for one, other in itertools.pairwise(found):
        if one.version == other.version:
            raise TidemarkError(f"Two migrations have one number, {one.label} and {other.label}: renumber one.")
    return found


def migrate(connection: psycopg.Connection[Any], known: list[Migration] | None = None) -> list[str]:
    """Apply what is missing, all in one transaction, and make the partitions ahead.

    Returns the labels (`0001_schemas_and_roles`) of the migrations applied now. Two at once take turns. In a
    transaction of the caller's, committing is the caller's.

    Raises:
        TidemarkError: the server is too old, an applied file was edited, the database is newer than the code,
            or the user lacks a privilege.
    """
    known = migrations() if known is None else known
    if connection.info.server_version < OLDEST_POSTGRES:
        found = connection.info.parameter_status("server_version")
        raise TidemarkError(
            f"The server is PostgreSQL {found}: version 15 or newer is needed; upgrade it, or name another."
        )
    try:
        with connection.transaction():
            # Of the transaction, not of the session: a pooler may give the next one another session.
            connection.execute("select pg_catalog.pg_advisory_xact_lock(%s)", [_LOCK])
            connection.execute(
                "set local search_path = pg_catalog, pg_temp; set local statement_timeout = 0; "
                "set local lock_timeout = 0; set local client_min_messages = warning; "
                "set local default_tablespace = ''"
            )
            applied = _applied(connection)
            _check(applied, known)
            missing = [migration for migration in known if migration.version not in applied]
            if missing:
                _check_privileges(connection, first=not applied)
            for migration in missing:
                _apply(connection, migration)
            connection.execute("select ops.make_partitions()")
            _grant_access(connection, changed=bool(missing))
    except psycopg.errors.InsufficientPrivilege as error:
        raise TidemarkError(
            f"The user {connection.info.user!r} may not migrate ({_first_line(error)}): run it as the owner of "
            "the schemas raw, history and ops."
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise TidemarkError(
            "The server is read-only (a replica?): name the primary in DATABASE_URL or PGHOST."
        ) from error
    except psycopg.OperationalError as error:
        raise TidemarkError(f"The migration stopped, nothing changed ({_first_line(error)}): run it again.") from error
    return [migration.label for migration in missing]


def _applied(connection: psycopg.Connection[Any]) -> dict[int, tuple[str, str]]:
    """What the database has: version → (name, checksum)."""
    there = connection.execute("select to_regclass('ops.schema_migrations') is not null").fetchone()
    if there is None or not there[0]:
        return {}
    rows = connection.execute("select version, name, checksum from ops.schema_migrations").fetchall()
    return {version: (name, checksum) for version, name, checksum in rows}


def _check(applied: dict[int, tuple[str, str]], known: list[Migration]) -> None:
    by_version = {migration.version: migration for migration in known}
    newest = max(applied, default=0)
    for version, (name, checksum) in sorted(applied.items()):
        migration = by_version.get(version)
        if migration is None:
            raise TidemarkError(
                f"The database is newer than this code (it has {version:04}_{name}, the code ends at "
                f"{max(by_version, default=0):04}): update the checkout."
            )
        if checksum not in (migration.checksum, *FORMER_CHECKSUMS.get(migration.label, ())):
            raise TidemarkError(
                f"The migration {migration.label} was edited after it was applied here: restore the file, and put the "
                "change into a new one."
            )
    for migration in known:
        if migration.version < newest and migration.version not in applied:
            raise TidemarkError(
                f"The migration {migration.label} comes before {newest:04}, which is applied already: give it the "
                "next free number."
            )


def _check_privileges(connection: psycopg.Connection[Any], *, first: bool) -> None:
    """Name at once everything an admin must do, instead of failing at the first of it."""
    row = connection.execute(
        """
        select
            current_database(), current_user,
            has_database_privilege(current_database(), 'create'),
            (select rolsuper or rolcreaterole from pg_roles where rolname = current_user),
            array(select name from unnest(%s::text[]) as name where name not in (select rolname from pg_roles))
        """,
        [list(ROLES)],
    ).fetchone()
    assert row is not None
    database, user, may_create, may_create_roles, missing_roles = row
    needed = []
    if first and missing_roles and not may_create_roles:
        needed += [f"create role {name} nologin;" for name in missing_roles]
    if first and not may_create:
        needed.append(
            sql.SQL("grant create on database {} to {};")
            .format(sql.Identifier(database), sql.Identifier(user))
            .as_string(connection)
        )
    if needed:
        raise TidemarkError(
            f"The user {user!r} lacks privileges: have an admin run `{' '.join(needed)}` in {database!r}, "
            "then migrate again."
        )


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    try:
        # Without parameters a whole file goes over in one go.
        connection.execute(migration.statements)  # type: ignore[arg-type]
        connection.execute(
            """
            create schema if not exists ops;
            create table if not exists ops.schema_migrations (
                version integer primary key,
                name text not null,
                checksum text not null,
                applied_at timestamptz not null default clock_timestamp()
            )
            """
        )
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as error:
        raise TidemarkError(
            f"The migration {migration.label} failed, nothing changed ({_first_line(error)}): "
            "mend that, then migrate again."
        ) from error
    connection.execute(
        "insert into ops.schema_migrations (version, name, checksum) values (%s, %s, %s)",
        [migration.version, migration.name, migration.checksum],
    )


def _grant_access(connection: psycopg.Connection[Any], *, changed: bool) -> None:
    """Run access.sql where a migration or the file itself is newer than its last run."""
    there = connection.execute("select to_regclass('ops.access_state') is not null").fetchone()
    if there is None or not there[0]:
        # Migrations of a test, or an old set of them.
        return
    statements = ACCESS.read_text(encoding="utf-8")
    checksum = hashlib.sha256(statements.encode()).hexdigest()
    row = connection.execute("select checksum from ops.access_state").fetchone()
    if changed or row != (checksum,):
        connection.execute(statements)  # type: ignore[arg-type]
        connection.execute("update ops.access_state set checksum = %s, applied_at = clock_timestamp()", [checksum])


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0]
