"""Law 8: after an erasure no relation and no file holds the person, and what was counted stays counted."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path

import pytest
import zstandard

from ingest.connection import connect
from ingest.load import load_file
from orchestration import privacy
from orchestration.privacy import Subject
from orchestration.privacy.person import find
from tests.warehouse.conftest import STREAMS, Warehouse, assert_same, kill_at_a_random_moment, under_one_name

ANNA, HER_PHONE, HER_OFFICE, ADDRESS = "user-anna-77", "device-phone-1", "device-office-2", "Anna.Smith@example.com"
BEN, SHARED = "user-ben-88", "device-shared-3"
CARL = "user-carl-99"
KEY = "a key, \\long enough"
NOTE = "Please call Anna on her private number"
IDS = [ANNA, HER_PHONE, HER_OFFICE, SHARED, ADDRESS, "sess-anna-1", "sess-anna-2", "sess-phone-3"]
SECRETS = [*IDS, NOTE, "Anna Smith", "203.0.113.77", "anna-secret-token"]


def event(name: str, at: str, **more: object) -> dict:
    return {"eventName": name, "appId": "shop", "timestamp": f"2026-03-{at}Z"} | more


EVENTS = [
    event("page_view", "10T09:00:00", sessionId="sess-anna-1", anonymousId=HER_PHONE, page_title=f"{NOTE} 1",
          page_url="https://shop.example/pricing?utm_source=google&token=anna-secret-token", ip="203.0.113.77"),
    event("signup_completed", "10T09:05:00", sessionId="sess-anna-1", userId=ANNA, isConversion=True, revenue=12.5,
          currency="USD", properties={"note": NOTE, "plan": "pro", "amount": 3, "mail": ADDRESS.lower()}),
    event("page_view", "11T10:00:00", sessionId="sess-anna-2", anonymousId=HER_OFFICE, userId=ANNA,
          page_url=f"https://shop.example/users/{ANNA}/orders", referrer=f"https://mail.example/?to={ADDRESS}"),
    event("error", "11T10:01:00", sessionId="sess-anna-2", userId=ANNA, eventCategory="error",
          properties={"errorType": "network", "errorMessage": NOTE}),
    # Before the sign-in on the phone, and known to be hers by that alone.
    event("page_view", "09T08:00:00", sessionId="sess-phone-3", anonymousId=HER_PHONE, page_url="https://shop.example/"),
    # A device that Anna and Ben share: hers first, his later.
    event("page_view", "12T08:00:00", sessionId="sess-4", anonymousId=SHARED, userId=ANNA),
    event("page_view", "13T08:00:00", sessionId="sess-5", anonymousId=SHARED, userId=BEN),
    # Another's rows that mention her, and one whose short id is part of everything.
    event("profile_viewed", "14T08:00:00", userId=BEN, sessionId="sess-6", properties={"target": ANNA, "count": 77},
          page_url=f"https://shop.example/users/{ANNA}"),
    *(event("page_view", f"{day}T12:00:00", userId=CARL, sessionId=f"sess-carl-{day}",
            page_url="https://shop.example/pricing") for day in range(10, 20)),
]  # fmt: skip
IDENTIFIES = [
    {"userId": ANNA, "anonymousId": HER_PHONE, "email": ADDRESS, "name": "Anna Smith", "traits": {"plan": "pro"},
     "timestamp": "2026-03-10T09:04:00Z"},
    {"userId": BEN, "email": "ben@example.com", "traits": {"plan": "free"}, "timestamp": "2026-03-10T09:04:00Z"},
]  # fmt: skip
REQUESTS = [
    {"requestId": f"req-{n}", "userId": user, "sessionId": session, "modelId": "gpt-4", "inputTokens": 100 * n,
     "outputTokens": 200, "cost": f"0.0{n}5", "timestamp": f"2026-03-{day}T09:0{n}:00Z", "feature": "chat"}
    for n, (user, session, day) in enumerate(
        [(ANNA, "sess-anna-1", 10), (ANNA, "sess-anna-2", 11), (BEN, "sess-6", 14), (CARL, "sess-carl-12", 12),
         (CARL, "sess-carl-15", 15)], start=1)
]  # fmt: skip
REQUESTS.append({"requestId": "req-1", "feedback": NOTE, "userId": ANNA, "timestamp": "2026-03-10T10:00:00Z"})
COSTS = [
    {"costId": "c-1", "category": "embedding", "amount": "1.2345678901", "userId": ANNA, "timestamp": "2026-03-10"},
    {"costId": "c-2", "category": "embedding", "amount": "7.5", "userId": CARL, "timestamp": "2026-03-15T00:00:00Z"},
]
ASKED = [
    {"requestId": "ask-1", "type": "erase", "email": ADDRESS, "requestedAt": "2026-03-20T00:00:00Z"},
    {"requestId": "ask-2", "type": "opt_out", "userId": CARL, "requestedAt": "2026-03-15T00:00:00Z"},
    {"requestId": "ask-3", "type": "erase", "anonymousId": "nobody-has-it-1", "requestedAt": "2026-03-21T00:00:00Z"},
]


def lines(records: Iterable[dict]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


LOADS = {"events": EVENTS, "identifies": IDENTIFIES, "llm_requests": REQUESTS, "costs": COSTS}


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse], small_sample: dict[str, list[bytes]]) -> Warehouse:
    """Anna, Ben, Carl and some of the small sample. Copied, never changed."""
    warehouse = make_warehouse()
    for stream in (*STREAMS, "costs"):
        warehouse.load(stream, [*small_sample[stream][:150], *lines(LOADS.get(stream, []))])
    # What cannot be loaded names her too.
    warehouse.load("events", [f'{{"eventName": "x", "userId": "{ANNA}", "timestamp": "{NOTE}"}}'.encode()])
    warehouse.load("privacy_requests", lines(ASKED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_HASH_KEY", KEY)
        warehouse.refresh()
    assert warehouse.query("select count(email_hash) from marts.dim_users where user_id in (%s, %s)", ANNA, BEN) == [
        (2,)
    ]
    return warehouse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of this test alone, and a key."""
    monkeypatch.setenv("TIDEMARK_INBOX", str(tmp_path / "inbox"))
    monkeypatch.setenv("TIDEMARK_EXPORTS", str(tmp_path / "exports"))
    monkeypatch.setenv("TIDEMARK_HASH_KEY", KEY)
    monkeypatch.setenv("TIDEMARK_AS_OF", "2026-04-01T00:00:00Z")
    return tmp_path


