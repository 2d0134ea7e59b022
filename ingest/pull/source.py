"""The database rows are pulled from: how to reach it, and one read-only snapshot of it.

Everything there happens in one `repeatable read, read only` transaction with settings of that transaction
alone, so nothing outlives it, a pooler in between included. Rows come through a server-side cursor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo as libpq
from psycopg import errors, pq, sql
from psycopg.adapt import Loader

from ingest.errors import TidemarkError
from ingest.pull.mapping import Mapping

VARIABLE = "TIDEMARK_PULL_URL"
DEFAULT_SCHEMA = "public"
CONNECT_SECONDS = 10
# Rows fetched at a time: first a few, then about so many bytes.
FIRST_FETCH = 50
MOST_FETCHED = 5000
FETCH_BYTES = 2 * 1024 * 1024
# How a watermark column's type, by its OID, becomes a time with zone, and a time with zone that type.
AS_TIME = {
    1184: ("{}", "{}"),
    1114: ("({} at time zone 'UTC')", "({} at time zone 'UTC')"),
    1082: ("({}::timestamp at time zone 'UTC')", "({} at time zone 'UTC')::date"),
}
# JSON of a row then means the same whatever the source's defaults are. Row-level security must not hide rows.
SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "row_security": "off",
}
ROW = sql.Identifier("tidemark pulled row")


class Row(NamedTuple):
    """One row: the text of its `row_to_json`, and its watermark as PostgreSQL writes it, in UTC."""

    content: bytes
    watermark: str | None


class AsBytes(Loader):
    """Text as it came: a source's encoding may let through what is no UTF-8."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


