"""Rejects: what could not be loaded, shown, exported, mended and replayed.

A reject is open until it is cleared: by a replay, in the transaction that loads its record, or by somebody who
discards it. Its row stays, so that the counts of its load still add up.

A session batch with bad elements is loaded without them, and each of them is a reject. They are mended and
replayed together: the whole record, kept with the first of them, is loaded again, and models pass over the
incomplete row (raw.superseded).
"""

import base64
import binascii
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from ingest.errors import TidemarkError
from ingest.load import LoadResult, load_file
from ingest.reading import KEPT_OF_OVERLONG, is_object
from ingest.streams.lines import LARGEST_RECORD, mend
from ingest.streams.record import Stream
from ingest.streams.registry import DECODERS

ROWS_AT_A_TIME = 200
LARGEST_ID = 2**63 - 1
COLUMNS = (
    "reject_id", "load_id", "stream", "file", "line_number", "element", "field", "reason", "record", "received_at",
    "cleared_at", "cleared_by", "cleared_by_load", "note",
)  # fmt: skip
# Columns of `summary` that say nothing where only open rejects are asked for.
CLEARED_COUNTS = ("replayed", "discarded")
CUT = f"only the first {KEPT_OF_OVERLONG >> 10} KiB of the record are kept: send it again from its source"
ELEMENT_ONLY = "the element is kept without its record: replay an export in which you put the whole record"
# Reasons of one kind are one text without the value they quote.
REASON_KIND = """
    regexp_replace(regexp_replace(reason, '^is \\d+ bytes', 'is too many bytes'), '(, not |out of range|is not JSON).*',
    '\\1…')
"""
SUMMARY = """
    select
        stream, field, {kind} as reason,
        count(*) filter (where cleared_at is null) as open,
        count(*) filter (where cleared_by_load is not null) as replayed,
        count(*) filter (where cleared_at is not null and cleared_by_load is null) as discarded,
        min(received_at) as first_at, max(received_at) as last_at, max(reject_id) as last_id
    from raw.rejects
    where {where}
    group by 1, 2, 3
    order by max(reject_id) desc
    limit {limit}
"""
SELECT = """
    select {columns} from raw.rejects where {where} order by reject_id desc limit {limit}
"""
SELECT_IDS = "select reject_id from raw.rejects where {where} order by reject_id desc limit {limit}"
PARTS = """
    select {columns} from raw.rejects
    where load_id = %s and line_number = %s and element > 0
    order by reject_id
"""
CLEAR = """
    update raw.rejects
    set cleared_at = clock_timestamp(), cleared_by = coalesce(%(by)s, current_user), cleared_by_load = %(load_id)s,
        note = %(note)s
    where reject_id = any(%(ids)s) and cleared_at is null
"""
SUPERSEDE = """
    insert into raw.superseded (load_id, line_number, superseded_by)
    select place.load_id, place.line_number, %s
    from unnest(%s::bigint[], %s::bigint[]) as place (load_id, line_number)
    on conflict do nothing
"""


@dataclass(frozen=True)
class Filters:
    """Which rejects are meant. `file` and `reason` are parts of the text, in any case; `ids` is all when empty;
    `cleared` takes those in that are no longer open; the newest `limit` count."""

    ids: Sequence[int] = ()
    stream: str | None = None
    file: str | None = None
    load_id: int | None = None
    reason: str | None = None
    since: datetime | None = None
    cleared: bool = False
    limit: int | None = None

    def where(self) -> sql.Composable:
        """The condition on raw.rejects."""
        tests = [sql.SQL("true") if self.cleared else sql.SQL("cleared_at is null")]
        for condition, value in (
            ("reject_id = any({})", list(self.ids) or None),
            ("stream = {}", self.stream),
            ("position(lower({}) in lower(file)) > 0", self.file),
            ("load_id = {}", self.load_id),
            ("position(lower({}) in lower(reason)) > 0", self.reason),
            ("received_at >= {}", self.since),
        ):
            if value is not None:
                tests.append(sql.SQL(condition).format(sql.Literal(value)))
        return sql.SQL(" and ").join(tests)

    def statement(self, template: str) -> sql.Composed:
        """`template` with its condition, its limit and the columns of a reject."""
        return sql.SQL(template).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
            kind=sql.SQL(REASON_KIND),
            where=self.where(),
            limit=sql.Literal(self.limit),
        )


@dataclass(frozen=True)
class Reject:
    """One row of raw.rejects."""

    reject_id: int
    load_id: int
    stream: str
    file: str
    line_number: int
    element: int
    field: str | None
    reason: str
    record: bytes
    received_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None
    cleared_by_load: int | None
    note: str | None

    @property
    def state(self) -> str:
        """open, replayed or discarded."""
        if self.cleared_at is None:
            return "open"
        return "discarded" if self.cleared_by_load is None else "replayed"

    @property
    def is_part(self) -> bool:
        """Whether it is an element of a record whose rest was loaded."""
        return self.stream == "session_batches" and self.element > 0


