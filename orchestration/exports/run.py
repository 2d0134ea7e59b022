"""An export: one snapshot of the database, a file per mart, a manifest, all there at once or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from ingest.server import home_folder
from orchestration.exports import formats
from orchestration.exports.catalogue import DAY, INSIGHTS, INSTANT, SCHEMA, Column, Mart, chosen, marts
from orchestration.exports.period import Period, period_of

ROWS_AT_ONCE = 2000
MANIFEST = "manifest.json"
PARTIAL, ASIDE = ".partial-", ".replaced"
LOCK_SECONDS = 60

TODAY = "select (ops.clock() at time zone 'UTC')::date"
MARK = "select completed_seq, as_of from ops.bounds where target = 'prod'"


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export. `period_column` is what chose its rows, None where a mart knows no time and is whole."""

    mart: str
    file: str
    rows: int
    bytes: int
    sha256: str
    period_column: str | None
    columns: Sequence[dict[str, str]]


@dataclass(frozen=True)
class Request:
    """What is wanted. `names` are marts; `everything` adds all, `insights` anomalies, forecasts, recommendations."""

    names: Sequence[str] = ()
    everything: bool = False
    insights: bool = False
    format: str = "json"
    by: str | None = None
    month: str | None = None
    days: str | None = None
    first: str | None = None
    last: str | None = None
    replace: bool = False


@dataclass(frozen=True)
class Export:
    """What was written, and where."""

    folder: Path
    period: Period
    files: Sequence[ExportedFile] = field(default_factory=list)


def exports_folder() -> Path:
    """Where exports go: TIDEMARK_EXPORTS, else `exports` in TIDEMARK_HOME."""
    told = os.environ.get("TIDEMARK_EXPORTS")
    return Path(told) if told else home_folder() / "exports"


def export(
    server: Server, request: Request, folder: Path | None = None, report: Callable[[ExportedFile], None] | None = None
) -> Export:
    """Write an export to a folder of its own in `folder`, named for its period and format.

    Raises:
        TidemarkError: what is wanted is not there, is told badly, was exported before, or cannot be written.
    """
    if request.format not in formats.FORMATS:
        raise TidemarkError(f"There is no format {request.format!r}: {', '.join(formats.FORMATS)} are there.")
    if request.format == "parquet":
        formats.load_arrow()
    folder = exports_folder() if folder is None else folder
    with connect(server, autocommit=True, application_name="tidemark export") as connection:
        period = period_of(
            connection.execute(TODAY).fetchone()[0],
            **{name: getattr(request, name) for name in ("month", "days", "first", "last")},
        )
        known = marts(connection)
        names = [*request.names, *(known if request.everything else ()), *(INSIGHTS if request.insights else ())]
        wanted = [(mart, _period_column(mart, request)) for mart in chosen(known, names)]
        final = folder / f"{period.name}-{request.format}"
        if final.exists() and not request.replace:
            raise TidemarkError(f"{final} is there already: remove it, or say that it is to be replaced.")
        with _one_moment(connection, [mart for mart, _ in wanted]), _all_or_nothing(folder, final) as partial:
            files = list(_write(connection, wanted, request.format, period, partial, report))
            _write_manifest(connection, partial / MANIFEST, request.format, period, files)
    return Export(final, period, files)


def _period_column(mart: Mart, request: Request) -> Column | None:
    return mart.period_column(request.by if mart.name in request.names else None)


@contextlib.contextmanager
def _one_moment(connection: psycopg.Connection, wanted: Sequence[Mart]) -> Iterator[None]:
    """A transaction that sees every mart as of one moment, and can change nothing.

    Raises:
        TidemarkError: a mart is being rebuilt for longer than anybody would wait.
    """
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    names = sql.SQL(", ").join(sql.Identifier(SCHEMA, mart.name) for mart in wanted)
    with connection.transaction():
        connection.execute("set local timezone = 'UTC'")
        connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(f"{LOCK_SECONDS}s")))
        try:
            # Before the snapshot: a mart that is rebuilt in between would be an empty one in it.
            connection.execute(sql.SQL("lock table {} in access share mode").format(names))
        except psycopg.errors.LockNotAvailable as error:
            raise TidemarkError("A mart is being rebuilt: export again when the refresh is done.") from error
        yield


