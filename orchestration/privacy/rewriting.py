"""Raw, history and ops without a person: ids replaced by a token, free text emptied, in one transaction."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ingest.forgetting import Digits, Mentions, as_json
from orchestration.privacy.person import Person
from orchestration.privacy.pseudonyms import FREE_OBJECTS, Pseudonyms
from orchestration.refresh import PROJECT_FOLDER

ROWS_AT_A_TIME = 500
SCHEMAS = ("raw", "history", "ops")
# The work list names what marts must still forget; it is cleared with the mark. Hashes and certificates name nobody.
LEFT_ALONE = {
    "ops.touched",
    "ops.schema_migrations",
    "ops.access_state",
    "ops.tombstones",
    "ops.hash_key_check",
    "ops.privacy_certificates",
    "ops.privacy_choices",
    "ops.opt_outs",
    "raw.rejects",
}
ID_COLUMNS = {"user_id": "users", "anonymous_id": "anonymous", "session_id": "sessions"}
GROUP_COLUMNS = ("session_group", "merged_group")
FREE_COLUMNS = ("page_title", "error_message", "name")
URL_COLUMNS = ("page_url", "landing_page", "path_sequence")
# What the work list calls the keys of tables that are not found by session group.
KEYS = {"raw.costs": ("cost", "cost_id"), "raw.workspaces": ("workspace", "workspace_id")}
GONE = "erased: the person asked for it; nothing of the record is kept"

TABLES = """
select
    relnamespace::regnamespace::text || '.' || relname,
    array_agg(attname::text order by attnum),
    array_agg(format_type(atttypid, null) order by attnum)
from pg_class
inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
where relnamespace::regnamespace::text = any(%s) and relkind in ('r', 'p') and not relispartition
    and format_type(atttypid, null) in ('text', 'text[]', 'jsonb', 'inet')
