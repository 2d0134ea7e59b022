"""A bounded buffer of encoded records and the thread that lands them in the inbox as files.

Putting a record in costs a short lock and no input or output. A daemon thread lands what waits when a batch is
full or `flush_seconds` have passed; it starts with the first record and again should it ever die. What cannot
be landed stays in the buffer and is tried again.

A fork leaves the parent's records to the parent: it lands them first, for a second at most, and the child
starts empty. At exit every buffer is landed. The lock may be taken again by a signal handler or a finalizer that
runs inside it, so these may put records too.
"""

import atexit
import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
from collections import Counter, deque
from datetime import datetime, timezone
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple
from weakref import WeakSet

from ingest.landing.files import land, sync_folder

DROP_NEWEST, DROP_OLDEST = "drop_newest", "drop_oldest"
OVERFLOW, TOO_LARGE, INVALID, CLOSED = "overflow", "too_large", "invalid", "closed"
# What the loader accepts of one record; a longer one would be rejected there.
LARGEST_RECORD = 8 * 1024 * 1024
# How long a fork, or a call while the interpreter ends, may wait for the disk.
FORK_SECONDS = 1.0
EXIT_SECONDS = 10.0

log = logging.getLogger("tidemark")

# One record that is not landed yet: its stream, its line. A plain tuple: the garbage collector soon leaves these alone.
Waiting = tuple[str, bytes]


class Settings(NamedTuple):
    """What a buffer is told once. `inbox` is absolute: the application may change its folder."""

    inbox: str
    batch_size: int
    flush_seconds: float
    buffer_size: int
    buffer_bytes: int
    overflow: str


