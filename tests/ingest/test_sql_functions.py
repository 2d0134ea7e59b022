"""Functions and aggregates the migrations bring, which the models call for every event."""

import hashlib

import pytest

from ingest.connection import connect


@pytest.mark.parametrize(
    "user_agent",
    ["", "Mozilla/5.0", "a" * 999 + "z", "a" * 1000 + "z", "a" * 5000, "ä" * 500, "ä" * 501, "ä" * 1000, "ä" * 1001],
    ids=len,
)
def test_the_key_of_a_user_agent_hashes_its_first_thousand_characters(database, user_agent):
    with connect(database) as connection:
        key = connection.execute("select ops.user_agent_key(%s)", [user_agent]).fetchone()[0]
    assert key.hex == hashlib.md5(user_agent[:1000].encode()).hexdigest()


def test_no_user_agent_has_no_key(database):
    with connect(database) as connection:
        assert connection.execute("select ops.user_agent_key(null)").fetchone() == (None,)


@pytest.mark.parametrize(
    ("order", "first"), [("place", ["Oslo", 2]), ("place desc", ["Rome", 4]), ("name", ["Lima", 3])]
)
def test_the_first_value_is_the_first_that_is_known_in_the_order_asked_for(database, order, first):
    told = "(values (1, null), (4, 'Rome'), (2, 'Oslo'), (3, 'Lima'), (5, null)) as told (place, name)"
    with connect(database) as connection:
        found = connection.execute(
            f"""
            select
                ops.first_value(name order by {order}),
                ops.first_value(case when name is not null then place end order by {order})
            from {told}
            """
        ).fetchone()
    assert list(found) == first


def test_of_nothing_known_there_is_no_first_value(database):
    with connect(database) as connection:
        found = connection.execute(
            "select ops.first_value(a), ops.first_value(b) from (values (null::text, null::integer)) as t (a, b)"
        ).fetchone()
    assert found == (None, None)
