"""Which server is meant: the one module that decides, for ingest, orchestration and tests alike.

A server is named by `DATABASE_URL` (a URL or a libpq keyword string) or by `PGHOST`, `PGHOSTADDR` or
`PGSERVICE`; with none of these it is the embedded one of this checkout, started when needed, and `PGDATABASE`
alone picks a database there. For each parameter `DATABASE_URL` comes before the service file, that before the
`PG*` variables, and these before libpq's defaults. Where `DATABASE_URL` and `PG*` name different servers,
users or databases that is an error, never a silent choice. `PG*` variables that name the embedded server
itself (as `server env` prints them) mean the embedded server.

Databases: `tidemark` unless told; the demo has `tidemark_demo`.
"""

from __future__ import annotations

import configparser
import getpass
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo as libpq
from psycopg import pq, sql

from ingest import server as embedded
from ingest.errors import TidemarkError

DEFAULT_DATABASE = "tidemark"
DEMO_DATABASE = "tidemark_demo"
CONNECT_SECONDS = 10

# What says which server, in words for the error when two of them disagree.
_PLACE = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
_FOR_THE_URL = ("user", "password", "host", "port", "dbname")


@dataclass(frozen=True)
class Server:
    """A server, a database on it and how to log in. `parameters` are libpq keywords."""

    parameters: dict[str, str]
    embedded: bool

    @property
    def database(self) -> str:
        return self.parameters["dbname"]

    @property
    def place(self) -> str:
        """Host and port as an error message names them; no secrets."""
        return f"{self.parameters['host']}:{self.parameters['port']}"

    def conninfo(self) -> str:
        """A libpq keyword string, password included."""
        return libpq.make_conninfo("", **self.parameters)

    def url(self, *, driver: str = "postgresql") -> str:
        """A percent-escaped URL, password included; SQLAlchemy wants `driver="postgresql+psycopg2"`."""
        given = self.parameters
        query = {name: value for name, value in given.items() if name not in _FOR_THE_URL}
        login = quote(given["user"], safe="")
        if given.get("password"):
            login += ":" + quote(given["password"], safe="")
        host = given["host"]
        if host.startswith(("/", "@")) or "," in host:
            # Socket folders and lists of hosts have no place before the slash that every reader agrees on.
            address = ""
            query |= {"host": host, "port": given["port"]}
        else:
            address = (f"[{host}]" if ":" in host else quote(host, safe="")) + ":" + given["port"]
        url = f"{driver}://{login}@{address}/{quote(given['dbname'], safe='')}"
        return url + ("?" + urlencode(query, quote_via=quote, safe="") if query else "")

    def environment(self) -> dict[str, str]:
        """PG* variables for dbt and psql. Parameters that libpq has no variable for (keepalives) stay out."""
        variables = variable_names()
        told = {variables[name]: value for name, value in self.parameters.items() if name in variables}
        if key := os.environ.get("TIDEMARK_HASH_KEY"):
            # What dbt's sessions hash e-mail addresses with; spaces and backslashes are escaped as libpq reads them.
            setting = "-c tidemark.hash_key=" + key.replace("\\", "\\\\").replace(" ", "\\ ")
            others = re.sub(r"\s*-c tidemark\.hash_key=(?:\\.|[^\s\\])*", "", told.get("PGOPTIONS", ""))
            told["PGOPTIONS"] = f"{others} {setting}".strip()
        return told

    def with_database(self, name: str) -> Server:
        return replace(self, parameters=self.parameters | {"dbname": name})


def variable_names() -> dict[str, str]:
    """libpq keyword → PG* variable, as this libpq knows them."""
    return {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}


def resolve(database: str | None = None, *, reading: bool = False, start: bool = True) -> Server:
    """Decide which server is meant, and have it ready.

    On the embedded server the database is created when it is missing, unless `reading`. With `reading`,
    no database named, and no `tidemark` there yet, the demo's database is chosen if that exists. With
    `start=False` an embedded server that does not run is an error instead of being started.

    Raises:
        TidemarkError: contradicting variables, an unreadable URL, or an embedded server that cannot start.
    """
    named = _named_server(os.environ)
    if named is not None and not _is_embedded(named):
        external = Server(named, embedded=False)
        return external.with_database(database) if database else external
    running = embedded.running()
    if running is None:
        if not start:
            raise TidemarkError("The server does not run: `python -m ingest server start` starts it.")
        running = embedded.start()
    # DATABASE_URL may name the embedded server too, and a database with it.
    wanted = database or (named or {}).get("dbname") or os.environ.get("PGDATABASE") or None
    server = embedded_server(running, wanted or DEFAULT_DATABASE)
    if reading and wanted is None:
        there = databases(server)
        if DEFAULT_DATABASE not in there and DEMO_DATABASE in there:
            return server.with_database(DEMO_DATABASE)
    elif not reading:
        _create_if_missing(server)
    return server