class Ticket:
    """Somebody waits for everything put before it to be landed."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.landed = False

    def settle(self, landed: bool) -> None:
        """Lets the one who waits go on."""
        self.landed = landed
        self.done.set()


class Buffer:
    """The records of one writer in one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.closed = False
        self.start_afresh()
        every_buffer.add(self)

    def start_afresh(self) -> None:
        """The state of a process that has put nothing yet; in a forked child all else is the parent's."""
        self.lock = threading.RLock()
        self.landing = threading.Lock()
        self.lander: int | None = None
        self.waiting: deque[Waiting] = deque()
        self.waiting_bytes = 0
        self.busy = self.busy_bytes = 0
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.woken = False
        self.tickets: list[Ticket] = []
        self.evicted = False
        self.unsynced: set[str] = set()
        self.running = False
        self.start_again_at = 0.0
        self.stopping = self.closed
        self.exiting = False
        self.accepted = self.written = self.files = self.failures = 0
        self.dropped: Counter[str] = Counter()
        self.said: set[str] = set()
        self.process = f"{host_name()}-{os.getpid()}-{secrets.token_hex(6)}"

    # Putting records in

    def put(self, stream: str, line: bytes) -> bool:
        """Takes a record in; False, and counted, when it is dropped instead."""
        if sys.is_finalizing() and not self.is_free():
            return False
        size = len(line)
        if size > LARGEST_RECORD:
            self.drop(TOO_LARGE, f"a record of {size} bytes is larger than {LARGEST_RECORD}")
            return False
        with self.lock:
            closed = self.closed
            fits = not closed and self.make_room(size)
            if fits:
                self.waiting.append((stream, line))
                self.waiting_bytes += size
                self.accepted += 1
            full = not self.woken and len(self.waiting) >= self.settings.batch_size
            if full:
                self.woken = True
        if closed:
            self.drop(CLOSED, "the writer is closed")
            return False
        try:
            self.after_put(fits, full)
        except Exception as error:
            # No memory or no stack is left, perhaps. The record is where it is; the next one, or a flush, tries again.
            self.woken = False
            self.say("internal", f"the thread that writes could not be woken: {error!r}")
        return fits

    def after_put(self, fits: bool, full: bool) -> None:
        """Sees to it that what waits is written, now when a batch is full."""
        if not self.running:
            self.start()
        if full:
            self.wake.put(None)
        if not fits or self.evicted:
            self.say(OVERFLOW, f"the buffer is full: records are dropped ({self.settings.overflow})")
        if self.exiting:
            self.flush(FORK_SECONDS)

    def is_free(self) -> bool:
        """Whether the lock can be had at all: as the interpreter ends, a thread may have stopped holding it."""
        free = self.lock.acquire(timeout=FORK_SECONDS)
        if free:
            self.lock.release()
        return free

    def make_room(self, size: int) -> bool:
        """Whether there is room for so many bytes, after dropping the oldest where that is the policy."""
        most, most_bytes = self.settings.buffer_size, self.settings.buffer_bytes
        while len(self.waiting) + self.busy >= most or self.waiting_bytes + self.busy_bytes + size > most_bytes:
            self.dropped[OVERFLOW] += 1
            # Records that are just being written cannot be dropped any more.
            if self.settings.overflow == DROP_NEWEST or not self.waiting:
                return False
            self.waiting_bytes -= len(self.waiting.popleft()[1])
            self.evicted = True
        return True

    def drop(self, reason: str, message: str) -> None:
        """Counts a record that is not taken in."""
        with self.lock:
            self.dropped[reason] += 1
        self.say(reason, f"a record is dropped: {message}")

    def say(self, kind: str, message: str) -> None:
        """Logs a kind of trouble the first time it happens."""
        if kind in self.said:
            return
        self.said.add(kind)
        # A handler of the application's may raise.
        with contextlib.suppress(Exception):
            log.warning("%s; further cases are only counted, see stats()", message)

    # Landing them

    def flush(self, timeout: float | None = None) -> bool:
        """Lands what waits, trying once. True when every record taken in before is on disk in the inbox and
        none of them was dropped since the last flush to make room. False also after `timeout` seconds."""
        ticket = Ticket()
        ending = sys.is_finalizing()
        if ending and not self.is_free():
            return False
        with self.lock:
            evicted, self.evicted = self.evicted, False
            self.tickets.append(ticket)
        if ending:
            # Threads no longer run, and the one that wrote may have stopped in the midst of it.
            self.land_now(FORK_SECONDS)
        elif not (self.running or self.start()):
            self.land_now(timeout)
        else:
            self.wake.put(None)
        ticket.done.wait(timeout)
        return ticket.landed and not evicted and not self.evicted

    def land_now(self, timeout: float | None) -> None:
        """Lands in the caller's thread: there is no other. A call inside such a call does nothing."""
        wait = EXIT_SECONDS if timeout is None else timeout
        if self.lander == threading.get_ident() or not self.landing.acquire(timeout=wait):
            self.settle(self.take_tickets(), False)
            return
        try:
            self.land_what_waits()
        finally:
            self.landing.release()

    def land_what_waits(self) -> None:
        """One attempt at everything that waits; whoever calls holds `landing`."""
        self.lander = threading.get_ident()
        with self.lock:
            batch, self.waiting = self.waiting, deque()
            self.busy, self.busy_bytes = len(batch), self.waiting_bytes
            self.waiting_bytes = 0
            self.woken = False
            tickets = self.take_tickets()
        durable = False
        streams: dict[str, list[bytes]] = {}
        for stream, line in batch:
            streams.setdefault(stream, []).append(line)
        try:
            for stream in list(streams):
                if self.land_stream(stream, streams[stream]):
                    del streams[stream]
            durable = self.sync() and not streams
        finally:
            self.put_back(streams)
            self.lander = None
            self.settle(tickets, durable)

    def land_stream(self, stream: str, lines: list[bytes]) -> bool:
        """One file of one stream; whether it is there."""
        try:
            land(self.folder(stream), self.file_name(), b"\n".join(lines) + b"\n")
        except Exception as error:
            self.failures += 1
            self.trouble(error)
            return False
        self.unsynced.add(stream)
        self.files += 1
        self.written += len(lines)
        return True

    def sync(self) -> bool:
        """Puts the landed files' names on disk; whether all are, those of earlier attempts included."""
        for stream in list(self.unsynced):
            try:
                sync_folder(self.folder(stream))
            except FileNotFoundError:
                # Somebody took the folder away, and the files with it.
                pass
            except Exception as error:
                self.trouble(error)
                continue
            self.unsynced.discard(stream)
        return not self.unsynced

    def put_back(self, streams: dict[str, list[bytes]]) -> None:
        """What could not be landed waits again, before all that came later."""
        failed = [(stream, line) for stream, lines in streams.items() for line in lines]
        with self.lock:
            self.waiting.extendleft(reversed(failed))
            self.waiting_bytes += sum(len(line) for _, line in failed)
            self.busy = self.busy_bytes = 0

    def trouble(self, error: Exception) -> None:
        """Says what keeps the files from being written."""
        reason = getattr(error, "strerror", None) or repr(error)
        self.say(
            f"{type(error).__name__} {getattr(error, 'errno', '')}",
            f"the inbox {self.settings.inbox} cannot be written to: {reason};"
            " records wait in the buffer and are tried again",
        )

    def folder(self, stream: str) -> str:
        """Where a stream's files go."""
        return os.path.join(self.settings.inbox, stream)

    def file_name(self) -> str:
        """A name nobody else gives, later ones sorting later: time, host, process, a random number, a count."""
        # strftime() would import, which an ending interpreter no longer does.
        time = datetime.now(timezone.utc).isoformat(timespec="microseconds")[:26]
        digits = time.replace("-", "").replace(":", "").replace(".", "")
        return f"{digits}Z-{self.process}-{self.files + self.failures}.ndjson"

    def take_tickets(self) -> list[Ticket]:
        """Those who wait now."""
        with self.lock:
            tickets, self.tickets = self.tickets, []
        return tickets

    @staticmethod
    def settle(tickets: list[Ticket], landed: bool) -> None:
        """Tells those who wait."""
        for ticket in tickets:
            ticket.settle(landed)

    # The thread

    def start(self) -> bool:
        """Starts the thread; False when there can be none, as when the interpreter shuts down."""
        with self.lock:
            if self.running:
                return True
            # Python 3.11 and older would wait for ever for a thread to start.
            if self.stopping or sys.is_finalizing() or monotonic() < self.start_again_at:
                return False
            pinned.add(self)
            land_at_a_workers_end()
            self.running = True
            try:
                threading.Thread(target=self.run, name="tidemark-writer", daemon=True).start()
                return True
            except BaseException as error:
                self.running = False
                self.start_again_at = monotonic() + self.settings.flush_seconds
                self.settle(self.take_tickets(), False)
                if not isinstance(error, RuntimeError):
                    raise
                reason = str(error)
        self.say("thread", f"no thread to write with: {reason}; records are written by flush() and at exit")
        return False

    def run(self) -> None:
        """What the thread does until the buffer is closed."""
        try:
            self.running = True
            while not self.stopping:
                with contextlib.suppress(Empty):
                    self.wake.get(timeout=self.settings.flush_seconds)
                    while True:
                        self.wake.get_nowait()
                if self.waiting or self.tickets:
                    with self.landing:
                        self.land_what_waits()
        finally:
            with self.lock:
                self.running = False
                self.settle(self.take_tickets(), False)

    def close(self, timeout: float | None) -> bool:
        """Takes no further record, lands what waits, ends the thread."""
        with self.lock:
            self.closed = True
        landed = self.flush(timeout)
        self.stopping = True
        self.wake.put(None)
        if not self.waiting:
            pinned.discard(self)
        return landed

    def stats(self) -> dict[str, object]:
        """Counts since this process began to use the buffer."""
        with self.lock:
            return {
                "accepted": self.accepted,
                "written": self.written,
                "pending": len(self.waiting) + self.busy,
                "dropped": dict(self.dropped),
                "files": self.files,
                "failures": self.failures,
            }

    # The process

    def before_fork(self) -> bool:
        """Lands what waits and keeps the thread from writing while the process is copied; whether it does."""
        if self.waiting or self.busy:
            self.flush(FORK_SECONDS)
        return self.lander != threading.get_ident() and self.landing.acquire(timeout=FORK_SECONDS)

    def at_exit(self) -> None:
        """Lands what waits; what is put after this is landed at once."""
        self.exiting = True
        if self.waiting or self.busy:
            self.flush(EXIT_SECONDS)


