"""Loading files into raw: one transaction per file, so a file is wholly in or wholly out.

The ledger row in raw.loads comes first. It is unique per stream and checksum, so a second copy of the file,
loaded at the same time, waits there and then finds everything loaded. Rows and rejects follow by COPY. Last,
under a lock of its own, the load takes its `published_seq`, which therefore grows in the order of commits.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import errors, sql

from ingest.erased import Erased
from ingest.errors import TidemarkError
from ingest.files import BrokenFileError, Found, stream_of, unknown_stream
from ingest.reading import Record, checksum, pieces, records_of
from ingest.sources import find_files
from ingest.streams.consent import without_person
from ingest.streams.lines import LARGEST_RECORD, Block, mend
from ingest.streams.record import PLACE_COLUMNS, SEPARATOR, Refused, Row, Stream, Taken, escaped
from ingest.streams.registry import DECODERS, NAMES

LOADED, ALREADY_LOADED, LEFT_ALONE, FAILED = "loaded", "already loaded", "left alone", "failed"
# Characters of rows that wait for others of the same columns, sent to the server together.
BATCH = 128 * 1024
REJECTS_IN_MEMORY = 4 * 1024 * 1024

BEGIN_LOAD = """
    insert into raw.loads (stream, file, checksum, copy_number, bytes, app, loaded_by)
    select %(stream)s, %(file)s, %(checksum)s,
        case when %(force)s then coalesce((
            select max(copy_number) + 1 from raw.loads where stream = %(stream)s and checksum = %(checksum)s
        ), 0) else 0 end,
        %(bytes)s, %(app)s, coalesce(%(loaded_by)s, current_user)
    on conflict (stream, checksum, copy_number) do nothing
    returning load_id, started_at::text
"""
EARLIER_LOAD = """
    select load_id, published_seq from raw.loads
    where stream = %(stream)s and checksum = %(checksum)s order by copy_number limit 1
"""
COUNT_LOAD = """
    update raw.loads set records = %(records)s, loaded = %(loaded)s, rejected = %(rejected)s, refused = %(refused)s,
        mended = %(mended)s, finished_at = clock_timestamp(), seconds = round(%(seconds)s::numeric, 3)
    where load_id = %(load_id)s
"""
PUBLISH_LOCK = "select pg_advisory_xact_lock(hashtext('tidemark.publish'))"
PUBLISH = """
    update raw.loads set published_seq = nextval('raw.published_seq') where load_id = %s returning published_seq
"""
COPY_REJECTS = """
    copy raw.rejects (load_id, stream, file, received_at, line_number, element, reason, field, record)
    from stdin with (format text, null '')