@dataclass(frozen=True)
class Source:
    """A database to pull from. `parameters` are libpq's; `name` is what the warehouse calls it for ever."""

    name: str
    parameters: dict[str, str]

    @property
    def place(self) -> str:
        """Where it is, as an error names it; no secrets."""
        return place(self.parameters)

    @property
    def user(self) -> str:
        return self.parameters.get("user") or "your login name"

    @contextmanager
    def snapshot(self, schema: str = DEFAULT_SCHEMA) -> Iterator[Snapshot]:
        """One state of the database, for as long as the context lasts.

        Raises:
            TidemarkError: nobody answers, or the login is refused.
        """
        connection = self.connect()
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.prepare_threshold = None
            with self.explained():
                for setting, value in SETTINGS.items():
                    connection.execute("select set_config(%s, %s, true)", [setting, value])
                connection.execute("select set_config('search_path', quote_ident(%s), true)", [schema])
                now = connection.execute("select transaction_timestamp()::text").fetchone()[0]
            yield Snapshot(self, connection, schema, now)
        finally:
            # Nothing was written, so there is nothing to commit on a connection that may be gone.
            connection.close()

    def connect(self) -> psycopg.Connection:
        """A connection that owes nothing to the PG* variables: those name the warehouse."""
        parameters = {"connect_timeout": CONNECT_SECONDS, "application_name": "tidemark pull"}
        parameters |= own_defaults(self.parameters)
        try:
            return psycopg.connect(libpq.make_conninfo("", **parameters), client_encoding="UTF8")
        except psycopg.OperationalError as error:
            raise self.unreachable(error) from None

    def unreachable(self, error: psycopg.OperationalError) -> TidemarkError:
        """What to do when no connection came about."""
        reason = one_line(error)
        if "no password supplied" in reason or (error.pgconn is not None and error.pgconn.needs_password):
            return TidemarkError(
                f"{self.place} wants a password for the user {self.user!r}: put it into {VARIABLE} or ~/.pgpass"
            )
        if "password authentication failed" in reason or "Wrong password" in reason:
            return TidemarkError(f"{self.place} refused the password of the user {self.user!r}: correct {VARIABLE}")
        if "does not exist" in reason and "database" in reason:
            return TidemarkError(f"{self.place}: there is no such database; name another with --from or {VARIABLE}")
        return TidemarkError(f"{self.place} cannot be reached ({reason}): is it running, is --from right?")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what the source refuses into one line."""
        try:
            yield
        except psycopg.Error as error:
            raise self.refused(error) from None

    def refused(self, error: psycopg.Error) -> TidemarkError:
        """What to do about an error of the source."""
        reason = one_line(error)
        if isinstance(error, errors.UndefinedTable):
            return TidemarkError(f"{self.place}: {reason}; name its schema with --schema, or map another table")
        if isinstance(error, errors.InsufficientPrivilege) and "row-level security" in reason:
            return TidemarkError(
                f"{self.place}: row-level security hides rows from the user {self.user!r} ({reason}): "
                "pull as a role with BYPASSRLS"
            )
        if isinstance(error, errors.InsufficientPrivilege):
            return TidemarkError(
                f"{self.place}: {reason}: grant the user {self.user!r} usage on the schema and select on the table"
            )
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return TidemarkError(f"{self.place}: {reason}: a mapping's query may only read")
        if isinstance(error, errors.QueryCanceled):
            return TidemarkError(f"{self.place}: {reason}; run it again, or give {self.user!r} more time there")
        if isinstance(error, errors.SyntaxErrorOrAccessRuleViolation):
            return TidemarkError(f"{self.place}: {reason}: correct the mapping")
        return TidemarkError(f"{self.place}: {reason}; run it again, it goes on after the last rows loaded")


@dataclass(frozen=True)
class Table:
    """What a mapping reads, resolved against the source: `watermark` as a time with zone, `bound` turns one
    into what is compared with, `compared` is what the index, if any, is on."""

    relation: sql.Composable
    watermark: sql.Composable
    compared: sql.Composable
    bound: str
    keys: list[sql.Composable]


@dataclass
class Snapshot:
    """One state of a source. `now` is its clock, as PostgreSQL writes it, in UTC."""

    source: Source
    connection: psycopg.Connection
    schema: str
    now: str

    def table(self, mapping: Mapping) -> Table:
        """Resolves a mapping. TidemarkError when table, watermark or key are not there or cannot be read."""
        relation = relation_of(mapping, self.schema)
        with self.source.explained(), self.connection.cursor() as cursor:
            cursor.execute(sql.SQL("select * from {} as {} limit 0").format(relation, ROW))
            types = {column.name: column.type_code for column in cursor.description}
        what = f"{self.source.place}: {mapping.what} of the mapping {mapping.name!r}"
        for name in mapping.keys:
            if name not in types:
                raise TidemarkError(f"{what} has no column {name!r} to tell rows apart by; it has {', '.join(types)}")
        there = [name for name in mapping.watermarks if name in types]
        if not there:
            wanted = " or ".join(repr(name) for name in mapping.watermarks)
            raise TidemarkError(
                f"{what} has no column {wanted} to pull by; it has {', '.join(types)}; map it with one of these"
            )
        for name in there:
            if types[name] not in AS_TIME:
                raise TidemarkError(f"{what}: the column {name!r} is no date or time: pull by another column")
        columns = {name: sql.SQL(".").join((ROW, sql.Identifier(name))) for name in types}
        times = [sql.SQL(AS_TIME[types[name]][0]).format(columns[name]) for name in there]
        if len(there) == 1:
            watermark, compared, bound = times[0], columns[there[0]], AS_TIME[types[there[0]]][1]
        else:
            watermark = compared = sql.SQL("coalesce({})").format(sql.SQL(", ").join(times))
            bound = "{}"
        return Table(relation, watermark, compared, bound, [columns[name] for name in mapping.keys])

    def rows(self, table: Table, since: str | None) -> Iterator[list[Row]]:
        """Rows from the watermark `since` on, in the order of watermark and key, then those without one."""
        condition = sql.SQL("{} is not null").format(table.compared)
        if since is not None:
            bound = sql.SQL(table.bound).format(sql.SQL("{}::timestamptz").format(sql.Literal(since)))
            condition = sql.SQL("{} >= {}").format(table.compared, bound)
        yield from self.read(table, condition, [table.compared, *table.keys])
        yield from self.read(table, sql.SQL("{} is null").format(table.compared), table.keys)

    def read(self, table: Table, condition: sql.Composable, order: list[sql.Composable]) -> Iterator[list[Row]]:
        """Rows in portions of about FETCH_BYTES: what is in memory does not grow with the table."""
        query = sql.SQL(
            "select pg_catalog.row_to_json({row})::text, {watermark}::text from {relation} as {row}"
            " where {condition} order by {order}"
        ).format(
            row=ROW,
            watermark=table.watermark,
            relation=table.relation,
            condition=condition,
            order=sql.SQL(", ").join(order),
        )
        with self.source.explained(), self.connection.cursor("tidemark_pull") as cursor:
            cursor.adapters.register_loader("text", AsBytes)
            cursor.execute(query)
            size = FIRST_FETCH
            while found := cursor.fetchmany(size):
                rows = [Row(content, time.decode() if time else None) for content, time in found]
                mean = sum(len(row.content) for row in rows) // len(rows) + 1
                size = max(1, min(FETCH_BYTES // mean, 4 * size, MOST_FETCHED))
                yield rows


def source_of(url: str | None, name: str | None, schema: str = DEFAULT_SCHEMA) -> Source:
    """The source a URL (else TIDEMARK_PULL_URL) names. TidemarkError when none does, or it cannot be read."""
    url = url or os.environ.get(VARIABLE)
    if not url:
        raise TidemarkError(
            f"Which database? Set {VARIABLE}=postgresql://user:password@host/database, or give it as --from"
        )
    try:
        parameters = {key: str(value) for key, value in libpq.conninfo_to_dict(url).items() if value not in (None, "")}
    except psycopg.Error:
        # libpq's own words may quote the password.
        raise TidemarkError(
            f"--from or {VARIABLE} cannot be read: write postgresql://user:password@host:port/database, "
            "with %-escapes for special characters in the password"
        ) from None
    if "service" not in parameters and not ({"host", "hostaddr"} & set(parameters) and "dbname" in parameters):
        raise TidemarkError(f"--from or {VARIABLE} must name a host and a database: postgresql://user@host/database")
    default = place(parameters) + ("" if schema == DEFAULT_SCHEMA else f"/{schema}")
    return Source(name or default, parameters)


def place(parameters: dict[str, str]) -> str:
    """host/database, with the port where it is not the usual one."""
    if "service" in parameters:
        return f"service {parameters['service']}"
    host = parameters.get("host") or parameters["hostaddr"]
    port = parameters.get("port", "5432")
    return f"{host}{'' if port == '5432' else ':' + port}/{parameters['dbname']}"


def own_defaults(parameters: dict[str, str]) -> dict[str, str]:
    """The parameters, and libpq's own defaults for what a PG* variable would say otherwise."""
    if "service" in parameters:
        return parameters
    meant_for_the_warehouse = {
        option.keyword.decode(): (option.compiled or b"").decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar and os.environ.get(option.envvar.decode())
    }
    meant_for_the_warehouse.pop("passfile", None)
    meant_for_the_warehouse.pop("service", None)
    return meant_for_the_warehouse | parameters


def relation_of(mapping: Mapping, schema: str) -> sql.Composable:
    """The table, or the query in brackets, to select from."""
    if mapping.query is not None:
        return sql.SQL("(\n{}\n)").format(sql.SQL(mapping.query.strip().rstrip(";")))
    parts = mapping.table.split(".")
    return sql.Identifier(*(parts if len(parts) > 1 else (schema, *parts)))


def one_line(error: psycopg.Error) -> str:
    """The first thing the server or libpq said."""
    said = (error.diag.message_primary or str(error)).strip()
    return " ".join(said.split()) or type(error).__name__
