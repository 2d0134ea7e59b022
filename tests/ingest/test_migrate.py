"""Migrations: applied once, in order, whole or not at all, and refused with a line that says what to do."""

import re
import threading
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.migrate import FORMER_CHECKSUMS, ROLES, Migration, migrate, migrations

LABELS = [migration.label for migration in migrations()]


def table_names(connection, schema):
    rows = connection.execute("select tablename from pg_tables where schemaname = %s", [schema])
    return {name for (name,) in rows}


def test_files_are_numbered_without_gaps():
    assert [migration.version for migration in migrations()] == list(range(1, len(LABELS) + 1))


def test_a_second_run_changes_nothing(empty_database):
    with connect(empty_database) as connection:
        assert migrate(connection) == LABELS
        first = connection.execute("select version, applied_at from ops.schema_migrations").fetchall()
        tables = table_names(connection, "raw")
        assert {"loads", "rejects", "session_batches", "events", "llm_requests"} <= tables
        assert migrate(connection) == []
        assert connection.execute("select version, applied_at from ops.schema_migrations").fetchall() == first
        assert table_names(connection, "raw") == tables


def test_every_run_makes_the_partitions_ahead(empty_database):
    with connect(empty_database) as connection:
        migrate(connection)
        today = connection.execute("select to_char(now() at time zone 'UTC', 'YYYYMMDD')").fetchone()[0]
        connection.execute(sql.SQL("drop table raw.{}").format(sql.Identifier(f"llm_requests_{today}")))
        connection.commit()
        assert migrate(connection) == []
        assert f"llm_requests_{today}" in table_names(connection, "raw")


def test_the_roles_an_admin_is_asked_for_are_those_the_files_create():
    created = re.findall(r"'(tidemark_\w+)'", migrations()[0].statements)
    assert sorted(created) == sorted(ROLES)


def test_an_edited_file_is_refused(empty_database):
    with connect(empty_database) as connection:
        migrate(connection)
        edited = [replace(migrations()[0], checksum="0" * 64), *migrations()[1:]]
        with pytest.raises(TidemarkError, match=f"{LABELS[0]} was edited after it was applied"):
            migrate(connection, edited)


def test_a_file_mended_for_other_servers_is_no_edited_one(empty_database):
    former = [replace(known, checksum=FORMER_CHECKSUMS.get(known.label, [known.checksum])[0]) for known in migrations()]
    with connect(empty_database) as connection:
        migrate(connection, former)
        assert migrate(connection) == []


def test_servers_before_16_get_the_first_value_of_a_function_of_ours(empty_database):
    known = [
        replace(one, statements=one.statements.replace("::integer >= 160000", "::integer < 0")) for one in migrations()
    ]
    assert [one.label for one, other in zip(known, migrations(), strict=True) if one != other] == ["0010_first_value"]
    with connect(empty_database) as connection:
        migrate(connection, known)
        assert connection.execute(
            "select ops.first_value(x order by y desc), to_regproc('ops.keep_first') is not null"
            " from (values ('a', 1), (null, 3), ('b', 2)) as t (x, y)"
        ).fetchone() == ("b", True)


def test_a_database_newer_than_the_code_is_refused(empty_database):
    later = Migration(99, "later", "0" * 64, "create table ops.later (x integer)")
    with connect(empty_database) as connection:
        assert migrate(connection, [*migrations(), later])[-1] == "0099_later"
        with pytest.raises(TidemarkError, match=r"newer than this code \(it has 0099_later"):
            migrate(connection)


def test_a_file_numbered_before_an_applied_one_is_refused(empty_database):
    last = Migration(99, "last", "0" * 64, "select 1")
    between = Migration(98, "between", "0" * 64, "select 1")
    with connect(empty_database) as connection:
        migrate(connection, [*migrations(), last])
        with pytest.raises(TidemarkError, match="0098_between comes before 0099"):
            migrate(connection, [*migrations(), between, last])


def test_a_failing_file_leaves_the_database_as_it_was(empty_database):
    broken = Migration(99, "broken", "0" * 64, "create table ops.half (x integer); select 1 / 0")
    with connect(empty_database) as connection:
        with pytest.raises(TidemarkError, match=r"0099_broken failed, nothing changed \(division by zero"):
            migrate(connection, [*migrations(), broken])
        assert connection.execute("select to_regnamespace('raw'), to_regnamespace('ops')").fetchone() == (None, None)