TABLES = """
select schemaname, tablename from pg_tables
where schemaname <> 'information_schema' and has_table_privilege(format('%I.%I', schemaname, tablename), 'select')
"""


def found_in_database(warehouse: Warehouse, sought: Iterable[str]) -> list[tuple]:
    """(table, text, rows) of every table of the database, the catalog and its statistics too, that holds a text."""
    found = []
    with connect(warehouse.server, autocommit=True) as connection:
        for schema, table in connection.execute(TABLES).fetchall():
            rows = connection.execute(
                f"""
                select one, count(*) from "{schema}"."{table}" as t
                cross join unnest(%s::text[]) as one
                where strpos(lower(t::text), lower(one)) > 0
                    or strpos(t::text, encode(convert_to(one, 'UTF8'), 'hex')) > 0
                group by 1
                """,
                [list(sought)],
            ).fetchall()
            found += [(f"{schema}.{table}", one, count) for one, count in rows]
    return found


def hashes_of(warehouse: Warehouse, ids: Iterable[str]) -> list[str]:
    """The visitor ids that anybody can make of ids."""
    return [
        visitor
        for (visitor,) in warehouse.query(
            "select md5(kind || one)::uuid::text from unnest(%s::text[]) as one,"
            " unnest(array['user:', 'anonymous:', 'session:s:']) as kind",
            list(ids),
        )
    ]


def found_in_files(folder: Path, sought: Iterable[str]) -> list[tuple]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.name.endswith(".gz"):
                content = gzip.decompress(content)
            if path.name.endswith(".zst"):
                content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            text = path.name + content.decode("utf-8", "replace")
            found += [(path.name, one) for one in sought if one.lower() in text.lower()]
    return found