"""


def load_paths(
    connection: psycopg.Connection,
    paths: Iterable[str | Path | Found],
    *,
    stream: str | None = None,
    app: str | None = None,
    force: bool = False,
    progress: Callable[[Path, int], None] | None = None,
    loaded_by: str | None = None,
    report: Callable[["LoadResult"], None] | None = None,
) -> list["LoadResult"]:
    """Loads files, folders, glob patterns and URLs of them, and standard input (`-`), one transaction per file;
    `report` hears of each file at once.

    A file that cannot be loaded gives a result with status `failed` and its `error`, and the others still
    load. In folders, `.json` files whose names tell no stream are taken for something else and left alone.
    """
    results = []
    for found in find_files(paths):
        path, name = found.path, found.label or shown_path(found.path)
        try:
            told = stream or stream_of(path)
            if told is None and found.in_folder and path.suffix == ".json":
                result = LoadResult(name, "", LEFT_ALONE, note="its name tells no stream")
            elif told is None:
                raise unknown_stream(found.label or path)
            else:
                with found.local() as local:
                    result = load_file(
                        connection,
                        local,
                        stream=told,
                        app=app,
                        force=force,
                        progress=(lambda size, path=path: progress(path, size)) if progress else None,
                        loaded_by=loaded_by,
                        label=name,
                    )
        except TidemarkError as error:
            if connection.closed:
                raise
            result = LoadResult(name, stream or "", FAILED, error=shown_path(str(error)))
        results.append(result)
        if report:
            report(result)
    return results


def load_file(
    connection: psycopg.Connection,
    path: str | Path,
    *,
    stream: str | None = None,
    app: str | None = None,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
    loaded_by: str | None = None,
    label: str | None = None,
    within: Callable[[psycopg.Cursor, "LoadResult"], None] | None = None,
) -> "LoadResult":
    """Loads one file in a transaction of its own; the connection must not be in one.

    `stream` and `app` say what the file and its records do not; `force` loads the same bytes again. `label` is
    what the ledger calls the file when it is only a spool of something else. `within` is called in the load's
    transaction, when rows, rejects and counts are in, and not at all for bytes that are loaded already.
    `progress` is called with bytes read; each byte is read twice, for the checksum and for the records.
    TidemarkError, and nothing of the file loaded, when the file is broken, changes meanwhile, or the
    warehouse cannot take it.
    """
    path = Path(path)
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise ValueError("load_file needs a connection that is not in a transaction")
    stream = stream or stream_of(path)
    if stream is None:
        raise unknown_stream(path)
    name = label or shown_path(path)
    if stream not in DECODERS:
        raise TidemarkError(f"unknown stream {stream!r}; the streams are {', '.join(NAMES)}")
    started = time.monotonic()
    digest, size = checksum(path, progress)
    result = LoadResult(name, stream, LOADED, bytes=size, checksum=digest)
    decoder = DECODERS[stream](app)
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("set transaction isolation level read committed")
            if not begin(cursor, result, force, app, loaded_by):
                return result
            result.copy(cursor, decoder, path, progress)
            erased = Erased(cursor, stream, result.load_id, result.received_at)
            result.refuse(erased)
            result.seconds = round(time.monotonic() - started, 3)
            cursor.execute(COUNT_LOAD, result.counts())
            if within:
                within(cursor, result)
            # The lock and the number are two statements: a number taken in the statement that waits
            # could be older than one already committed.
            cursor.execute(PUBLISH_LOCK)
            # An erasure that committed while this load was under way holds for it too.
            if result.refuse(erased):
                cursor.execute(COUNT_LOAD, result.counts())
            result.published_seq = cursor.execute(PUBLISH, [result.load_id]).fetchone()[0]
    except psycopg.Error as error:
        raise database_error(name, error) from None
    except OSError as error:
        # The file's own errors are told where it is read: this is the disk that rejects wait on.
        reason = error.strerror or error
        raise TidemarkError(
            f"{name}: nothing of it is loaded, its rejects cannot be kept on disk ({reason}): make room in the"
            " folder for temporary files, or name another one in TMPDIR"
        ) from None
    return result


def begin(cursor: psycopg.Cursor, result: "LoadResult", force: bool, app: str | None, loaded_by: str | None) -> bool:
    """Writes the ledger row; False, with the earlier load in `result`, when these bytes are loaded already."""
    values = {**result.counts(), "force": force, "app": app, "loaded_by": loaded_by}
    while True:
        row = cursor.execute(BEGIN_LOAD, values).fetchone()
        if row:
            result.load_id, result.received_at = row
            return True
        earlier = cursor.execute(EARLIER_LOAD, values).fetchone()
        if earlier and not force:
            result.status = ALREADY_LOADED
            result.load_id, result.published_seq = earlier
            return False


def database_error(name: str, error: psycopg.Error) -> TidemarkError:
    """One line for what the server said of the file the ledger would call `name`."""
    said = (error.diag.message_primary or str(error)).strip().splitlines()
    reason = said[0] if said else type(error).__name__
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedColumn):
        return TidemarkError(f"the warehouse is not set up ({reason}): run `python -m ingest migrate` first")
    if isinstance(error, errors.InsufficientPrivilege):
        return TidemarkError(f"{reason}: connect as the owner of the schema raw or grant that role its rights")
    if isinstance(error, errors.DiskFull):
        return TidemarkError(f"{name}: nothing of it is loaded, the server's disk is full: make room")
    if isinstance(error, psycopg.DataError | errors.ProgramLimitExceeded):
        return BrokenFileError(
            f"{name}: nothing of it is loaded, PostgreSQL refuses a row ({reason}):"
            " take it out of the file, and report it as a bug"
        )
    return TidemarkError(f"{name}: nothing of it is loaded, PostgreSQL says: {reason}; try again")


def shown_path(path: Path | str) -> str:
    """A path, or a text that names one, as PostgreSQL can store it and one line can show it, whatever is in it."""
    return os.fsencode(path).decode("utf-8", "replace").replace("\n", "\\n").replace("\r", "\\r")


def as_copy(row: str) -> str:
    """Columns joined by `SEPARATOR` as one row in COPY's text format."""
    if "\\" in row or "\t" in row or "\n" in row or "\r" in row:
        row = escaped(row)
    return row.replace(SEPARATOR, "\t")


