"""Erasures that meet each other, loads, kills and bad input: on raw alone, nothing is built."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ingest.connection import Server, connect, resolve
from ingest.errors import TidemarkError
from ingest.forgetting import Digits
from ingest.load import load_file
from orchestration import privacy
from orchestration.privacy import Subject, erasure
from orchestration.privacy.export import cell
from orchestration.privacy.person import Person
from orchestration.privacy.pseudonyms import KEPT_KEYS, Pseudonyms, bare
from orchestration.privacy.upkeep import setting
from orchestration.refresh import check_hash_key
from tests.warehouse.conftest import without_server_variables

ANNA, PHONE = "user-anna-77", "device-phone-1"
DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of this test alone, and a key."""
    monkeypatch.setenv("TIDEMARK_INBOX", str(tmp_path / "inbox"))
    monkeypatch.setenv("TIDEMARK_EXPORTS", str(tmp_path / "exports"))
    monkeypatch.setenv("TIDEMARK_HASH_KEY", "a key that is long enough")
    return tmp_path


def load(server: Server, folder: Path, records: list[dict], stream: str = "events", **options: object) -> object:
    path = folder / f"{stream}-{time.monotonic_ns()}.ndjson"
    path.write_bytes(b"\n".join(json.dumps(record).encode() for record in records) + b"\n")
    with connect(server) as connection:
        result = load_file(connection, path, **options)
    path.unlink()
    return result


def event(**more: object) -> dict:
    return {"eventName": "page_view", "timestamp": "2026-03-10T09:00:00Z"} | more


def count(server: Server, statement: str, *values: object) -> int:
    with connect(server, autocommit=True) as connection:
        return connection.execute(statement, values).fetchone()[0]


MENTIONS = "select count(*) from raw.events as t where strpos(t::text, %s) > 0"


def test_an_erasure_during_a_load_holds_for_it_too(fresh_database, home):
    def erase_now(*_: object) -> None:
        with connect(fresh_database, autocommit=True) as connection:
            erasure._begin(connection, Subject(user_id=ANNA), None, None)

    # Rows, rejects and counts are in, and nobody sees them yet.
    records = [event(userId=ANNA), event(userId="another"), event(userId=ANNA, timestamp="never")]
    result = load(fresh_database, home, records, within=erase_now)
    assert (result.records, result.loaded, result.rejected, result.refused) == (3, 1, 0, 2)
    ledger = "select records = 3 and loaded = 1 and rejected = 0 and refused = 2 from raw.loads"
    assert count(fresh_database, ledger)
    (certificate,) = privacy.resume(fresh_database)
    assert certificate.state == "done"
    assert count(fresh_database, MENTIONS, ANNA) == 0


def test_two_erasures_at_once_both_succeed(fresh_database, home):
    people = [f"user-{name}-77" for name in ("anna", "ben")]
    load(fresh_database, home, [event(userId=one, anonymousId=f"of-{one}", n=n) for one in people for n in range(20)])
    with ThreadPoolExecutor() as pool:
        subjects = [Subject(user_id=one) for one in people] + [Subject(anonymous_id=f"of-{people[0]}")]
        certificates = list(pool.map(lambda subject: privacy.erase(fresh_database, subject), subjects))
    assert {certificate.state for certificate in certificates} == {"done"}
    for one in people:
        assert count(fresh_database, MENTIONS, one) == 0
    assert count(fresh_database, "select count(distinct user_id) from raw.events") == 2
    assert count(fresh_database, "select count(*) from raw.events") == 40