def test_two_at_once_apply_each_file_once(empty_database):
    results, errors = [], []

    def run():
        try:
            with connect(empty_database) as connection:
                results.append(migrate(connection))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(results, key=len) == [[], [], [], LABELS]


@pytest.mark.parametrize("search_path", ["", "decoy, pg_catalog"])
def test_a_strange_search_path_makes_no_difference(empty_database, search_path):
    with connect(empty_database) as connection:
        connection.execute("create schema decoy")
        # Found first, these would stand in for the built-in functions the migrations call.
        connection.execute(
            "create function decoy.clock_timestamp() returns timestamptz language sql "
            "as $$ select 'epoch'::timestamptz $$;"
            "create function decoy.hashtext(text) returns integer language sql as $$ select 1 / 0 $$"
        )
        connection.execute("select set_config('search_path', %s, false)", [search_path])
        connection.commit()
        assert migrate(connection) == LABELS
        assert table_names(connection, "decoy") == set()
        applied_at = connection.execute("select min(applied_at) from ops.schema_migrations").fetchone()[0]
        assert applied_at.year >= 2024
        assert connection.execute("select pg_catalog.current_setting('search_path')").fetchone()[0] == search_path


@pytest.fixture
def plain_user(server, empty_database):
    """A user who may log in and nothing else, on a server where the project's roles are hidden by renaming."""
    if not server.embedded:
        pytest.skip("renames roles, which another user of this server may need")
    name, password = "tidemark_test_plain", "plain"
    rename = sql.SQL("alter role {} rename to {}")
    with connect(server, autocommit=True) as admin:
        there = [
            role for (role,) in admin.execute("select rolname from pg_roles where rolname = any(%s)", [list(ROLES)])
        ]
        for role in there:
            admin.execute(rename.format(sql.Identifier(role), sql.Identifier(f"{role}_away")))
        admin.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(name), password))
        try:
            yield replace(empty_database, parameters=empty_database.parameters | {"user": name, "password": password})
        finally:
            with connect(empty_database, autocommit=True) as inside:
                inside.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
            for role in there:
                admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(role)))
                admin.execute(rename.format(sql.Identifier(f"{role}_away"), sql.Identifier(role)))


def test_a_user_without_privileges_is_told_what_an_admin_must_run(plain_user, empty_database, run_ingest):
    done = run_ingest("migrate", server=plain_user)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    for role in ROLES:
        assert f"create role {role} nologin;" in done.stderr
    # The line is what an admin can paste, and it is enough.
    statements = re.search("`(.*)`", done.stderr)[1]
    with connect(empty_database) as admin:
        admin.execute(statements)
    with connect(plain_user) as connection:
        assert migrate(connection) == LABELS
        assert migrate(connection) == []


def test_an_old_server_is_refused():
    class OldServer:
        class info:
            server_version = 140011

            @staticmethod
            def parameter_status(name):
                return "14.11"

    with pytest.raises(TidemarkError, match=r"14\.11: version 15 or newer"):
        migrate(OldServer())


def test_the_command_prints_what_it_did(empty_database, run_ingest):
    first = run_ingest("migrate", server=empty_database)
    assert (first.returncode, first.stdout.split()) == (0, [word for label in LABELS for word in ("applied", label)])
    second = run_ingest("migrate", "--json", server=empty_database)
    assert second.returncode == 0
    assert second.stdout == f'{{"database": "{empty_database.database}", "applied": []}}\n'


def test_migrating_inside_a_transaction_of_the_caller_leaves_the_commit_to_them(empty_database):
    with connect(empty_database) as connection:
        connection.execute("select 1")
        assert migrate(connection) == LABELS
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        connection.rollback()
        assert migrate(connection) == LABELS


def test_rows_that_came_before_their_partition_move_into_it(fresh_database):
    with connect(fresh_database, autocommit=True) as connection:
        for day in ("2031-05-04", "2031-05-05"):
            connection.execute(
                """
                insert into raw.llm_requests
                    (load_id, line_number, element, received_at, session_group, content_hash, record_type, occurred_at,
                    properties)
                values (1, 1, 0, %s, 'e:1', gen_random_uuid(), 'request', %s, '{}')
                """,
                [f"{day} 23:59:59+00", f"{day} 12:00:00+00"],
            )
        assert migrate(connection) == []
        found = connection.execute("select tableoid::regclass::text from raw.llm_requests order by 1").fetchall()
    assert found == [("raw.llm_requests_20310504",), ("raw.llm_requests_20310505",)]
