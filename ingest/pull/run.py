"""One pull: new and changed rows of a mapping from a source, batch by batch, into raw.

Each batch is a spool file that is loaded like any other file, and the watermark moves in that load's
transaction: a killed pull has loaded whole batches and goes on after the last. A pull begins the overlap
before the watermark, because rows may be committed later than their watermark says, and leaves out what was
pulled before by a hash of each row's content.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import psycopg

from ingest.errors import TidemarkError
from ingest.load import ALREADY_LOADED, load_file
from ingest.pull.mapping import Mapping, interval
from ingest.pull.source import DEFAULT_SCHEMA, Row, Snapshot, Source
from ingest.pull.state import Progress, is_older, warehouse_errors
from ingest.server import home_folder
from ingest.streams import registry

PULLED, NOTHING_NEW, TRIED, FAILED = "pulled", "nothing new", "dry run", "failed"
DEFAULT_BATCH = 50_000

Notify = Callable[[str], None]


@dataclass
class PullResult:
    """What became of one mapping. `read` = `known` + `new`: rows read, rows of these that were pulled before,
    rows for the loader, which are `loaded` or `rejected`; elements of a row that were refused by themselves are
    counted as rejected too. `without_watermark` of the rows read have none. A failed pull counts what it had
    loaded before; `error` says why it ended, `notes` what else to know."""

    mapping: str
    stream: str
    source: str
    status: str = PULLED
    read: int = 0
    known: int = 0
    new: int = 0
    loaded: int = 0
    rejected: int = 0
    without_watermark: int = 0
    watermark: str | None = None
    seconds: float = 0.0
    loads: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as one JSON object."""
        return asdict(self)


class Batch(dict[str, str | None]):
    """Rows waiting in the spool for their load: hash → watermark, in the order read."""

    @property
    def newest(self) -> str | None:
        """The watermark of the last row that has one: rows come in its order, those without come last."""
        return next((told for told in reversed(self.values()) if told is not None), None)

    def label(self, mapping: str) -> str:
        """What the ledger calls the batch."""
        if self.newest is None:
            return f"pull {mapping} without watermark"
        return f"pull {mapping} {next(iter(self.values()))}..{self.newest}"


def pull(
    warehouse: psycopg.Connection,
    source: Source,
    mapping: Mapping,
    *,
    schema: str = DEFAULT_SCHEMA,
    since: str | None = None,
    overlap: timedelta | None = None,
    batch_rows: int = DEFAULT_BATCH,
    app: str | None = None,
    dry_run: bool = False,
    notify: Notify = lambda line: None,
) -> PullResult:
    """Pulls one mapping. The warehouse's connection must commit each statement by itself.

    `since`, a time, reads further back than the watermark and its overlap would, never less far. `dry_run`
    reads and counts, and writes nothing. A second pull of the same mapping and source waits for the first;
    `notify` hears of that. What goes wrong is told in the result, with what had been loaded till then.
    """
    started = time.monotonic()
    result = PullResult(mapping.name, mapping.stream, source.name)
    window = overlap if overlap is not None else interval(mapping.overlap)
    progress = Progress(source.name, mapping.name, window)
    work = Pull(warehouse, source, mapping, progress, result, batch_rows, app or mapping.app, dry_run)
    try:
        if mapping.stream not in registry.DECODERS:
            raise TidemarkError(f"nothing reads the stream {mapping.stream} yet")
        if dry_run:
            progress.read(warehouse)
            work.run(schema, since)
        else:
            with progress.locked(warehouse, notify):
                work.run(schema, since)
    except (TidemarkError, OSError) as error:
        result.status, result.error = FAILED, f"{mapping.name}: {error}"
    result.watermark = progress.watermark
    result.seconds = round(time.monotonic() - started, 3)
    return result