NUMBERS = ("bigint", "integer", "numeric", "double precision")


def totals(warehouse: Warehouse) -> dict[str, list]:
    """Relation → rows, sums of its numbers, flags that are true, days and ids that differ: no text of it."""
    answers = {}
    for schema, name, columns, types in warehouse.query(
        """
        select table_schema, table_name, array_agg(column_name::text order by ordinal_position),
            array_agg(data_type::text order by ordinal_position)
        from information_schema.columns where table_schema in ('marts', 'intermediate') group by 1, 2
        """
    ):
        counted = ["count(*)"]
        for column, kind in zip(columns, types, strict=True):
            if kind in NUMBERS:
                counted.append(f'sum("{column}")::numeric(40, 9)')
            elif kind == "boolean":
                counted.append(f'count(*) filter (where "{column}")')
            elif kind == "date" or column.endswith(("_id", "_key", "_group", "_at")):
                counted.append(f'count(distinct "{column}")')
        # whether properties look like personal data is no more to be seen where they are gone
        unless_gone = "where issue <> 'personal_data'" if name == "agg_event_issues" else ""
        (row,) = warehouse.query(f"select {', '.join(counted)} from {schema}.{name} {unless_gone}")
        answers[f"{schema}.{name}"] = [f"{what} = {value}" for what, value in zip(counted, row, strict=True)]
    return answers


def fill_folders(home: Path) -> None:
    done, failed, exports = (home / name for name in ("inbox/done", "inbox/failed/deep", "exports"))
    for folder in (done, failed, exports):
        folder.mkdir(parents=True)
    mixed = b"\n".join(lines([EVENTS[1], EVENTS[-1], EVENTS[0]])) + b"\n"
    (done / "events-1.ndjson").write_bytes(mixed)
    (done / "events-2.ndjson.gz").write_bytes(gzip.compress(mixed))
    (done / "events-3.ndjson.zst").write_bytes(zstandard.ZstdCompressor().compress(mixed))
    (done / "events-4.json").write_text(json.dumps([EVENTS[1], EVENTS[-1]], indent=1))
    (done / "events-5.json").write_text(json.dumps(EVENTS[1], indent=2))
    (done / f"events-{ANNA}.ndjson").write_bytes(lines(EVENTS[-1:])[0])
    (done / "events-6.ndjson").write_bytes(lines(EVENTS[-1:])[0])
    (failed / "events-7.ndjson.gz").write_bytes(gzip.compress(mixed)[:-20])
    (failed / "events-7.ndjson.gz.reason").write_text(f"line 1: needs a time, not '{ANNA}'\n")
    (exports / "fct_events.csv").write_text(f"user_id,app_id\n{ANNA},shop\n")
    (exports / "agg_daily_stats.csv").write_text("stat_date,app_id\n2026-03-10,shop\n")
    (exports / "fct_events.parquet").write_bytes(b"PAR1 packed")


