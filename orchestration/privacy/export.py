"""What the warehouse holds of a person, as JSON and CSV files in a folder."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ingest.connection import Server
from ingest.errors import TidemarkError
from orchestration.exports.run import exports_folder
from orchestration.privacy.erasure import WAIT_SECONDS, one_at_a_time
from orchestration.privacy.person import Person, Subject, find

SCHEMAS = ("raw", "history", "marts")
ROWS_AT_A_TIME = 500
# What a spreadsheet would run.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Column to whose ids it holds, in the order that decides whose a row is.
COLUMNS = {
    "user_id": "users",
    "anonymous_id": "anonymous",
    "session_id": "sessions",
    "visitor_id": "visitors",
    "session_group": "groups",
    "merged_group": "groups",
    "email": "emails",
}
RELATIONS = """
select
    relnamespace::regnamespace::text, relname,
    array_agg(attname::text) filter (where attname = any(%(columns)s))
from pg_class
inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
where relnamespace::regnamespace::text = any(%(schemas)s) and relkind in ('r', 'p', 'v') and not relispartition
group by 1, 2
having bool_or(attname = any(%(columns)s))
order by array_position(%(schemas)s, relnamespace::regnamespace::text), 2
"""


@dataclass(frozen=True)
class Bundle:
    """An export: its folder, and rows by relation."""

    folder: Path
    rows: dict[str, int]
    certificate_id: int


def export(
    server: Server,
    subject: Subject,
    folder: Path | None = None,
    *,
    asked_at: datetime | None = None,
    request_hash: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Bundle:
    """Write all rows that are the person's: `person.json` and a CSV file for each relation, in a new folder.

    The new folder, whose name is random, lies in `folder` (`exports_folder()/privacy`), readable by its owner alone,
    and is there whole or not at all. `manifest.json` has rows and SHA-256 of each file.

    Raises:
        TidemarkError: nobody is named, or the folder cannot be written.
    """
    target = (folder or exports_folder() / "privacy") / f"person-{secrets.token_hex(8)}"
    with one_at_a_time(server, wait_seconds) as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        person = find(connection, subject)
        for left in target.parent.glob(".person-*"):
            # of an export that was killed: no other runs now
            shutil.rmtree(left, ignore_errors=True)
        draft = target.with_name(f".{target.name}")
        try:
            draft.mkdir(mode=0o700, parents=True)
            rows = _write(connection, person, draft)
            os.replace(draft, target)
        except OSError as error:
            raise TidemarkError(f"{target.parent} cannot be written ({error.strerror}): name another.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        certificate_id = connection.execute(
            """
            insert into ops.privacy_certificates (action, counts, asked_at, finished_at, request_hash)
            values ('export', %s, %s, clock_timestamp(), %s) returning certificate_id
            """,
            [Jsonb(rows), asked_at, request_hash],
        ).fetchone()[0]
        if request_hash:
            connection.execute(
                "insert into ops.privacy_answers (content_hash, certificate_id) values (%s, %s) on conflict do nothing",
                [request_hash, certificate_id],
            )
    return Bundle(target, rows, certificate_id)


def _write(connection: psycopg.Connection[Any], person: Person, folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    with (folder / "person.json").open("w", encoding="utf-8") as bundle:
        bundle.write(json.dumps({"ids": {k: v for k, v in person.as_json().items() if k != "salt"}})[:-1])
        bundle.write(', "relations": {')
        for schema, name, columns in connection.execute(
            RELATIONS, {"columns": list(COLUMNS), "schemas": list(SCHEMAS)}
        ).fetchall():
            found = _write_relation(connection, person, schema, name, columns, bundle, folder, first=not counts)
            if found:
                counts[f"{schema}.{name}"] = found
        bundle.write("}}\n")
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    (folder / "manifest.json").write_text(
        json.dumps({"rows": counts, "files": files}, indent=2) + "\n", encoding="utf-8"
    )
    return counts


def _write_relation(
    connection: psycopg.Connection[Any],
    person: Person,
    schema: str,
    name: str,
    columns: list[str],
    bundle: Any,
    folder: Path,
    *,
    first: bool,
) -> int:
    query = sql.SQL("select to_jsonb(t)::text from {} as t where {}").format(
        sql.Identifier(schema, name), _whose(person, columns)
    )
    written = 0
    with connection.cursor(name="exporting") as found:
        found.itersize = ROWS_AT_A_TIME
        found.execute(query)
        table = None
        for (text,) in found:
            row = json.loads(text, parse_float=str, parse_int=str)
            if table is None:
                file = (folder / f"{schema}.{name}.csv").open("w", newline="", encoding="utf-8")
                table = csv.writer(file)
                table.writerow(row)
                bundle.write(("" if first else ",") + json.dumps(f"{schema}.{name}") + ": [\n")
            else:
                bundle.write(",\n")
            bundle.write(text)
            table.writerow([cell(value) for value in row.values()])
            written += 1
        if table is not None:
            bundle.write("]")
            file.close()
    return written


def _whose(person: Person, columns: list[str]) -> sql.Composable:
    """Whether a row is the person's: by its user where it names one, else by any other id."""
    ids = {kind: sorted(getattr(person, kind)) for kind in ("users", "anonymous", "sessions", "groups", "emails")}
    tests = []
    for column, kind in COLUMNS.items():
        if column not in columns or column == "user_id":
            continue
        if kind == "visitors":
            users, anonymous = sql.Literal(ids["users"]), sql.Literal(ids["anonymous"])
            tests.append(
                sql.SQL(
                    "visitor_id in (select md5('user:' || one)::uuid from unnest({}::text[]) as one"
                    " union all select md5('anonymous:' || one)::uuid from unnest({}::text[]) as one)"
                ).format(users, anonymous)
            )
        elif column == "email":
            tests.append(sql.SQL("lower(btrim(email)) = any({}::text[])").format(sql.Literal(ids[kind])))
        else:
            tests.append(sql.SQL("{} = any({}::text[])").format(sql.Identifier(column), sql.Literal(ids[kind])))
    other = sql.SQL("({})").format(sql.SQL(" or ").join(tests or [sql.SQL("false")]))
    if "user_id" not in columns:
        return other
    return sql.SQL("(user_id = any({}::text[]) or (user_id is null and {}))").format(sql.Literal(ids["users"]), other)


def cell(value: Any) -> Any:
    """A value as a spreadsheet may have it: what would be run as a formula is text."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value):
        return "'" + value
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