@dataclass
class Pull:
    """The work of one `pull`, between taking its lock and giving it back."""

    warehouse: psycopg.Connection
    source: Source
    mapping: Mapping
    progress: Progress
    result: PullResult
    batch_rows: int
    app: str | None
    dry_run: bool

    def run(self, schema: str, since: str | None) -> None:
        """Reads everything from the start of the window on, and loads what is new."""
        before = self.progress.watermark
        with self.source.snapshot(schema) as snapshot, spool(self.spool_path()) as path:
            newest = self.take(snapshot, path, self.start(since))
            if self.dry_run:
                self.result.status = TRIED
            else:
                self.finish(newest, snapshot.now)
                self.result.status = PULLED if self.result.new else NOTHING_NEW
        with warehouse_errors(self.mapping.name):
            shrunk = before is not None and is_older(self.warehouse, newest, before)
        if shrunk:
            self.result.notes.append(
                f"{self.mapping.name}: no row is as new as the watermark {before}: rows were deleted there, or a "
                "backup was restored; nothing is deleted here, and --since reads further back"
            )
        if self.result.without_watermark:
            self.result.notes.append(
                f"{self.mapping.name}: {self.result.without_watermark} rows have no watermark: "
                "they are read at each pull and loaded when their content is new"
            )

    def start(self, since: str | None) -> str | None:
        """Where to read from; None reads everything."""
        start = self.progress.window_start
        if since is None or start is None:
            return since or start
        with warehouse_errors(self.mapping.name):
            return since if is_older(self.warehouse, since, start) else start

    def take(self, snapshot: Snapshot, path: Path, start: str | None) -> str | None:
        """Spools and loads what is new; returns the newest watermark read."""
        table = snapshot.table(self.mapping)
        newest: str | None = None
        batch = Batch()
        with open_spool(path) as file, closing(snapshot.rows(table, start)) as portions:
            for rows in portions:
                self.result.read += len(rows)
                self.result.without_watermark += sum(row.watermark is None for row in rows)
                newest = next((row.watermark for row in reversed(rows) if row.watermark is not None), newest)
                lines = [self.line(row) for row in rows]
                hashes = [hashlib.blake2b(line, digest_size=16).hexdigest() for line in lines]
                known = self.progress.known(self.warehouse, hashes)
                for row, line, digest in zip(rows, lines, hashes, strict=True):
                    if digest in known or digest in batch:
                        self.result.known += 1
                        continue
                    self.result.new += 1
                    batch[digest] = row.watermark
                    if not self.dry_run:
                        file.write(line)
                    if len(batch) >= self.batch_rows:
                        known |= batch.keys()
                        self.load(batch, file, path, snapshot.now)
                        batch = Batch()
            if batch:
                self.load(batch, file, path, snapshot.now)
        return newest

    def line(self, row: Row) -> bytes:
        """The row as a line of its stream; one that is no sound JSON as it came, for the loader to refuse."""
        try:
            return self.mapping.record(row.content) + b"\n"
        except ValueError:
            return row.content.replace(b"\n", b" ") + b"\n"

    def load(self, batch: Batch, file: BinaryIO, path: Path, now: str) -> None:
        """Loads the spool and empties it; the watermark moves in the same transaction."""
        if self.dry_run:
            return
        file.flush()
        move = partial(self.progress.move, newest=batch.newest, now=now, rows=batch)
        loaded = load_file(
            self.warehouse,
            path,
            stream=self.mapping.stream,
            app=self.app,
            label=batch.label(self.mapping.name),
            within=lambda cursor, _: move(cursor),
        )
        if loaded.status == ALREADY_LOADED:
            # The same bytes are in raw since an earlier load: only the watermark has to follow.
            self.result.new -= len(batch)
            self.result.known += len(batch)
            with warehouse_errors(self.mapping.name), self.warehouse.transaction(), self.warehouse.cursor() as cursor:
                move(cursor)
        else:
            self.result.loads.append(loaded.load_id)
            self.result.loaded += loaded.loaded
            self.result.rejected += loaded.rejected
        file.seek(0)
        file.truncate()

    def finish(self, newest: str | None, now: str) -> None:
        """All is read: the watermark follows rows known already, once the source's clock has come to them."""
        with warehouse_errors(self.mapping.name), self.warehouse.transaction(), self.warehouse.cursor() as cursor:
            self.progress.move(cursor, newest=newest, now=now, rows={}, finished=True)

    def spool_path(self) -> Path:
        """A file of this mapping, source and warehouse, so that a killed pull's is overwritten by the next."""
        info = self.warehouse.info
        who = "\0".join((info.host, str(info.port), info.dbname, self.source.name, self.mapping.name))
        name = hashlib.blake2b(who.encode(), digest_size=8).hexdigest()
        return home_folder() / "pull" / f"{self.mapping.name}-{name}{'-dry' if self.dry_run else ''}.ndjson"


@contextmanager
def spool(path: Path) -> Iterator[Path]:
    """A place for a file that holds people's data: for its owner only, and gone at the end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield path
    finally:
        path.unlink(missing_ok=True)


def open_spool(path: Path) -> BinaryIO:
    """The spool, empty."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")
    except OSError as error:
        raise TidemarkError(f"{path}: the rows cannot be put there before their load: {error.strerror}") from None