def test_one_killed_half_way_is_finished_by_the_next(fresh_database, home):
    load(fresh_database, home, [event(userId=ANNA, anonymousId=PHONE), event(userId="user-ben-88")])
    done = home / "inbox" / "done"
    done.mkdir(parents=True)
    (done / "events.ndjson").write_text(json.dumps(event(anonymousId=PHONE)) + "\n")
    with connect(fresh_database, autocommit=True) as waiting, connect(fresh_database) as blocking:
        blocking.execute("lock table raw.workspaces in access exclusive mode")
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration", "privacy", "erase", "--yes", "--user-id", ANNA],
            env=without_server_variables() | fresh_database.environment(),
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        asked = "select count(*) from pg_locks where not granted and relation = 'raw.workspaces'::regclass"
        while not waiting.execute(asked).fetchone()[0]:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        waiting.execute(
            "select pg_terminate_backend(pid, 60000) from pg_stat_activity where application_name = 'tidemark privacy'"
        )
        blocking.rollback()
    # Nothing is changed yet; what comes is refused already.
    assert count(fresh_database, "select count(*) from ops.privacy_certificates where state = 'running'") == 1
    assert count(fresh_database, MENTIONS, PHONE) == 1
    assert load(fresh_database, home, [event(anonymousId=PHONE, n=2)]).refused == 1
    # The next command, for somebody else, finishes it.
    privacy.erase(fresh_database, Subject(user_id="user-ben-88"))
    for one in (ANNA, PHONE):
        assert count(fresh_database, MENTIONS, one) == 0
    assert not (done / "events.ndjson").exists()
    assert count(fresh_database, "select count(*) from ops.privacy_certificates where state <> 'done'") == 0
    certificates = "select count(*) from ops.privacy_certificates as t where strpos(t::text, 'anna') > 0"
    assert count(fresh_database, certificates) == 0


@pytest.mark.parametrize("step", ["_drop_dev_targets", "_forget_files", "_save", "_rebuild", "_clean_statistics"])
def test_one_that_failed_at_any_step_is_finished_by_the_next(fresh_database, home, monkeypatch, step):
    load(fresh_database, home, [event(userId=ANNA, anonymousId=PHONE, properties={"note": "hers"})])
    exports = home / "exports"
    exports.mkdir()
    (exports / "fct_events.csv").write_text(f"{PHONE}\n")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, step, fail)
        with pytest.raises(KeyboardInterrupt):
            privacy.erase(fresh_database, Subject(user_id=ANNA))
    assert count(fresh_database, "select count(*) from ops.privacy_certificates where state <> 'done'") == 1
    assert [certificate.state for certificate in privacy.resume(fresh_database)] == ["done"]
    for one in (ANNA, PHONE):
        assert count(fresh_database, MENTIONS, one) == 0
    assert not list(exports.iterdir())
    # Its names are the same, whenever it was written.
    assert count(fresh_database, "select count(distinct user_id) from raw.events") == 1


def test_choices_hold_in_whatever_order_they_are_told(make_database):
    told = [("opt_out", 1), ("opt_in", 3), ("opt_out", 5), ("opt_in", 5), ("opt_out", 6), ("opt_in", 8)]
    answers = set()
    server = make_database()
    for number, order in enumerate(itertools.islice(itertools.permutations(told), 0, 720, 90)):
        who = Subject(user_id=f"user-{number}")
        for choice, day in order:
            options = {"at": DAY + timedelta(days=day)}
            (privacy.opt_out if choice == "opt_out" else privacy.opt_in)(server, who, **options)
        with connect(server) as connection:
            spans = connection.execute(
                "select opted_out_at, opted_in_at from ops.opt_outs where subject_id = %s order by 1", [who.user_id]
            ).fetchall()
        answers.add(tuple((out - DAY, back - DAY) for out, back in spans))
    day = timedelta(days=1)
    # At one time the wish to be left alone holds; two spans that meet are two rows.
    assert answers == {((1 * day, 3 * day), (5 * day, 6 * day), (6 * day, 8 * day))}


def test_opting_in_takes_an_erased_person_back(fresh_database, home):
    load(fresh_database, home, [event(userId=ANNA)])
    privacy.erase(fresh_database, Subject(user_id=ANNA))
    assert load(fresh_database, home, [event(userId=ANNA, n=1)]).refused == 1
    privacy.opt_in(fresh_database, Subject(user_id=ANNA))
    assert load(fresh_database, home, [event(userId=ANNA, n=2)]).refused == 0