def names_a_server() -> str | None:
    """The variable that names a server which is not the embedded one, None when nothing does."""
    named = _named_server(os.environ)
    if named is None or _is_embedded(named):
        return None
    return next(name for name in ("DATABASE_URL", "PGSERVICE", "PGHOST", "PGHOSTADDR") if os.environ.get(name))


def embedded_server(running: embedded.Running, database: str) -> Server:
    """How to reach a database of the embedded server."""
    return Server(
        {
            "host": embedded.HOST,
            "port": str(running.port),
            "user": embedded.SUPERUSER,
            "password": running.password,
            "dbname": database,
            # Loopback only, and the wheel's server has neither: do not let the environment ask for them.
            "sslmode": "disable",
            "gssencmode": "disable",
        },
        embedded=True,
    )


def databases(server: Server) -> list[str]:
    """Names of the server's databases, templates left out, in order."""
    maintenance = server.with_database("postgres") if server.embedded else server
    with connect(maintenance, autocommit=True) as connection:
        rows = connection.execute(
            "select datname from pg_catalog.pg_database where not datistemplate order by datname"
        ).fetchall()
    return [name for (name,) in rows]


def connect(server: Server | None = None, **psycopg_kwargs: Any) -> psycopg.Connection[Any]:
    """Open a connection; `psycopg_kwargs` go to `psycopg.connect` (autocommit, row_factory, …).

    Raises:
        TidemarkError: nobody answers, the login is refused, or the database is not there.
    """
    server = server or resolve()
    # Records are UTF-8 whatever PGCLIENTENCODING says.
    defaults: dict[str, Any] = {"client_encoding": "UTF8", "fallback_application_name": "tidemark"}
    if "connect_timeout" not in server.parameters:
        defaults["connect_timeout"] = CONNECT_SECONDS
    try:
        return psycopg.connect(server.conninfo(), **(defaults | psycopg_kwargs))
    except psycopg.OperationalError as error:
        raise _explained(error, server) from error


def _named_server(environment: Mapping[str, str]) -> dict[str, str] | None:
    """All libpq parameters of the server that the environment names, None when it names none."""
    url = environment.get("DATABASE_URL") or ""
    service = environment.get("PGSERVICE") or ""
    if not (url or service or environment.get("PGHOST") or environment.get("PGHOSTADDR")):
        return None
    from_url = _parsed(url)
    from_service = _service(from_url.pop("service", "") or service, environment)
    from_variables = {
        keyword: environment[variable]
        for keyword, variable in variable_names().items()
        if keyword != "service" and environment.get(variable)
    }
    if url:
        _refuse_contradictions(from_url, from_variables)
    parameters = from_variables | from_service | from_url
    parameters.setdefault("port", "5432")
    parameters.setdefault("host", parameters.get("hostaddr") or _local_host(parameters["port"]))
    if "user" not in parameters:
        parameters["user"] = _login_name()
    parameters.setdefault("dbname", parameters["user"])
    if "," not in parameters["port"] and not parameters["port"].isdigit():
        raise TidemarkError(f"{parameters['port']!r} is no port: mend PGPORT or DATABASE_URL.")
    return parameters


def _parsed(url: str) -> dict[str, str]:
    if not url:
        return {}
    try:
        parsed = libpq.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # libpq's message may quote the URL with the password in it.
        reason = _one_line(str(error)).split('"')[0].strip(' :"') or "invalid"
        if "invalid URI query parameter" in str(error) or "invalid connection option" in str(error):
            reason = _one_line(str(error))
        raise TidemarkError(
            f"DATABASE_URL cannot be read ({reason}): write postgresql://user:password@host:port/database, "
            "with %-escapes for special characters in the password."
        ) from error
    return {name: str(value) for name, value in parsed.items() if value not in (None, "")}


def _refuse_contradictions(from_url: Mapping[str, str], from_variables: Mapping[str, str]) -> None:
    said = dict(from_url)
    if "host" in said or "hostaddr" in said:
        # A URL that names a host means its default port, not one left over in PGPORT.
        said.setdefault("port", "5432")
    for keyword, variable in _PLACE.items():
        if keyword in said and keyword in from_variables and said[keyword] != from_variables[keyword]:
            raise TidemarkError(
                f"DATABASE_URL says {keyword} {said[keyword]!r} and {variable} says "
                f"{from_variables[keyword]!r}: unset one of the two."
            )
    if "host" in said and "hostaddr" in from_variables and "hostaddr" not in said:
        raise TidemarkError("DATABASE_URL and PGHOSTADDR both name a server: unset one of the two.")