@dataclass(frozen=True)
class Unit:
    """Rejects that are mended and replayed together, in order, and the record that holds them all.

    `obstacle` says why `record` cannot be replayed as it is, whatever the code accepts."""

    rejects: tuple[Reject, ...]
    record: bytes
    obstacle: str | None = None

    @property
    def first(self) -> Reject:
        """The reject that speaks for all."""
        return self.rejects[0]


Units = Generator[Unit, None, None]


@dataclass
class Replay:
    """What became of a replay. Counts are rejects but for `rows`, rows loaded; `refused` tells for each reject
    that stays open why; `earlier` were cleared before."""

    cleared: int = 0
    rows: int = 0
    earlier: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    loads: list[LoadResult] = field(default_factory=list)


def summary(connection: psycopg.Connection, filters: Filters) -> list[dict[str, Any]]:
    """Rejects counted by stream, field and kind of reason, the newest first: `open`, `replayed`, `discarded`,
    `first_at` and `last_at` (times received), `last_id`."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(filters.statement(SUMMARY)).fetchall()


def find(connection: psycopg.Connection, filters: Filters) -> Iterator[Reject]:
    """The rejects meant, the newest first, a few in memory at a time. TidemarkError for an id that is not there."""
    with connection.transaction(), connection.cursor("rejects", row_factory=class_row(Reject)) as cursor:
        check_ids(connection, filters.ids)
        cursor.itersize = ROWS_AT_A_TIME
        yield from cursor.execute(filters.statement(SELECT))


def check_ids(connection: psycopg.Connection, ids: Sequence[int]) -> None:
    """TidemarkError for ids of rejects that are not there."""
    missing = sorted(told for told in ids if not 0 < told <= LARGEST_ID) or [
        told
        for (told,) in connection.execute(
            """
            select told from unnest(%s::bigint[]) as told
            where not exists (select from raw.rejects where reject_id = told) order by 1
            """,
            [list(ids)],
        )
    ]
    if missing:
        shown = ", ".join(map(str, missing[:5]))
        raise TidemarkError(f"there is no reject {shown} in this database: see `python -m ingest rejects list --each`")


def units(connection: psycopg.Connection, filters: Filters) -> Units:
    """What is mended and replayed together, of the rejects meant; all open elements of a record with one of them.

    The connection is in a transaction until all are taken or the generator is closed."""
    seen: set[tuple[int, int]] = set()
    for reject in find(connection, filters):
        if not reject.is_part:
            yield Unit((reject,), reject.record, CUT if is_cut(reject) else None)
            continue
        place = (reject.load_id, reject.line_number)
        if place not in seen:
            seen.add(place)
            yield from units_of_batch(connection, place, filters.cleared)


def units_of_batch(connection: psycopg.Connection, place: tuple[int, int], cleared: bool) -> Iterator[Unit]:
    """The elements refused of the batch at `place` (load, line), as one unit where the whole record is kept."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Reject)) as cursor:
        parts = cursor.execute(Filters().statement(PARTS), place).fetchall()
    wanted = tuple(part for part in parts if cleared or part.cleared_at is None)
    if is_batch(parts[0].record):
        yield Unit(wanted, parts[0].record)
    else:
        yield from (Unit((part,), part.record, ELEMENT_ONLY) for part in wanted)


def is_cut(reject: Reject) -> bool:
    """Whether only the beginning of an overlong record is kept."""
    return len(reject.record) == KEPT_OF_OVERLONG and f"more than {LARGEST_RECORD}" in reject.reason


def is_batch(record: bytes) -> bool:
    """Whether a record is a session batch and not only an element of one."""
    try:
        return not {"batchId", "batch_id"}.isdisjoint(msgspec.json.decode(mend(record), type=dict[str, msgspec.Raw]))
    except (ValueError, RecursionError):
        return False


def export_line(unit: Unit) -> bytes:
    """A unit as one line of JSON: what `read_export` takes back when its `record` is mended."""
    first, *others = unit.rejects
    told: dict[str, Any] = {
        "reject_id": first.reject_id,
        "stream": first.stream,
        "file": first.file,
        "line_number": first.line_number,
        "element": first.element,
        "field": first.field,
        "reason": first.reason,
    }
    if others:
        told["also"] = [
            {name: getattr(other, name) for name in ("reject_id", "element", "field", "reason")} for other in others
        ]
    if unit.obstacle:
        told["note"] = unit.obstacle
    try:
        told["record"] = unit.record.decode()
    except UnicodeDecodeError:
        told["record"] = {"base64": base64.b64encode(unit.record).decode()}
    return msgspec.json.encode(told) + b"\n"