def test_old_addresses_are_cut_to_their_networks_once(fresh_database, home):
    addresses = ["203.0.113.77", "2001:db8:1:2:3:4:5:6", "10.0.0.0"]
    load(fresh_database, home, [event(ip=address, n=n) for n, address in enumerate(addresses)])
    told = "select string_agg(ip_address::text, ' ' order by ip_address) from raw.events"
    whole = count(fresh_database, told)
    assert privacy.truncate_addresses(fresh_database) == 0
    assert count(fresh_database, told) == whole
    with connect(fresh_database, autocommit=True) as connection:
        # As if that were the time.
        later = sql.SQL("alter database {} set tidemark.as_of = {}")
        at = connection.execute("select (now() + interval '31 days')::text").fetchone()[0]
        connection.execute(later.format(sql.Identifier(fresh_database.database), at))
    assert setting("address_days") == 30
    assert privacy.truncate_addresses(fresh_database) == 3
    assert count(fresh_database, told) == "10.0.0.0/24 203.0.113.0/24 2001:db8:1::/48"
    assert privacy.truncate_addresses(fresh_database) == 0


def test_a_device_of_several_users_is_not_guessed_about(fresh_database, home):
    load(fresh_database, home, [event(userId=user, anonymousId=PHONE) for user in (ANNA, "user-ben-88")])
    with pytest.raises(TidemarkError, match="2 users"):
        privacy.erase(fresh_database, Subject(anonymous_id=PHONE))
    assert count(fresh_database, "select count(*) from ops.tombstones") == 0


@pytest.mark.parametrize(
    "user", ["'; drop table raw.events; --", 'a"b\\c', "%", "{}", ".*", "1", "ü€𝄞 x1", "../../etc/passwd"]
)
def test_ids_are_never_run_nor_taken_for_patterns(fresh_database, home, user):
    load(fresh_database, home, [event(userId=user, properties={"own": user}), event(userId="user-ben-88", n=1)])
    bundle = privacy.export(fresh_database, Subject(user_id=user), home / "out")
    assert bundle.folder.parent == home / "out"
    assert bundle.rows["raw.events"] == 1
    privacy.erase(fresh_database, Subject(user_id=user))
    with connect(fresh_database) as connection:
        rows = connection.execute(
            "select user_id, properties ->> 'own' from raw.events order by line_number"
        ).fetchall()
    assert rows[1] == ("user-ben-88", None)
    assert user not in rows[0]
    assert rows[0][0] == rows[0][1]
    assert load(fresh_database, home, [event(userId=user, n=2)]).refused == 1


@pytest.mark.parametrize(
    "given", [{}, {"user_id": ""}, {"user_id": "x" * 256}, {"user_id": "a\0b"}, {"email": "nobody"}]
)
def test_nobody_is_not_a_person(given):
    with pytest.raises(TidemarkError):
        Subject(**given)


def test_without_the_key_nothing_is_forgotten_or_let_in(fresh_database, home, monkeypatch):
    load(fresh_database, home, [event(userId=ANNA)])
    monkeypatch.setenv("TIDEMARK_HASH_KEY", "short")
    with pytest.raises(TidemarkError, match="shorter"):
        privacy.erase(fresh_database, Subject(user_id=ANNA))
    monkeypatch.setenv("TIDEMARK_HASH_KEY", "the key that is the right one")
    privacy.erase(fresh_database, Subject(user_id=ANNA))
    monkeypatch.setenv("TIDEMARK_HASH_KEY", "another key that is long enough")
    with pytest.raises(TidemarkError, match="not the key"):
        load(fresh_database, home, [event(userId=ANNA, n=1)])
    monkeypatch.delenv("TIDEMARK_HASH_KEY")
    monkeypatch.setattr("ingest.hash_key.names_a_server", lambda: "DATABASE_URL")
    with pytest.raises(TidemarkError, match="There is no key"):
        load(fresh_database, home, [event(userId=ANNA, n=1)])
    assert count(fresh_database, "select count(*) from raw.loads") == 1


def test_a_spreadsheet_runs_nothing():
    assert [cell(value) for value in ("=1+1", "+x", "-5.2", "-x", "@a", "a", 7, None, {"a": "=1"})] == [
        "'=1+1", "'+x", "-5.2", "'-x", "'@a", "a", 7, None, '{"a": "=1"}'
    ]  # fmt: skip


def test_an_unknown_request_is_refused(fresh_database):
    with pytest.raises(TidemarkError, match="There is no request"):
        privacy.answer_requests(fresh_database, ["forget'; --"])


# Keys that models read and whose strings are free text, numbers or times: nothing of them is to be kept by name.
NOT_KEPT = frozenset(("message", "error", "errormessage", "name", "tokens", "cost", "tags"))


