"""The keyed hash of the database is HMAC-SHA-256, as Python's standard library computes it."""

import hashlib
import hmac

import pytest


@pytest.mark.parametrize("key", ["k", "schlüssel", "x" * 64, "y" * 65, "z" * 200])
@pytest.mark.parametrize("content", ["", "somebody@example.com", "ä" * 300])
def test_it_is_hmac_sha256(connection, key, content):
    connection.execute("select set_config('tidemark.hash_key', %s, true)", [key])
    expected = hmac.new(key.encode(), content.encode(), hashlib.sha256).hexdigest()
    assert connection.execute("select ops.keyed_hash(%s)", [content]).fetchone() == (expected,)


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_there_is_no_hash(connection, key):
    if key is not None:
        connection.execute("select set_config('tidemark.hash_key', %s, true)", [key])
    assert connection.execute("select ops.keyed_hash('somebody@example.com')").fetchone() == (None,)


def test_nothing_has_no_hash(connection):
    connection.execute("select set_config('tidemark.hash_key', 'k', true)")
    assert connection.execute("select ops.keyed_hash(null)").fetchone() == (None,)