class Rows:
    """Rows on their way into one table, by the columns they hold: a context in which one COPY runs at a time,
    and rows of other columns wait until they are worth another."""

    def __init__(self, cursor: psycopg.Cursor, table: str) -> None:
        self.cursor = cursor
        self.table = table
        self.waiting: dict[tuple[str, ...], list[str]] = {}
        self.sizes: dict[tuple[str, ...], int] = {}
        self.running = ExitStack()
        self.copy: psycopg.Copy | None = None
        self.columns: tuple[str, ...] = ()

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None:
            self.running.__exit__(kind, error, trace)
            return
        with self.running:
            for columns in list(self.waiting):
                self.send(columns)

    def add(self, taken: Taken) -> None:
        """Takes rows; sends them when there are enough."""
        columns = taken.columns
        self.waiting.setdefault(columns, []).extend(taken.rows)
        self.sizes[columns] = self.sizes.get(columns, 0) + sum(map(len, taken.rows))
        if self.sizes[columns] >= BATCH:
            self.send(columns)

    def send(self, columns: tuple[str, ...]) -> None:
        """Sends all waiting rows of these columns."""
        rows = self.waiting.pop(columns)
        del self.sizes[columns]
        if columns != self.columns:
            self.running.close()
            statement = sql.SQL("copy {} ({}) from stdin with (format text, null '')").format(
                sql.Identifier("raw", self.table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            self.copy = self.running.enter_context(self.cursor.copy(statement))
            self.columns = columns
        if rows:
            self.copy.write("\n".join(rows) + "\n")


@dataclass
class LoadResult:
    """What became of one file. `status`: loaded, already loaded, left alone (`note` says why), failed
    (`error` says why). Counts are records: lines, array elements, the events of a POST body, and elements
    refused by themselves; `records` = `loaded` + `rejected` + `refused`, the last because their person was erased.
    `mended` of them had characters replaced."""

    file: str
    stream: str
    status: str
    load_id: int | None = None
    records: int = 0
    loaded: int = 0
    rejected: int = 0
    refused: int = 0
    mended: int = 0
    bytes: int = 0
    seconds: float = 0.0
    published_seq: int | None = None
    checksum: str | None = None
    received_at: str | None = None
    note: str | None = None
    error: str | None = None
    # Ids of erased persons that the file names: it must not be kept as it is. Never printed.
    erased_ids: set[str] = field(default_factory=set, repr=False)

    def refuse(self, erased: Erased) -> int:
        """Counts what is taken out again because its person was erased; how many that is."""
        rows, rejects = erased.refuse()
        self.loaded -= rows
        self.rejected -= rejects
        self.refused += rows + rejects
        self.erased_ids |= erased.ids
        return rows + rejects

    def counts(self) -> dict[str, Any]:
        """What the ledger is told."""
        return {name: value for name, value in asdict(self).items() if name != "erased_ids"}

    def copy(
        self,
        cursor: psycopg.Cursor,
        decoder: Stream,
        path: Path,
        progress: Callable[[int], None] | None,
    ) -> None:
        """Streams a file's rows into raw, then its rejects, counting both."""
        # One COPY at a time: rejects wait in a file that is only on disk when they are many.
        with tempfile.SpooledTemporaryFile(REJECTS_IN_MEMORY) as rejects:
            with Rows(cursor, decoder.name) as rows:
                for piece in pieces(path, self.checksum, progress):
                    self.copy_piece(rows, decoder, piece, rejects)
            if self.rejected:
                rejects.seek(0)
                with cursor.copy(COPY_REJECTS) as copy:
                    while chunk := rejects.read(1024 * 1024):
                        copy.write(chunk)

    def copy_piece(self, rows: Rows, decoder: Stream, piece: Block | Record, rejects: BinaryIO) -> None:
        """The rows of a part of a file to `rows`, its rejects to `rejects`."""
        if isinstance(piece, Record):
            self.copy_record(rows, decoder, piece, rejects)
            return
        places = None
        if take_plain := getattr(decoder, "take_plain", None):
            taken, places = take_plain(f"{self.load_id}\t{self.received_at}\t", piece)
            for some in taken:
                self.records += len(some.rows)
                self.loaded += len(some.rows)
                rows.add(some)
        for record in records_of(piece, places):
            self.copy_record(rows, decoder, record, rejects)

    def copy_record(self, rows: Rows, decoder: Stream, record: Record, rejects: BinaryIO) -> None:
        """One record, decoded by itself, to `rows` or to `rejects`."""
        if record.overlong:
            self.records += 1
            reason = (
                f"is {record.overlong} bytes long, more than {LARGEST_RECORD}; the first {len(record.content)} are kept"
            )
            self.reject(rejects, record.number, Refused(0, reason, None, record.content))
            return
        content = mend(record.content)
        decoded = decoder.decode(content)
        self.records += decoded.records
        if decoded.rows:
            self.loaded += len(decoded.rows)
            if content is not record.content:
                self.mended += 1
            rows.add(self.as_taken(decoder, record.number, decoded.rows))
        for refusal in decoded.refused:
            # What is kept is what was sent, not what mending made of it.
            original = record.content if refusal.record is content else refusal.record
            self.reject(rejects, record.number, refusal._replace(record=original))

    def as_taken(self, decoder: Stream, number: int, decoded: list[Row]) -> Taken:
        """A record's rows, `number` its place in the file, ready for COPY."""
        head = f"{self.load_id}\t{self.received_at}\t{number}\t"
        if decoder.has_element:
            columns = (*PLACE_COLUMNS, "element", *decoder.columns)
            return Taken(columns, [f"{head}{element}\t{as_copy(row)}" for element, row in decoded])
        return Taken((*PLACE_COLUMNS, *decoder.columns), [head + as_copy(row) for _, row in decoded])

    def reject(self, rejects: BinaryIO, number: int, refusal: Refused) -> None:
        """Adds one refused record to the rejects."""
        self.rejected += 1
        refusal = without_person(self.stream, refusal)
        columns = (
            str(self.load_id),
            self.stream,
            self.file,
            self.received_at,
            str(number),
            str(refusal.element),
            refusal.reason,
            refusal.field or "",
            "\\x" + refusal.record.hex(),
        )
        rejects.write((as_copy(SEPARATOR.join(columns)) + "\n").encode())

    def as_json(self) -> dict[str, Any]:
        """The result as one JSON object: counts and times, and notes where there are any."""
        told = self.counts()
        return {key: value for key, value in told.items() if value is not None or key not in ("note", "error")}