every_buffer: WeakSet[Buffer] = WeakSet()
# Those that may hold records: they live on when the application forgets its writer.
pinned: set[Buffer] = set()
forking = threading.local()
worker_told: list[int] = []


def buffers() -> list[Buffer]:
    """All there are. Another thread may be making one at this moment."""
    while True:
        try:
            return list(every_buffer)
        except RuntimeError:
            continue


def host_name() -> str:
    """The host's name in a file's. The letter before it keeps a host named `events` from naming the stream."""
    return "h" + "".join(c for c in socket.gethostname() if c.isascii() and c.isalnum())[:32]


def before_fork() -> None:
    """Runs in the parent. No write is under way in the instant of the fork, unless the disk hangs."""
    forking.held = []
    for buffer in buffers():
        with contextlib.suppress(Exception):
            if buffer.before_fork():
                forking.held.append(buffer)


def after_fork_in_parent() -> None:
    """Writing goes on."""
    for buffer in getattr(forking, "held", ()):
        buffer.landing.release()
    forking.held = []


def after_fork_in_child() -> None:
    """The parent's records stay the parent's."""
    forking.held = []
    worker_told.clear()
    pinned.clear()
    for buffer in buffers():
        buffer.start_afresh()


def at_exit() -> None:
    """Lands what every buffer holds."""
    for buffer in buffers():
        with contextlib.suppress(Exception):
            buffer.at_exit()


def land_at_a_workers_end() -> None:
    """A worker of multiprocessing that was forked ends without Python's exit handlers: it has its own."""
    util = sys.modules.get("multiprocessing.util")
    if util and not worker_told:
        worker_told.append(os.getpid())
        util.Finalize(None, at_exit, exitpriority=0)


os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent, after_in_child=after_fork_in_child)
atexit.register(at_exit)
