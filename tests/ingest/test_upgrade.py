"""A database of any earlier version comes up to date without losing a row or changing a value."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import sql

from ingest import migrate as library
from ingest.connection import connect
from ingest.load import load_file
from ingest.migrate import migrate, migrations

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = migrations()
VERSIONS = [file.version for file in FILES]

# A value of each type that a column may have; `number` makes rows differ.
VALUES = {
    "boolean": "true",
    "smallint": "{number}",
    "integer": "{number}",
    "bigint": "{number}",
    "numeric": "{number}.000000000000000000001",
    "double precision": "{number}.5",
    "text": "text {number} é '\"\\",
    "uuid": "00000000-0000-4000-8000-00000000000{number}",
    # Days whose partitions are not there yet.
    "timestamp with time zone": "2026-03-0{number} 23:59:59.123456+00",
    "date": "2026-03-0{number}",
    "interval": "{number} days",
    "inet": "2001:db8::{number}",
    "cidr": "10.0.{number}.0/24",
    "bytea": "\\x00ff0{number}",
    "json": '{{"number": {number}}}',
    "jsonb": '{{"number": {number}.10, "text": "é"}}',
    "text[]": '{{"a,{number}",NULL}}',
    "bigint[]": "{{{number},-5}}",
    "integer[]": "{{{number}}}",
}
TABLES = """
    select c.oid, n.nspname, c.relname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('raw', 'history', 'ops') and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> 'schema_migrations'
    order by 2, 3
"""
COLUMNS = """
    select a.attname, format_type(a.atttypid, null)
    from pg_attribute a
    where a.attrelid = %s and a.attnum > 0 and not a.attisdropped and a.attidentity = '' and a.attgenerated = ''
    order by a.attnum
"""
# One-column keys to other tables: column, referenced table and column.
KEYS = """
    select a.attname, k.confrelid, b.attname
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    join pg_attribute b on b.attrelid = k.confrelid and b.attnum = k.confkey[1]
    where k.conrelid = %s and k.contype = 'f' and cardinality(k.conkey) = 1
"""
# What a column must be one of, as its check or its table's list of partitions says.
CHOICES = """
    select a.attname, pg_get_constraintdef(k.oid)
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    where k.conrelid = %(table)s and k.contype = 'c' and cardinality(k.conkey) = 1
    union all
    select a.attname, pg_get_expr(c.relpartbound, c.oid)
    from pg_partitioned_table p
    join pg_inherits i on i.inhparent = p.partrelid
    join pg_class c on c.oid = i.inhrelid
    join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    where p.partrelid = %(table)s and p.partstrat = 'l'