group by 1
order by 1
"""


def rewrite(connection: psycopg.Connection[Any], person: Person, token: str) -> Counter[str]:
    """Replace and empty; list what marts must make anew. Rows changed, by table. The caller holds a transaction."""
    pseudonyms = Pseudonyms(token, person)
    counts: Counter[str] = Counter()
    touched: set[tuple[str, str]] = set()
    for table, names, types in connection.execute(TABLES, [list(SCHEMAS)]).fetchall():
        if table not in LEFT_ALONE:
            columns = dict(zip(names, types, strict=True))
            counts[table] += _rewrite_table(connection, table, columns, pseudonyms, touched)
    ids = sorted(person.ids)
    for table in ("ops.privacy_choices", "ops.opt_outs"):
        counts[table] += connection.execute(f"delete from {table} where subject_id = any(%s)", [ids]).rowcount
    counts["raw.rejects"] += _empty_rejects(connection, pseudonyms)
    connection.cursor().executemany(
        "insert into ops.touched (target, kind, key) select target, %s, %s from ops.bounds", sorted(touched)
    )
    return +counts


def _rewrite_table(
    connection: psycopg.Connection[Any],
    table: str,
    columns: dict[str, str],
    pseudonyms: Pseudonyms,
    touched: set[tuple[str, str]],
) -> int:
    person = pseudonyms.person
    changed = 0
    with connection.cursor(name="erasing") as found:
        found.itersize = ROWS_AT_A_TIME
        found.execute(_query(table, columns, pseudonyms))
        while rows := found.fetchmany(ROWS_AT_A_TIME):
            updates: dict[tuple[str, tuple[str, ...], bool], list[list[Any]]] = {}
            for part, place, *values in rows:
                row = dict(zip(columns, values, strict=True))
                own = _is_own(row, person)
                news = {name: _new(table, row, name, columns[name], own, pseudonyms) for name in columns}
                news = {name: value for name, value in news.items() if value != row[name]}
                cut_address = own and row.get("ip_address") is not None and "ip_address" in row
                if not news and not cut_address:
                    continue
                changed += 1
                updates.setdefault((part, tuple(news), cut_address), []).append([*news.values(), place])
                for kind, column in _keys_of(table, columns):
                    touched |= {(kind, key) for key in (row[column], news.get(column, row[column])) if key}
            for (part, names, cut_address), values in updates.items():
                sets = [f"{name} = %s::{columns[name]}" for name in names]
                sets += ["ip_address = ops.ip_network(ip_address)"] if cut_address else []
                # names of columns and partitions are the catalog's, not anybody's input
                statement = f"update {part} set {', '.join(sets)} where ctid = %s::tid"
                connection.cursor().executemany(statement, values)
    return changed


def _query(table: str, columns: dict[str, str], pseudonyms: Pseudonyms) -> sql.Composed:
    person = pseudonyms.person
    tests = [
        sql.SQL("{} = any({})").format(sql.Identifier(name), sorted(getattr(person, kind)))
        for name, kind in ID_COLUMNS.items()
        if name in columns
    ]
    tests += [
        sql.SQL("{} = any({})").format(sql.Identifier(name), sorted(person.groups))
        for name in GROUP_COLUMNS
        if name in columns
    ]
    if table == "ops.group_links":
        tests.append(sql.SQL("kind = 'anonymous' and key = any({})").format(sorted(person.anonymous)))
    for operator, addresses in (("~", False), ("~*", True)):
        pattern = Mentions.pattern(one for one in pseudonyms.mentions.distinctive if ("@" in one) == addresses)
        if pattern:
            tests.append(sql.SQL("sought::text {} {}").format(sql.SQL(operator), pattern))
    chosen = [
        sql.SQL("{}::text").format(sql.Identifier(name)) if kind in ("jsonb", "inet") else sql.Identifier(name)
        for name, kind in columns.items()
    ]
    return sql.SQL("select tableoid::regclass::text, ctid::text, {} from {} as sought where {} for update").format(
        sql.SQL(", ").join(chosen), sql.Identifier(*table.split(".")), sql.SQL(" or ").join(tests or [sql.SQL("false")])
    )


def _is_own(row: dict[str, Any], person: Person) -> bool:
    """Whether a row tells of the person, and not only mentions them."""
    if row.get("user_id") is not None:
        return row["user_id"] in person.users
    if row.get("anonymous_id") in person.anonymous or row.get("session_id") in person.sessions:
        return True
    return row.get("session_group") in person.groups


def _keys_of(table: str, columns: dict[str, str]) -> Iterator[tuple[str, str]]:
    if table in KEYS:
        yield KEYS[table]
    if not table.startswith("ops."):
        for name in GROUP_COLUMNS:
            if name in columns:
                yield "session_group", name


def _new(table: str, row: dict[str, Any], name: str, kind: str, own: bool, pseudonyms: Pseudonyms) -> Any:
    value = row[name]
    if value is None or kind == "inet":
        return value
    if name in ID_COLUMNS:
        return pseudonyms.id_of(ID_COLUMNS[name], value)
    if name in GROUP_COLUMNS:
        return pseudonyms.group(value)
    if kind == "jsonb":
        told = json.loads(value, parse_float=Digits, parse_int=Digits)
        where = "mart" if table.startswith("history.") else "free" if name in FREE_OBJECTS else "form"
        new = pseudonyms.json(told, own, where)
        return value if new == told else as_json(new).decode()
    if kind == "text[]":
        return [pseudonyms.url(one, listed_parameters()) if own else pseudonyms.mentioned(one) for one in value]
    if table == "ops.group_links" and name == "key" and row["kind"] == "anonymous":
        return pseudonyms.id_of("anonymous", value)
    if name == "email":
        address = value.strip().lower()
        # A request must go on naming somebody.
        return pseudonyms.name(address) if address in pseudonyms.person.emails else pseudonyms.mentioned(value)
    if own and name in FREE_COLUMNS:
        return pseudonyms.free(value)
    if own and name in URL_COLUMNS:
        return pseudonyms.url(value, listed_parameters())
    if own and name == "referrer":
        return pseudonyms.referrer(value)
    if own and name == "feedback":
        return value if value.strip().lower() in feedback_words() else pseudonyms.free(value)
    return pseudonyms.mentioned(value)


def _empty_rejects(connection: psycopg.Connection[Any], pseudonyms: Pseudonyms) -> int:
    sought = Mentions(pseudonyms.person.ids)
    with connection.cursor(name="rejects") as found:
        found.itersize = ROWS_AT_A_TIME
        found.execute("select reject_id, record, coalesce(reason, '') || ' ' || file from raw.rejects")
        gone = [
            reject_id for reject_id, record, told in found if sought.in_text(record) or sought.in_text(told.encode())
        ]
    connection.execute(
        """
        update raw.rejects set
            record = '', reason = %s, file = '', field = null, note = null,
            cleared_by = case when cleared_at is null then current_user else cleared_by end,
            cleared_at = coalesce(cleared_at, clock_timestamp())
        where reject_id = any(%s)
        """,
        [GONE, gone],
    )
    return len(gone)


@lru_cache(maxsize=1)
def listed_parameters() -> frozenset[str]:
    """Parameters of a URL's query that staging shows."""
    return _words("query_parameters", "parameter")


@lru_cache(maxsize=1)
def feedback_words() -> frozenset[str]:
    """Words of feedback that mean something to the models."""
    return frozenset(word.lower() for word in _words("feedback_words", "word"))


def _words(seed: str, column: str) -> frozenset[str]:
    with (Path(PROJECT_FOLDER) / "seeds" / f"{seed}.csv").open(newline="", encoding="utf-8") as file:
        return frozenset(row[column] for row in csv.DictReader(file))