class ExportLine(msgspec.Struct):
    """What of a line of an export matters for a replay."""

    reject_id: int
    record: msgspec.Raw
    stream: str | None = None
    file: str | None = None
    line_number: int | None = None


# Number of the line, the line, and its record's bytes.
MendedLine = tuple[int, ExportLine, bytes]


def read_export(lines: Iterable[bytes], name: str) -> Iterator[MendedLine]:
    """The lines of an export. TidemarkError, naming `name` and the line, for one that is not of an export."""
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not line:
            continue
        try:
            told = msgspec.json.decode(line, type=ExportLine)
            record = record_of(bytes(told.record))
        except (ValueError, RecursionError) as error:
            raise TidemarkError(
                f"{name}: line {number} is not of an export ({error}): mend it, one JSON object per line, and try again"
            ) from None
        yield number, told, record


def record_of(told: bytes) -> bytes:
    """A record's bytes: of a string its text, of `{"base64": …}` what that says, of an object the object as it
    stands. ValueError for anything else."""
    if told.startswith(b'"'):
        return msgspec.json.decode(told, type=str).encode()
    parts = msgspec.json.decode(told, type=dict[str, msgspec.Raw])
    if parts.keys() == {"base64"}:
        try:
            return base64.b64decode(msgspec.json.decode(parts["base64"], type=str), validate=True)
        except binascii.Error as error:
            raise ValueError(f"its base64 cannot be read ({error})") from None
    return told


def replay(connection: psycopg.Connection, candidates: Units, *, replayed_by: str | None = None) -> Replay:
    """Loads the records of `candidates` that can be loaded now, and clears their rejects in the same transaction.

    One load, and one transaction, per stream and app. A record that would still be refused, or one of whose
    elements would be, is not loaded: its rejects stay open and no further ones are written. The connection must
    not be in a transaction. TidemarkError, and nothing of that load done, when a reject was cleared meanwhile or
    the load fails.
    """
    result = Replay()
    with tempfile.TemporaryDirectory(prefix="tidemark-replay-") as folder, ExitStack() as files, closing(candidates):
        spools: dict[tuple[str, str | None], Spool] = {}
        apps: dict[int, str | None] = {}
        for unit in candidates:
            stream, load_id = unit.first.stream, unit.first.load_id
            if load_id not in apps:
                apps[load_id] = app_of_load(connection, load_id)
            key = (stream, apps[load_id])
            if key not in spools:
                path = Path(folder, f"{len(spools)}.ndjson")
                spools[key] = Spool(path, files.enter_context(path.open("wb")), decoder_of(*key))
            reason = unit.obstacle or spools[key].add(unit)
            if reason:
                result.refused += [(reject.reject_id, reason) for reject in unit.rejects]
        for (stream, app), spool in spools.items():
            spool.file.flush()
            if spool.ids:
                spool.load(connection, stream, app, replayed_by, result)
    return result


def app_of_load(connection: psycopg.Connection, load_id: int) -> str | None:
    """The app a load gave to records that name none."""
    with connection.transaction():
        return connection.execute("select app from raw.loads where load_id = %s", [load_id]).fetchone()[0]


def decoder_of(stream: str, app: str | None) -> Stream:
    """The stream's decoder. TidemarkError for a stream that this code does not read."""
    if stream not in DECODERS:
        raise TidemarkError(f"nothing here reads the stream {stream!r}: update the code, or say --stream")
    return DECODERS[stream](app)


class Spool:
    """The records of one stream and app that load now, one per line of a file."""

    def __init__(self, path: Path, file: BinaryIO, decoder: Stream) -> None:
        self.path = path
        self.file = file
        self.decoder = decoder
        self.rows = 0
        self.ids: list[int] = []
        self.label = ""
        self.units = 0
        self.superseded: list[tuple[int, int]] = []

    def add(self, unit: Unit) -> str | None:
        """Takes a unit in, or says why its record would still be refused."""
        record = mend(unit.record)
        decoded = self.decoder.decode(record)
        if decoded.refused:
            return "; ".join(refusal.reason for refusal in decoded.refused[:3])
        if not is_object(record):
            return "is not one JSON object"
        # Inside JSON a line's end is blank space.
        self.file.write(record.replace(b"\n", b" ") + b"\n")
        self.rows += len(decoded.rows)
        self.units += 1
        self.ids += [reject.reject_id for reject in unit.rejects]
        self.label = f"replay of {unit.first.file}:{unit.first.line_number}"
        if unit.first.is_part:
            self.superseded.append((unit.first.load_id, unit.first.line_number))
        return None

    def load(
        self, connection: psycopg.Connection, stream: str, app: str | None, by: str | None, replay: Replay
    ) -> None:
        """Loads what was taken in and clears its rejects."""

        def clear(cursor: psycopg.Cursor, load: LoadResult) -> None:
            if (load.loaded, load.rejected) != (self.rows, 0):
                raise TidemarkError(f"{load.file}: {load.rejected} of its records were refused: nothing is replayed")
            cursor.execute(CLEAR, {"by": by, "load_id": load.load_id, "note": None, "ids": self.ids})
            if cursor.rowcount != len(self.ids):
                raise TidemarkError("some of these rejects were cleared meanwhile, nothing is replayed: replay again")
            if self.superseded:
                cursor.execute(SUPERSEDE, [load.load_id, *map(list, zip(*self.superseded, strict=True))])

        label = self.label if self.units == 1 else f"replay of {len(self.ids)} rejects"
        # Which rejects are open decides what is loaded twice, not the bytes: the same bytes may have been refused
        # as a file of their own, or stand in another file's rejects.
        load = load_file(
            connection, self.path, stream=stream, app=app, force=True, loaded_by=by, label=label, within=clear
        )
        replay.loads.append(load)
        replay.cleared += len(self.ids)
        replay.rows += load.loaded