"""


def build(connection, version):
    """A database as the code had it when its last file was `version`."""
    with connection.transaction():
        for file in FILES[: VERSIONS.index(version) + 1]:
            # As `migrate` does it, without what it calls at the end: the first files have no such function.
            library._apply(connection, file)


def fill(connection):
    """Two rows in every table that has none; the tables a row refers to go first."""
    tables = {oid: sql.Identifier(schema, name) for oid, schema, name in connection.execute(TABLES).fetchall()}
    waiting = dict(tables)
    while waiting:
        before = len(waiting)
        for table in list(waiting):
            keys = {column: other for column, *other in connection.execute(KEYS, [table]).fetchall()}
            if any(other in waiting and other != table for other, _ in keys.values()):
                continue
            name = waiting.pop(table)
            if connection.execute(sql.SQL("select from {} limit 1").format(name)).fetchone() is None:
                fill_table(connection, table, name, {c: (tables[other], key) for c, (other, key) in keys.items()})
        assert len(waiting) < before, "tables refer to each other in a ring"
    connection.commit()


def fill_table(connection, table, name, keys):
    """Two rows with a value in every column."""
    columns = connection.execute(COLUMNS, [table]).fetchall()
    choices = {}
    for column, rule in connection.execute(CHOICES, {"table": table}).fetchall():
        literals = re.findall(r"'([^']*)'", rule)
        if literals:
            choices.setdefault(column, literals[0])
    only_row = any(column == "only_row" for column, _ in columns)
    for number in (1,) if only_row else (1, 2):
        values = {}
        for column, kind in columns:
            if column in keys:
                other, key = keys[column]
                found = connection.execute(sql.SQL("select max({}) from {}").format(sql.Identifier(key), other))
                values[column] = str(found.fetchone()[0])
            else:
                values[column] = choices.get(column) or VALUES[kind].format(number=number)
        insert = sql.SQL("insert into {} ({}) values ({})").format(
            name,
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Literal, values.values())),
        )
        connection.execute(insert)


def contents(connection, columns=None):
    """Table → its rows as sorted text: all columns, or those of `columns` (table → names)."""
    found = {}
    for oid, schema, name in connection.execute(TABLES).fetchall():
        if columns is not None and (schema, name) not in columns:
            continue
        names = [
            column
            for (column,) in connection.execute(
                "select attname from pg_attribute where attrelid = %s and attnum > 0 and not attisdropped", [oid]
            )
        ]
        if columns is not None:
            assert set(columns[schema, name]) <= set(names), f"{schema}.{name} lost a column"
            names = columns[schema, name]
        text = sql.SQL("select row({})::text from {}").format(
            sql.SQL(", ").join(map(sql.Identifier, sorted(names))), sql.Identifier(schema, name)
        )
        rows = sorted(row for (row,) in connection.execute(text))
        found[schema, name] = (sorted(names), rows)
    connection.commit()
    return found


def load_something(connection, folder):
    """A good event and a bad one, a batch: loading works."""
    events = folder / "events.ndjson"
    events.write_text('{"event_name": "clicked", "timestamp": 1772442000}\nnot json\n')
    batches = folder / "session_batches.ndjson"
    batches.write_text(
        json.dumps({
            "sessionId": "s", "batchId": "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01", "startedAt": "2026-03-02T09:00:00Z",
        })
    )  # fmt: skip
    first, second = load_file(connection, events), load_file(connection, batches)
    return (first.status, first.loaded, first.rejected), (second.status, second.loaded, second.rejected)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_database_keeps_every_row(empty_database, tmp_path, version):
    with connect(empty_database) as connection:
        build(connection, version)
        fill(connection)
        before = contents(connection)
        assert all(len(rows) >= 1 for _, rows in before.values())
        assert migrate(connection) == [file.label for file in FILES if file.version > version]
        # what migrations themselves remember of the grants is theirs to change
        before.pop(("ops", "access_state"), None)
        after = contents(connection, {table: names for table, (names, _) in before.items()})
        assert before == after
        connection.commit()
        # The key that erased persons are known by is made up.
        connection.execute("truncate ops.hash_key_check, ops.tombstones")
        connection.commit()
        # What those rows say of loads is made up; numbers go on behind them.
        if version >= 2:
            connection.execute("select setval('raw.published_seq', 100)")
            connection.commit()
        assert load_something(connection, tmp_path) == (("loaded", 1, 1), ("loaded", 1, 0))


def test_rows_are_put_into_every_table_of_the_newest_version(empty_database):
    with connect(empty_database) as connection:
        build(connection, VERSIONS[-1])
        fill(connection)
        found = contents(connection)
    assert {("raw", "loads"), ("raw", "rejects"), ("raw", "events"), ("ops", "touched")} <= found.keys()
    one_row = ("horizon", "linked_seq", "access_state", "hash_key_check", "truncated_addresses", "opt_out_filter")
    of_one_row = {("ops", name) for name in one_row}
    assert {table for table, (_, rows) in found.items() if len(rows) < 2} <= of_one_row


@pytest.mark.parametrize("version", [None, 3])
def test_two_processes_at_once_apply_each_file_once(empty_database, version):
    before = {}
    if version:
        with connect(empty_database) as connection:
            build(connection, version)
            fill(connection)
            before = contents(connection)
    command = [sys.executable, "-m", "ingest", "migrate", "--json"]
    environment = os.environ | empty_database.environment()
    both = [
        subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    applied = []
    for process in both:
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        applied.append(json.loads(output)["applied"])
    missing = [file.label for file in FILES if file.version > (version or 0)]
    assert sorted(applied, key=len) == sorted(([], missing), key=len)
    with connect(empty_database) as connection:
        assert contents(connection, {table: names for table, (names, _) in before.items()}) == before


def test_baselines_that_were_told_before_are_looked_up_too(empty_database, fresh_database, tmp_path):
    """A router's other choice, with the request's provider and by its name alone."""
    requests = tmp_path / "llm_requests.ndjson"
    requests.write_text(
        json.dumps({
            "requestId": "r", "provider": "google", "model": "gemini", "baselineModelId": "gpt-4-turbo",
            "serviceTier": "batch", "timestamp": "2026-03-02T09:00:00Z",
        })
    )  # fmt: skip
    with connect(empty_database) as connection:
        build(connection, max(version for version in VERSIONS if version < 18))
        connection.execute("select ops.make_partitions(1)")
        connection.commit()
        # as the loader of that time put them there: today's asks for tables that came later
        with connect(fresh_database) as newer:
            assert load_file(newer, requests).loaded == 1
            for table in ("raw.loads", "raw.llm_requests"):
                (row,) = newer.execute(f"select to_jsonb(r) from {table} as r").fetchone()
                connection.execute(
                    f"insert into {table} overriding system value select (jsonb_populate_record(null::{table}, %s)).*",
                    [json.dumps(row)],
                )
        connection.commit()
        migrate(connection)
        found = connection.execute(
            "select name_key, provider, model, service_tier from ops.llm_names order by provider"
        )
        assert [row[1:] for row in found] == [("", "gpt-4-turbo", "batch"), ("google", "gpt-4-turbo", "batch")]
        keys = "select count(*) from ops.llm_names where name_key = ops.llm_name_key(provider, model, service_tier)"
        assert connection.execute(keys).fetchone() == (2,)