def test_erased_means_gone_and_counted_as_before(built, copy_warehouse, home):
    warehouse = copy_warehouse(built)
    fill_folders(home)
    before = totals(warehouse)
    assert {one for _, one, _ in found_in_database(warehouse, SECRETS)} == set(SECRETS)
    visitors = hashes_of(warehouse, IDS)
    assert found_in_database(warehouse, visitors)

    with under_one_name(warehouse.server) as server:
        answers = privacy.answer_requests(server, ["erase"])
    assert [answer.problem for answer in answers] == [None, None]

    assert found_in_database(warehouse, [*SECRETS, *visitors]) == []
    assert found_in_files(home, SECRETS) == []
    assert sorted(path.name for path in home.rglob("*.*") if path.is_file()) == sorted(
        [
            *("events-1.ndjson", "events-2.ndjson.gz", "events-3.ndjson.zst", "events-4.json", "events-6.ndjson"),
            "agg_daily_stats.csv",
        ]
    )
    assert json.loads((home / "inbox/done/events-4.json").read_text()) == [EVENTS[-1]]
    assert gzip.decompress((home / "inbox/done/events-2.ndjson.gz").read_bytes()) == lines(EVENTS[-1:])[0] + b"\n"
    # A row is kept for each record that was rejected, of hers without a word.
    assert warehouse.query("select count(*) from raw.loads where records <> loaded + rejected + refused") == [(0,)]
    assert warehouse.query(
        "select record, cleared_at is null from raw.rejects where starts_with(reason, 'erased')"
    ) == [(b"", False)]
    assert_same(before, totals(warehouse))
    # The number beside the mention of her is no mention.
    assert (
        warehouse.query(
            "select properties ->> 'count' from marts.fct_events where event_name = 'profile_viewed' and user_id = %s",
            BEN,
        )[0][0]
        == "77"
    )
    certificate = warehouse.query(
        "select action, state, person, counts -> 'raw.events' from ops.privacy_certificates order by certificate_id"
    )
    # All events but Carl's, those of the sample and the one of the shared device that is Ben's alone by its user.
    assert certificate[0] == ("erase", "done", None, 8)
    assert warehouse.query("select count(*) from ops.privacy_answers") == [(2,)]

    # Later records of her are refused, whichever id they name, broken ones too; the others of the file are loaded.
    later = [
        event("page_view", "22T09:00:00", userId=ANNA),
        event("page_view", "22T09:00:01", anonymousId=HER_OFFICE, sessionId="sess-new"),
        event("page_view", "22T09:00:02", sessionId="sess-anna-1"),
        event("page_view", "22T09:00:03", anonymousId=SHARED, userId=BEN, sessionId="sess-9"),
        event("page_view", "22T09:00:04", anonymousId="device-of-another", sessionId="sess-10"),
        event("page_view", "22T09:00:05", userId=ANNA) | {"timestamp": "never"},
        event("page_view", "22T09:00:06", userId="another") | {"timestamp": "never"},
    ]
    path = home / "inbox" / "events-late.ndjson"
    path.write_bytes(b"\n".join(lines(later)) + b"\n")
    os.utime(path, (1, 1))
    from ingest.inbox import ingest_inbox

    with connect(warehouse.server, autocommit=True) as connection:
        (result,) = ingest_inbox(connection, settle_seconds=0)
        assert (result.records, result.loaded, result.rejected, result.refused) == (7, 2, 1, 4)
        told = [{"userId": "somebody-new", "email": f" {ADDRESS.upper()} ", "timestamp": "2026-03-22T00:00:00Z"}]
        (home / "identifies.ndjson").write_bytes(lines(told)[0])
        assert load_file(connection, home / "identifies.ndjson").refused == 1
        (home / "identifies.ndjson").unlink()
        assert connection.execute(
            "select records, loaded, rejected, refused from raw.loads order by load_id desc offset 1 limit 1"
        ).fetchone() == (7, 2, 1, 4)
    assert found_in_database(warehouse, SECRETS) == []
    assert found_in_files(home, SECRETS) == []

    # Carl opts out; one refresh takes it and the late rows up, and a build of everything changes nothing more.
    with under_one_name(warehouse.server) as server:
        assert [answer.request_type for answer in privacy.answer_requests(server)] == ["opt_out"]
    run = warehouse.refresh()
    assert (run.rebuilt, run.tests_failed) == ([], [])
    assert warehouse.query("select event_date::text from marts.fct_events where user_id = %s order by 1", CARL) == [
        (f"2026-03-{day}",) for day in range(10, 15)
    ]
    assert warehouse.query("select request_id from marts.fct_llm_requests where user_id = %s", CARL) == [("req-4",)]
    # What he does not want counted is counted as that alone.
    kept_out = "select stream, sum(records) from marts.agg_kept_out where reason = 'opted out' group by 1 order by 1"
    assert warehouse.query(kept_out) == [("events", 5), ("llm_requests", 1)]
    # His money counts on, for nobody.
    assert warehouse.query(
        "select user_id, billed_cost_usd from marts.agg_cost_charges where billed_cost_usd = 7.5"
    ) == [(None, 7.5)]
    contents = warehouse.contents()
    warehouse.query("delete from ops.model_state returning 1")
    assert len(warehouse.refresh().rebuilt) > 20
    assert_same(contents, warehouse.contents())
    assert found_in_database(warehouse, [*SECRETS, *visitors]) == []

    # He comes back; what he did in between stays out.
    with under_one_name(warehouse.server) as server:
        privacy.opt_in(server, Subject(user_id=CARL), at=datetime(2026, 3, 18, tzinfo=timezone.utc))
    warehouse.refresh()
    assert warehouse.query(kept_out) == [("events", 3), ("llm_requests", 1)]
    days = [10, 11, 12, 13, 14, 18, 19]
    assert warehouse.query("select event_date::text from marts.fct_events where user_id = %s order by 1", CARL) == [
        (f"2026-03-{day}",) for day in days
    ]


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.long)])
def test_an_erasure_killed_at_moments_nobody_chose_is_done_by_running_it_again(built, copy_warehouse, home, kills):
    warehouse = copy_warehouse(built)
    fill_folders(home)
    before = totals(warehouse)
    for _ in range(kills):
        command = ["-m", "orchestration", "privacy", "answer", "--type", "erase"]
        kill_at_a_random_moment(warehouse, command, longest=8)
    with under_one_name(warehouse.server) as server:
        privacy.answer_requests(server, ["erase"])
    assert found_in_database(warehouse, [*SECRETS, *hashes_of(warehouse, IDS)]) == []
    assert found_in_files(home, SECRETS) == []
    assert_same(before, totals(warehouse))
    assert warehouse.query("select count(*) from ops.privacy_certificates where state <> 'done'") == [(0,)]
    assert warehouse.query("select count(*) from ops.privacy_answers") == [(2,)]


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.long)])
def test_an_export_of_a_person_killed_at_any_moment_leaves_a_whole_bundle_or_none(built, home, kills):
    whole = privacy.export(built.server, Subject(user_id=ANNA), home / "whole")
    for _ in range(kills):
        command = ["-m", "orchestration", "privacy", "export", "--user-id", ANNA, "--out", str(home / "out")]
        kill_at_a_random_moment(built, command, longest=5)
    privacy.export(built.server, Subject(user_id=ANNA), home / "out")
    for bundle in (home / "out").iterdir():
        told = json.loads((bundle / "person.json").read_text())
        assert {name: len(rows) for name, rows in told["relations"].items()} == whole.rows