@contextlib.contextmanager
def _all_or_nothing(folder: Path, final: Path) -> Iterator[Path]:
    """A folder that takes its name when everything in it is written, and goes when something fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _remove_left_behind(folder)
        partial = folder / f"{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"
        partial.mkdir(mode=0o700)
        try:
            yield partial
            _sync(partial)
            with _alone(folder):
                # A folder cannot take another's place in one step: the old one steps aside first.
                aside = final.with_name(final.name + ASIDE)
                with contextlib.suppress(FileNotFoundError):
                    final.rename(aside)
                partial.rename(final)
                _sync(folder)
                shutil.rmtree(aside, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise TidemarkError(
            f"{final} cannot be written ({error.strerror or error}): mend that, then export again."
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else cleans up or renames in the folder meanwhile."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_left_behind(folder: Path) -> None:
    """What killed exports left: unfinished folders whose process is gone, and replaced ones, which come back where
    nothing took their place."""
    for path in folder.glob(f"{PARTIAL}*-*"):
        owner = path.name.removeprefix(PARTIAL).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"*{ASIDE}"):
        final = path.with_name(path.name.removesuffix(ASIDE))
        if final.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(final)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(
    connection: psycopg.Connection,
    wanted: Iterable[tuple[Mart, Column | None]],
    form: str,
    period: Period,
    folder: Path,
    report: Callable[[ExportedFile], None] | None,
) -> Iterator[ExportedFile]:
    for mart, column in wanted:
        path = folder / f"{mart.name}.{form}"
        with path.open("xb") as raw:
            os.chmod(path, 0o600)
            hashing = Hashing(raw)
            rows = formats.WRITERS[form](mart, _chunks(connection, mart, form, column, period), hashing)
            raw.flush()
            os.fsync(raw.fileno())
        written = ExportedFile(
            mart=mart.name,
            file=path.name,
            rows=rows,
            bytes=path.stat().st_size,
            sha256=hashing.digest.hexdigest(),
            period_column=column.name if column else None,
            columns=[asdict(one) for one in mart.columns],
        )
        if report:
            report(written)
        yield written


class Hashing(io.RawIOBase):
    """A file that is written once from beginning to end, and the SHA-256 of what went into it."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        """The file is closed by whoever opened it."""


def _chunks(
    connection: psycopg.Connection, mart: Mart, form: str, column: Column | None, period: Period
) -> Iterator[list[tuple]]:
    statement = query_of(mart, form, column)
    with connection.cursor(name="tidemark_export") as cursor:
        cursor.execute(statement, {"first": period.first, "last": period.last} if column else None)
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield rows


def query_of(mart: Mart, form: str, column: Column | None) -> sql.Composed:
    """The rows of a mart for `first` to `last`, in an order that depends on them alone."""
    relation = sql.Identifier(SCHEMA, mart.name)
    selected = (
        sql.SQL("row_to_json(exported)::text")
        if form == "json"
        else sql.SQL(", ").join(_selected(one.name, one.type) for one in mart.columns)
    )
    order = [sql.Identifier("exported", name) for name in mart.key] or [sql.SQL("exported::text")]
    return sql.SQL("select {} from {} as exported where {} order by {}").format(
        selected, relation, _within(column), sql.SQL(", ").join(order)
    )


def _selected(name: str, kind: str) -> sql.Composable:
    column = sql.Identifier("exported", name)
    if kind in (DAY, INSTANT):
        # there is no day of infinity in Python
        return sql.SQL("case when isfinite({0}) then {0} end").format(column)
    if kind in formats.NUMBERS or kind in formats.LISTS or kind in ("boolean", formats.TEXT):
        return column
    return sql.SQL("{}::text").format(column)


def _within(column: Column | None) -> sql.Composable:
    if column is None:
        return sql.SQL("true")
    name = sql.Identifier("exported", column.name)
    if column.type == DAY:
        return sql.SQL("{} between %(first)s and %(last)s").format(name)
    return sql.SQL(
        "{0} >= %(first)s::timestamp at time zone 'UTC' and {0} < (%(last)s::date + 1)::timestamp at time zone 'UTC'"
    ).format(name)


def _write_manifest(
    connection: psycopg.Connection, path: Path, form: str, period: Period, files: Sequence[ExportedFile]
) -> None:
    mark = connection.execute(MARK).fetchone() or (None, None)
    document = {
        "format": form,
        "period": {"first": period.first, "last": period.last},
        "exported_at": datetime.now(timezone.utc),
        "loads_up_to": mark[0],
        "as_of": mark[1],
        "files": [asdict(file) for file in files],
    }
    path.write_text(json.dumps(document, default=_encoded, indent=2) + "\n", encoding="utf-8")
    os.chmod(path, 0o600)


def _encoded(value: date | datetime) -> str:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat()
