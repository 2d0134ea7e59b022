"""Receivers of alerts on this machine: an HTTP server and an SMTP server that do as they are told."""

from __future__ import annotations

import email
import email.policy
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Post:
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Web:
    """An HTTP server. Each of `answers` is the status of one post, None keeps its sender waiting; then all is well."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/alerts", login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.port}{path}"


@contextmanager
def web() -> Iterator[Web]:
    received = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.posts.append(Post(self.path, dict(self.headers), body))
            answer = received.answers.pop(0) if received.answers else 200
            received.arrived.release()
            if answer is None:
                received.closing.wait(60)
                return
            self.send_response(answer)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield received
    finally:
        received.closing.set()
        server.shutdown()
        server.server_close()


@dataclass
class Mailbox:
    """An SMTP server. It refuses the recipients in `refused`; with `silent` it never greets."""

    port: int = 0
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    silent: bool = False
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def recipients(self) -> list[str]:
        return [recipient for recipient, _ in self.mails]


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    received = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            if received.silent:
                received.closing.wait(60)
                return
            self.say("220 mailbox ready")
            recipients: list[str] = []
            while line := self.rfile.readline().decode().strip():
                verb = line.split(":")[0].upper()
                if verb == "RCPT TO":
                    address = line.partition(":")[2].split()[0].strip("<>")
                    if address in received.refused:
                        self.say("450 try again later")
                        continue
                    recipients.append(address)
                    self.say("250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text[1:] if text.startswith(b"..") else text)
                    parsed = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    received.mails += [(address, parsed) for address in recipients]
                    recipients = []
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    received.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield received
    finally:
        received.closing.set()
        server.shutdown()
        server.server_close()