def test_every_key_that_models_read_is_kept_by_an_erasure_or_known_not_to_be():
    folder = Path(privacy.__file__).parents[2]
    sql_files = [path for part in ("models", "macros", "functions") for path in (folder / part).rglob("*.sql")]
    told = re.compile(r"(?:properties|metadata|traits|told|entry(?:\.value)?|value) ->>? '(\w+)'")
    read = {bare(key) for path in sql_files for key in told.findall(path.read_text(encoding="utf-8"))}
    read |= {
        bare(key)
        for path in sql_files
        for pair in re.findall(r"metadata_value\('(\w+)', '(\w+)'\)", path.read_text(encoding="utf-8"))
        for key in pair
    }
    assert {"featureid", "plan", "trigger"} <= read
    # A key that models count by goes into KEPT_KEYS (orchestration/privacy/pseudonyms.py), any other into NOT_KEPT.
    assert read - KEPT_KEYS - NOT_KEPT == set()


def test_what_is_said_of_a_person_is_emptied_and_what_is_counted_is_kept():
    person = Person({"7"}, {"device-phone-1"}, set(), {"anna@example.com"}, "salt")
    names = Pseudonyms("erased-x", person)
    told = {
        "plan": "pro", "feature_id": "chat", "note": "call me", "birthday": "1990-01-01", "zip": "12345",
        "uid": Digits("7"), "count": Digits("77"), "to": "Anna@Example.com", "same": "call me", "page": "/a",
        "nested": [{"model": "gpt-4", "text": "hello"}, True, None], "tags": {"team": "red"},
        "device-phone-1": "x", "url": "/d/device-phone-1/7",
    }  # fmt: skip
    new = names.json(told, True)
    assert (new["plan"], new["feature_id"], new["page"], new["tags"]) == ("pro", "chat", "/a", {"team": "red"})
    assert (new["count"].text, new["nested"][0]["model"], new["nested"][1:]) == ("77", "gpt-4", [True, None])
    assert new["note"] == new["same"] != new["nested"][0]["text"]
    for key in ("note", "birthday", "zip", "uid", "to", "url"):
        assert new[key].startswith("erased-x-"), key
    assert names.name("device-phone-1") in new
    # Twice is once: an erasure that is finished later changes nothing more.
    assert names.json(new, True) == new
    # Of another's row the mentions alone go; a 7 is no mention.
    other = names.json(told, False)
    changed = {key for key in told if other.get(key) != told[key]}
    assert changed == {"to", "device-phone-1", "url"}
    # Lists of known form hold times and numbers as text too.
    assert names.json({"signup": "2026-03-10T09:00:00Z"}, True, "form") == {"signup": "2026-03-10T09:00:00Z"}
    assert names.referrer("https://user:pw@mail.example:8080/inbox?to=me") == "https://mail.example:8080/"
    assert names.url("/a?utm_source=x&token=y&utm_source#top", frozenset({"utm_source"})) == "/a?utm_source=x"


@pytest.mark.parametrize(
    "key", ["a key that is long enough", "with \\ and 'quotes' and \"more\"", "$HOME `x` -c a=b ü"]
)
def test_sessions_of_dbt_know_the_key(fresh_database, monkeypatch, key):
    monkeypatch.setenv("TIDEMARK_HASH_KEY", key)
    told = fresh_database.environment()
    monkeypatch.setenv("PGOPTIONS", told["PGOPTIONS"])
    # Told again to a process that has it already, it stands there once.
    assert resolve(fresh_database.database).environment()["PGOPTIONS"] == told["PGOPTIONS"]
    with psycopg.connect(fresh_database.conninfo(), options=told["PGOPTIONS"]) as connection:
        assert connection.execute("select current_setting('tidemark.hash_key')").fetchone() == (key,)


def test_production_refreshes_with_a_key_alone(connection, monkeypatch):
    monkeypatch.delenv("TIDEMARK_HASH_KEY")
    check_hash_key(connection)
    monkeypatch.setenv("TIDEMARK_ENVIRONMENT", "production")
    with pytest.raises(TidemarkError, match="TIDEMARK_HASH_KEY is not set"):
        check_hash_key(connection)
    monkeypatch.setenv("TIDEMARK_HASH_KEY", "a key that is long enough")
    check_hash_key(connection)
