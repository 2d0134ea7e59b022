"""The key of keyed hashes: of tombstones, which ingest compares, and of e-mail addresses, which staging shows.

`TIDEMARK_HASH_KEY`, else the setting `tidemark.hash_key` of the login. With neither, the embedded server keeps a key of
its own in the project's home folder; any other server must be given one.
"""

from __future__ import annotations

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from ingest.connection import names_a_server
from ingest.errors import TidemarkError
from ingest.server import home_folder

VARIABLE = "TIDEMARK_HASH_KEY"
SETTING = "tidemark.hash_key"
FILE = "hash_key"
SHORTEST = 16
CONSTANT = "tidemark"


def configured_key(connection: psycopg.Connection[Any]) -> str | None:
    """The key that somebody set, for this process or for this login."""
    told = os.environ.get(VARIABLE)
    return told or connection.execute("select nullif(current_setting(%s, true), '')", [SETTING]).fetchone()[0]


def hash_key(connection: psycopg.Connection[Any]) -> str:
    """The key of tombstones; the one the warehouse's tombstones were made with, or none.

    Raises:
        TidemarkError: there is none, it is too short, or it is another one.
    """
    key = configured_key(connection)
    if key is None:
        if names_a_server():
            raise TidemarkError(
                f"There is no key for keyed hashes: set {VARIABLE} to a long random text, the same for ever, wherever "
                "loads and privacy requests run."
            )
        key = _own_key(home_folder() / FILE)
    if len(key) < SHORTEST:
        raise TidemarkError(f"{VARIABLE} is shorter than {SHORTEST} characters: take a long random text.")
    check = keyed_hash(key, CONSTANT)
    known = connection.execute("select key_hash from ops.hash_key_check").fetchone()
    if known and known[0] != check:
        raise TidemarkError(
            f"{VARIABLE} is not the key that erased persons were remembered with, so they would not be recognised: "
            "set the first one."
        )
    return key


def remember_key(connection: psycopg.Connection[Any], key: str) -> None:
    """Keep what the key can be recognised by, once."""
    connection.execute(
        "insert into ops.hash_key_check (key_hash) values (%s) on conflict do nothing", [keyed_hash(key, CONSTANT)]
    )


def keyed_hash(key: str, content: str) -> str:
    """HMAC-SHA-256 (RFC 2104), hexadecimal: what stands for an id in `ops.tombstones`."""
    # Not the hash that stands for an e-mail address in marts.
    return hmac.new(key.encode(), b"tombstone:" + content.encode("utf-8", "surrogatepass"), sha256).hexdigest()


def _own_key(path: Path) -> str:
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _own_key(path)
    with os.fdopen(file, "w", encoding="utf-8") as written:
        key = secrets.token_hex(32)
        written.write(key + "\n")
    return key