def test_an_export_holds_all_of_a_person_and_of_nobody_else(built, home):
    # Reads only, but for its certificate.
    with connect(built.server, autocommit=True) as connection:
        everything = find(connection, Subject(user_id=ANNA))
    assert everything.users == {ANNA}
    assert everything.anonymous == {HER_PHONE, HER_OFFICE, SHARED}
    assert everything.emails == {ADDRESS.lower()}
    bundle = privacy.export(built.server, Subject(anonymous_id=HER_PHONE), home / "out")
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    told = json.loads((bundle.folder / "person.json").read_text())
    assert manifest["rows"] == bundle.rows == {name: len(rows) for name, rows in told["relations"].items()}
    # Her events by hand: two on the phone, three as herself elsewhere, one on the shared device.
    assert bundle.rows["raw.events"] == 6
    assert bundle.rows["marts.fct_events"] == 6
    assert bundle.rows["raw.llm_requests"] == 3
    assert bundle.rows["raw.costs"] == bundle.rows["marts.dim_users"] == 1
    text = (bundle.folder / "person.json").read_text()
    assert BEN not in text
    assert CARL not in text
    assert oct(bundle.folder.stat().st_mode & 0o777) == "0o700"
    assert ANNA not in str(bundle.folder)
    assert sorted(path.stem for path in bundle.folder.glob("*.csv")) == sorted(bundle.rows)


def test_a_refresh_that_runs_is_waited_for(built, home):
    with connect(built.server, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtext('tidemark.privacy'))")
        with pytest.raises(privacy.erasure.TidemarkError, match="Another privacy command"):
            privacy.opt_out(built.server, Subject(user_id="x"), wait_seconds=0.1)