def _service(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a section of the connection service file, read as libpq reads them."""
    if not name:
        return {}
    own = environment.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf"
    shared = Path(environment.get("PGSYSCONFDIR") or "/etc/postgresql-common") / "pg_service.conf"
    for path in (Path(own), shared):
        file = configparser.ConfigParser(
            interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=False, default_section=""
        )
        file.optionxform = str  # type: ignore[assignment, method-assign]
        try:
            file.read(path)
        except (OSError, configparser.Error, UnicodeDecodeError) as error:
            raise TidemarkError(
                f"The service file {path} cannot be read ({_one_line(str(error))}): mend it, or unset PGSERVICE."
            ) from error
        if file.has_section(name):
            return {keyword: value for keyword, value in file[name].items() if value}
    raise TidemarkError(f"There is no service {name!r} in {own} or {shared}: add it, or unset PGSERVICE.")


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise TidemarkError("This account has no name to log in with: set PGUSER.") from error


def _local_host(port: str) -> str:
    """Where libpq goes without a host: the local socket if there is one; each build looks in its own folder."""
    for folder in ("/var/run/postgresql", "/run/postgresql", "/tmp"):  # noqa: S108
        if Path(folder, f".s.PGSQL.{port}").exists():
            return folder
    return "localhost"


def _is_embedded(parameters: Mapping[str, str]) -> bool:
    port = embedded.known_port()
    return (
        port is not None
        and parameters["port"] == str(port)
        and parameters["user"] == embedded.SUPERUSER
        and _is_loopback(parameters["host"])
        # A wrong password is to be refused, not mended.
        and ("password" not in parameters or embedded.is_password(parameters["password"]))
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _create_if_missing(server: Server) -> None:
    with connect(server.with_database("postgres"), autocommit=True) as connection:
        there = connection.execute(
            "select from pg_catalog.pg_database where datname = %s", [server.database]
        ).fetchone()
        if there is not None:
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(server.database)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            # Another process that started at the same moment made it.
            return
        except psycopg.Error as error:
            raise TidemarkError(
                f"The database {server.database!r} cannot be created ({_one_line(str(error))}): "
                "have an admin create it, or name another."
            ) from error


def _explained(error: psycopg.OperationalError, server: Server) -> TidemarkError:
    reason = _one_line(str(error))
    user, database, place = server.parameters["user"], server.database, server.place
    login_failed = error.pgconn is not None and error.pgconn.needs_password
    if "no password supplied" in reason or login_failed:
        return TidemarkError(
            f"The server at {place} wants a password for user {user!r}: set PGPASSWORD, "
            "or put the password into DATABASE_URL or ~/.pgpass."
        )
    if "password authentication failed" in reason or "Wrong password" in reason:
        return TidemarkError(
            f"The server at {place} refused the password of user {user!r}: correct it in DATABASE_URL, "
            "PGPASSWORD or ~/.pgpass."
        )
    if f'database "{database}" does not exist' in reason:
        how = (
            "`python -m ingest migrate` makes it"
            if server.embedded
            else f"have it created (`create database {sql.Identifier(database).as_string(None)}`)"
        )
        return TidemarkError(f"There is no database {database!r} at {place}: {how}, or name another.")
    unreachable = (
        "Connection refused", "timeout", "timed out", "No route to host", "Network is unreachable",
        "could not translate host name", "failed to resolve host", "No such file or directory",
        "Name or service not known",
    )  # fmt: skip
    if any(mark in reason for mark in unreachable):
        how = (
            "`python -m ingest server start` starts it"
            if server.embedded
            else "is it running, and is that what DATABASE_URL or PGHOST and PGPORT should name? "
            "Unset them to use the embedded server"
        )
        return TidemarkError(f"No PostgreSQL server answers at {place} ({_cause(reason, unreachable)}): {how}.")
    if "too many clients" in reason or "remaining connection slots" in reason:
        return TidemarkError(f"The server at {place} has no connection left: close some, then try again.")
    return TidemarkError(
        f"Cannot connect to {database!r} at {place} as {user!r} ({reason}): see DATABASE_URL or the PG* variables."
    )


def _cause(reason: str, marks: tuple[str, ...]) -> str:
    return next(mark for mark in marks if mark in reason).lower()


def _one_line(text: str) -> str:
    return " ".join(text.split())