def mended_units(connection: psycopg.Connection, lines: Iterable[bytes], name: str, result: Replay) -> Units:
    """What the lines of an export mean, with their records as they are there now. Rejects cleared already are
    counted in `result`. TidemarkError for a line that fits no reject of this database."""
    seen: set[int] = set()
    for some in in_chunks(read_export(lines, name)):
        wanted = Filters(ids=[line.reject_id for _, line, _ in some], cleared=True)
        found = {reject.reject_id: reject for reject in find(connection, wanted)}
        for number, line, record in some:
            place = f"{name}: line {number}: reject {line.reject_id}"
            rejects = open_with(connection, same_reject(found[line.reject_id], line, place))
            if not rejects:
                result.earlier += 1
                continue
            ids = {reject.reject_id for reject in rejects}
            if ids & seen:
                raise TidemarkError(f"{place}, or its record, stands in this file twice: keep one")
            seen |= ids
            yield Unit(rejects, record)


def in_chunks(lines: Iterable[MendedLine]) -> Iterator[list[MendedLine]]:
    """The lines a few at a time, and few bytes: each chunk costs one query."""
    chunk: list[MendedLine] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line[2])
        if len(chunk) == ROWS_AT_A_TIME or size > LARGEST_RECORD:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def same_reject(reject: Reject, line: ExportLine, place: str) -> Reject:
    """The reject, if the line was exported from it and not from one of another database, else TidemarkError."""
    for column in ("stream", "file", "line_number"):
        told = getattr(line, column)
        if told is not None and told != getattr(reject, column):
            raise TidemarkError(
                f"{place} of this database has another {column}: is this an export of another database? Export again"
                " from this one"
            )
    return reject


def open_with(connection: psycopg.Connection, reject: Reject) -> tuple[Reject, ...]:
    """The open rejects that one record clears: the reject, and the other elements of its batch."""
    if not reject.is_part:
        return () if reject.cleared_at else (reject,)
    found = units_of_batch(connection, (reject.load_id, reject.line_number), cleared=False)
    return tuple(part for unit in found for part in unit.rejects)


def replay_export(
    connection: psycopg.Connection, lines: Iterable[bytes], name: str, *, replayed_by: str | None = None
) -> Replay:
    """Replays the lines of an export whose records somebody mended; as `replay` in everything else."""
    before = Replay()
    result = replay(connection, mended_units(connection, lines, name, before), replayed_by=replayed_by)
    result.earlier = before.earlier
    return result


def replay_stored(connection: psycopg.Connection, filters: Filters, *, replayed_by: str | None = None) -> Replay:
    """Replays rejects as they are, after the code, a mapping or a seed changed."""
    with connection.transaction():
        check_ids(connection, filters.ids)
        earlier = connection.execute(
            "select count(*) from raw.rejects where reject_id = any(%s) and cleared_at is not null", [list(filters.ids)]
        ).fetchone()[0]
    result = replay(connection, units(connection, filters), replayed_by=replayed_by)
    result.earlier = earlier
    return result


def discard(
    connection: psycopg.Connection, filters: Filters, note: str | None = None, discarded_by: str | None = None
) -> int:
    """Clears the open rejects meant that nobody will mend; returns how many. They stay in raw.rejects, with `note`."""
    with connection.transaction():
        check_ids(connection, filters.ids)
        ids = [reject_id for (reject_id,) in connection.execute(filters.statement(SELECT_IDS))]
        values = {"by": discarded_by, "load_id": None, "note": note, "ids": ids}
        return connection.execute(CLEAR, values).rowcount
