"""Identifies, costs, privacy requests, what a widget's session tells, and records of people who did not consent."""

import json
from decimal import Decimal

import pytest
from careful_reader import records_of
from hypothesis import given
from hypothesis import strategies as st

from ingest.connection import connect
from ingest.load import load_file, load_paths
from ingest.sample import write_sample
from ingest.streams import consent
from ingest.streams.consent import denies, text_denies
from ingest.streams.record import SEPARATOR
from ingest.streams.registry import NAMES, READ
from ingest.streams.shape import camel

AT = "2026-03-02T11:02:00Z"
AT_TEXT = "2026-03-02T11:02:00+00:00"
IDENTIFY = {"user_id": "u1", "timestamp": AT}
COST = {"amount": "25.00", "timestamp": AT}
ASKED = {"type": "erase", "user_id": "u1", "requested_at": AT}


def decode(stream, record, app=None):
    return READ[stream](app).decode(record if isinstance(record, bytes) else json.dumps(record).encode())


def one(stream, record, app=None):
    """The only row of a record, as text by column without the empty ones; nothing may be refused."""
    decoded = decode(stream, record, app)
    assert not decoded.refused, decoded.refused
    ((_, row),) = decoded.rows
    told = dict(zip(READ[stream].columns, row.split(SEPARATOR), strict=True))
    return {name: text for name, text in told.items() if text}


def refusal(stream, record):
    decoded = decode(stream, record)
    assert (decoded.records, len(decoded.rows)) == (1, 0)
    (found,) = decoded.refused
    return found


def parts(row, *names):
    return tuple(row.get(name) for name in names)


# Identifies


def test_a_widgets_identify():
    row = one(
        "identifies",
        {
            "sessionId": "wsess_1", "anonymousId": "visitor_123", "user_id": "user_123",
            "user_email": "user@example.com", "user_name": "John Doe",
            "user_metadata": {"plan": "pro", "signup_date": "2024-01-01"}, "timestamp": AT,
        },
    )  # fmt: skip
    assert parts(row, "session_id", "anonymous_id", "user_id", "email", "name", "occurred_at", "session_group") == (
        "wsess_1", "visitor_123", "user_123", "user@example.com", "John Doe", AT_TEXT, "s:wsess_1",
    )  # fmt: skip
    assert json.loads(row["properties"]) == {"plan": "pro", "signup_date": "2024-01-01"}
    assert row["identify_id"] == row["content_hash"]


@pytest.mark.parametrize("traits", ["properties", "traits", "userProperties", "$set"])
def test_traits_give_email_and_name_away(traits):
    told = {"email": "user@example.com", "name": "John", "role": "admin", "signupDate": "2024-01-01"}
    row = one("identifies", {"distinctId": "u1", "$anon_distinct_id": "v1", traits: told, "timestamp": AT})
    assert parts(row, "user_id", "anonymous_id", "email", "name") == ("u1", "v1", "user@example.com", "John")
    assert json.loads(row["properties"]) == {"role": "admin", "signupDate": "2024-01-01"}


def test_an_email_told_twice_leaves_the_traits_too():
    row = one("identifies", {**IDENTIFY, "email": "a@example.com", "traits": {"email": "a@example.com", "x": 1}})
    assert (row["email"], row["properties"]) == ("a@example.com", '{"x":1}')


@pytest.mark.parametrize("key", ["timestamp", "clientTimestamp", "client_timestamp", "createdAt", "occurredAt"])
@pytest.mark.parametrize("time", [AT, "2026-03-02 11:02:00+00", 1772449320, 1772449320000, "1772449320000"])
def test_every_time_of_an_identify(key, time):
    assert one("identifies", {"userId": "u", key: time})["occurred_at"] == AT_TEXT


@pytest.mark.parametrize(
    ("ids", "group"),
    [
        ({"visitorId": "v", "userId": "u"}, "a:v"),
        ({"userId": "u"}, "u:u"),
        ({"userId": "u", "sessionId": "anon-1"}, "s:anon-1"),
        ({"email": "a@example.com", "id": "i1"}, "e:i1"),
    ],
)
def test_the_group_of_an_identify(ids, group):
    row = one("identifies", {"timestamp": AT, **ids})
    assert row["session_group"] == group
    assert row.get("anonymous_id") == {"s:anon-1": "anon-1", "a:v": "v"}.get(group)


# Costs


def test_a_cost_line_with_everything():
    line = {
        "costId": "c_1", "occurredAt": AT, "costType": "embedding", "vendor": "openai", "serviceName": "embeddings",
        "modelId": "text-3", "requestId": "req_1", "amount": "1.2345", "currency": "eur", "userId": "u", "teamId": "t",
        "projectId": "p", "workspaceId": "w", "organizationId": "o", "feature": "search",
        "periodStart": "2026-03-01", "periodEnd": "2026-04-01", "tags": {"env": "prod"}, "quantity": 3,
    }  # fmt: skip
    row = one("costs", line)
    expected = {
        "cost_id": "c_1", "occurred_at": AT_TEXT, "category": "embedding", "provider": "openai",
        "service": "embeddings", "model": "text-3", "request_id": "req_1", "amount": "1.2345", "currency": "EUR",
        "user_id": "u", "team_id": "t", "project_id": "p", "workspace_id": "w", "org_id": "o", "feature_id": "search",
        "period_start_at": "2026-03-01T00:00:00+00:00", "period_end_at": "2026-04-01T00:00:00+00:00",
        "session_group": "u:u", "withheld": "f",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["properties"]) == {"tags": {"env": "prod"}, "quantity": 3}
    assert one("costs", {camel(key): value for key, value in line.items()}) == row


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=12))
def test_no_digit_of_an_amount_is_lost_and_credits_are_negative(amount):
    row = one("costs", b'{"timestamp":1772449320,"amount":%s}' % format(amount, "f").encode())
    assert Decimal(row["amount"]) == amount


@pytest.mark.parametrize(
    ("told", "amount", "currency", "kept"),
    [
        ({"amount": 3}, "3", "USD", {}),
        ({"cost": "3.10", "currency": "GBP"}, "3.10", "GBP", {}),
        ({"amountUsd": 3, "currency": "EUR"}, "3", "USD", {"currency": "EUR"}),
        ({"amount": 3, "currency": "EUR", "cost_usd": 4}, "3", "EUR", {"cost_usd": 4}),
    ],
)
def test_an_amount_and_its_currency(told, amount, currency, kept):
    row = one("costs", {"timestamp": AT, **told})
    assert parts(row, "amount", "currency") == (amount, currency)
    assert json.loads(row["properties"]) == kept


def test_a_cost_of_a_period_alone_stands_at_its_start():
    row = one("costs", {"amount": 9, "periodStart": "2026-03-01", "periodEnd": "2026-04-01"})
    assert row["occurred_at"] == "2026-03-01T00:00:00+00:00"


def test_owners_in_properties_are_copied_and_stay():
    row = one("costs", {**COST, "metadata": {"teamId": "t", "project_id": "p", "plan": {"no": "text"}}})
    assert parts(row, "team_id", "project_id", "plan") == ("t", "p", None)
    assert json.loads(row["properties"])["teamId"] == "t"


# Privacy requests


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("erase", "erase"), ("delete", "erase"), ("Erasure", "erase"), ("right-to-be-forgotten", "erase"),
        ("right to erasure", "erase"), ("gdpr_delete_request", "erase"), ("deleteAccount", "erase"),
        ("data_deletion", "erase"), ("eraseUserData", "erase"), ("export", "export"), ("data-export", "export"),
        ("access", "export"), ("portability", "export"), ("right_to_access", "export"), ("opt_out", "opt_out"),
        ("opt-out", "opt_out"), ("optOut", "opt_out"), ("OPT OUT", "opt_out"), ("object", "opt_out"),
        ("opt_in", "opt_in"), ("optIn", "opt_in"), ("opted-in", "opt_in"),
    ],
)  # fmt: skip
def test_every_spelling_of_a_request(told, meant):
    assert one("privacy_requests", {**ASKED, "type": told})["request_type"] == meant


@pytest.mark.parametrize(
    ("ids", "column", "value", "group"),
    [
        ({"userId": "u"}, "user_id", "u", "u:u"),
        ({"anonymous_id": "v"}, "anonymous_id", "v", "a:v"),
        ({"sessionId": "anon-7"}, "anonymous_id", "anon-7", "a:anon-7"),
        ({"email": "a@example.com", "requestId": "r"}, "email", "a@example.com", "e:r"),
        ({"metadata": {"userEmail": "a@example.com"}, "id": "r"}, "email", "a@example.com", "e:r"),
    ],
)
@pytest.mark.parametrize("time", ["requestedAt", "requested_at", "timestamp", "createdAt"])
def test_whom_a_request_is_about(ids, column, value, group, time):
    row = one("privacy_requests", {"action": "opt_out", time: AT, **ids})
    assert parts(row, column, "session_group", "requested_at") == (value, group, AT_TEXT)


def test_a_request_is_kept_although_it_denies_consent():
    row = one("privacy_requests", {**ASKED, "type": "opt-out", "consent": False, "dnt": 1})
    assert parts(row, "user_id", "request_type") == ("u1", "opt_out")
    spoiled = refusal("privacy_requests", {**ASKED, "type": "sing", "consent": False})
    assert consent.without_person("privacy_requests", spoiled) is spoiled


# All three


@pytest.mark.parametrize(
    ("stream", "record", "field"),
    [
        ("identifies", {"user_id": "u1"}, "occurred_at"),
        ("identifies", {"session_id": "s1", "timestamp": AT}, "user_id"),
        ("identifies", {**IDENTIFY, "traits": "x"}, "properties"),
        ("identifies", {**IDENTIFY, "user_id": {"a": 1}}, "user_id"),
        ("costs", {"timestamp": AT}, "amount"),
        ("costs", {**COST, "amount": "many"}, "amount"),
        ("costs", {**COST, "amount": "1e15"}, "amount"),
        ("costs", {**COST, "currency": "dollars"}, "currency"),
        ("costs", {"amount": 1}, "occurred_at"),
        ("costs", {**COST, "timestamp": "9999-12-31T00:00:00Z"}, "occurred_at"),
        ("costs", {**COST, "periodStart": "2026-03-02", "periodEnd": "2026-03-01"}, "period_end_at"),
        ("privacy_requests", {**ASKED, "type": "sing"}, "request_type"),
        ("privacy_requests", {**ASKED, "type": None}, "request_type"),
        ("privacy_requests", {**ASKED, "user_id": None}, "user_id"),
        ("privacy_requests", {**ASKED, "requested_at": None}, "requested_at"),
        ("privacy_requests", {**ASKED, "email": "nobody"}, "email"),
        ("costs", b"17", None),
        ("costs", b'{"amount":1,', None),
    ],
)
def test_what_is_refused_names_the_field(stream, record, field):
    found = refusal(stream, record)
    assert found.field == field
    assert found.reason


@pytest.mark.parametrize(
    ("stream", "record", "id_column", "id_key"),
    [
        ("identifies", IDENTIFY, "identify_id", "id"),
        ("costs", COST, "cost_id", "costId"),
        ("privacy_requests", ASKED, "request_id", "requestId"),
    ],
)
def test_an_id_is_the_producers_or_the_contents_hash(stream, record, id_column, id_key):
    row = one(stream, record)
    assert row[id_column] == row["content_hash"]
    assert one(stream, dict(reversed(record.items()))) == row
    assert one(stream, {**record, "color": "red"})[id_column] != row[id_column]
    assert one(stream, {**record, id_key: "mine"})[id_column] == "mine"
    assert one(stream, record, app="shop")["app_id"] == "shop"
    assert one(stream, {**record, "chatbotId": "bot"}, app="shop")["app_id"] == "bot"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "NaN", "erase", AT, "a@example.com", "USD", "1.50", "denied", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["consent", "email", "a"]), inner),
    max_leaves=4,
)  # fmt: skip


@pytest.mark.parametrize("stream", ["identifies", "costs", "privacy_requests"])
@given(data=st.data())
def test_whatever_a_record_says_it_is_one_row_or_one_refusal_in_either_key_style(stream, data):
    keys = st.sampled_from([*READ[stream].shape.attributes, "consent", "dnt", "shirt"])
    record = data.draw(st.dictionaries(keys, ANYTHING))
    snake, camelled = (decode(stream, told) for told in (record, {camel(key): record[key] for key in record}))
    assert snake.records == len(snake.rows) + len(snake.refused) == 1
    assert camelled.rows == snake.rows
    assert [found.field for found in camelled.refused] == [found.field for found in snake.refused]


# What a widget's session and its increments tell


@pytest.mark.parametrize(
    ("told", "counter", "increment"),
    [
        ({"type": "sent"}, "messages_sent", 1),
        ({"direction": "received", "count": 2}, "messages_received", 2),
        ({"type": "opened"}, "widget_opened_count", 1),
        ({"type": "minimized", "count": "3"}, "widget_minimized_count", 3),
        ({"event_name": "session_increment", "type": "sent", "by": 4}, "messages_sent", 4),
        (
            {"event": "session_increment", "properties": {"counter": "messages_sent", "increment": 1}},
            "messages_sent",
            1,
        ),
        ({"event": "session_increment", "properties": {"counter": "messagesSent"}}, "messages_sent", 1),
    ],
)
def test_every_form_of_an_increment(told, counter, increment):
    row = one("events", {"sessionId": "s1", "timestamp": AT, **told})
    assert parts(row, "event_name", "session_group") == ("session_increment", "s:s1")
    assert json.loads(row["properties"]) == {"counter": counter, "increment": increment}


def test_what_is_no_increment_keeps_its_name():
    for told in (
        {"event_name": "opened"},
        {"type": "sent", "category": "email"},
        {"type": "sent", "metadata": {"a": 1}},
    ):
        assert one("events", {"sessionId": "s1", "timestamp": AT, **told})["event_name"] in ("opened", "sent")
    assert one("events", {"userId": "u1", "timestamp": AT, "type": "sent"})["event_name"] == "sent"
    assert refusal("events", {"sessionId": "s", "timestamp": AT, "type": "sent", "count": -1}).field == "increment"


def test_an_increment_of_something_unknown_is_kept_as_it_is():
    for told in (
        {"counter": "tabs", "increment": 2},
        {"type": ["sent"], "count": {"n": 1}},
        {"direction": {}, "by": 3},
    ):
        row = one("events", {"event_name": "session_increment", "sessionId": "s1", "timestamp": AT, **told})
        assert json.loads(row["properties"]) == told
    assert refusal("events", {"sessionId": "s1", "timestamp": AT, "direction": ["sent"]}).field == "event_name"


def test_every_form_of_a_session_upsert():
    told = {"chatbotId": "bot", "session_id": "s1", "anonymous_id": "v1"}
    landed = one("events", {**told, "landing_page": "/pricing", "timestamp": AT})
    assert parts(landed, "event_name", "landing_page") == ("session_upsert", "/pricing")
    table = {"id": "7", "started_at": AT, "messages_sent": 3, "messagesReceived": 2, "had_conversation": True}
    row = one("events", {**told, **table})
    assert parts(row, "event_name", "event_id", "occurred_at") == ("session_upsert", "7", AT_TEXT)
    assert json.loads(row["properties"]) == {
        "started_at": AT, "messages_sent": 3, "messages_received": 2, "had_conversation": True,
    }  # fmt: skip
    assert one("events", {**told, **table, "created_at": 1772449320})["occurred_at"] == AT_TEXT


@pytest.mark.parametrize(
    ("client", "server", "created", "chosen"),
    [
        ("2026-03-02 11:02:00+00", "2026-03-03 11:02:00+00", "2026-03-09 00:00:00+00", AT_TEXT),
        ("2026-03-01 11:01:59+00", "2026-03-02 11:02:00+00", "2026-03-09 00:00:00+00", AT_TEXT),
        (None, "2026-03-02 11:02:00+00", "2026-03-09 00:00:00+00", AT_TEXT),
        (None, None, "2026-03-02 11:02:00+00", AT_TEXT),
    ],
)
def test_the_time_of_a_row_of_widget_events(client, server, created, chosen):
    row = one(
        "events",
        {
            "id": "6f1d", "chatbot_id": "bot", "session_id": "s1", "event_name": "message_sent", "properties": {},
            "client_timestamp": client, "timestamp": server, "created_at": created,
        },
    )  # fmt: skip
    assert parts(row, "event_id", "app_id", "occurred_at") == ("6f1d", "bot", chosen)


def test_every_value_of_a_web_vital_is_an_event_and_names_its_metric():
    vital = {"name": "CLS", "rating": "good", "delta": 0.01, "id": "v4-1", "pageUrl": "/a", "sessionId": "s1"}
    first = one("events", {**vital, "value": 0.01, "timestamp": AT})
    last = one("events", {**vital, "value": 0.02, "timestamp": AT})
    assert parts(last, "event_name", "event_category", "page_url") == ("web_vitals", "performance", "/a")
    told = json.loads(last["properties"], parse_float=Decimal)
    assert told == {
        "name": "CLS", "value": Decimal("0.02"), "rating": "good", "delta": Decimal("0.01"), "metric_id": "v4-1",
    }  # fmt: skip
    assert first["event_id"] != last["event_id"]


# Consent

DENIALS = [
    {"doNotTrack": True}, {"dnt": "1"}, {"do_not_track": 1}, {"DNT": "yes"}, {"properties": {"doNotTrack": "true"}},
    {"context": {"headers": {"Do-Not-Track": "1"}}}, {"consent": False}, {"hasConsent": "false"},
    {"analytics_consent": 0}, {"trackingConsent": "denied"}, {"consentGiven": "no"}, {"metadata": {"consent": "0"}},
    {"consent": {"analytics": False, "marketing": True}}, {"consent": {"analytics_storage": "denied"}},
    {"properties": {"cookie_consent": {"status": "rejected"}}}, {"consentWithdrawn": True},
    {"consent_status": "opt-out"},
]  # fmt: skip
CONSENTS = [
    {}, {"doNotTrack": None}, {"dnt": "0"}, {"dnt": "unspecified"}, {"doNotTrack": False}, {"consent": True},
    {"consent": None}, {"consent": "granted"}, {"hasConsent": 1}, {"marketingConsent": False}, {"consentId": 0},
    {"consent": {"analytics": True, "marketing": False}}, {"label": "consent: false"}, {"event": "consent_denied"},
    {"text": "do not track", "color": False}, {"consent": "pending"}, {"track": "1"}, {"analytics": False},
]  # fmt: skip


@pytest.mark.parametrize("said", DENIALS)
def test_who_says_do_not(said):
    record = json.dumps({"a": 1, **said, "z": "x"}).encode()
    assert denies(record)
    assert text_denies(record[:-1])
    assert text_denies(json.dumps({"a": 1, "z": "x", **said}, separators=(",", ":")).encode()[:-1])
    escaped = record.replace(b"onsent", rb"\u006fnsent").replace(b"rack", rb"\u0072ack").replace(b"dnt", rb"\u0064nt")
    assert denies(escaped)


@pytest.mark.parametrize("said", CONSENTS)
def test_who_does_not_say_so(said):
    record = json.dumps({"a": 1, **said}).encode()
    assert not denies(record)
    assert not text_denies(record)


SECRET = "secret"
IDS = {
    "sessionId": "secret-session", "anonymousId": "secret-visitor", "userId": "secret-user",
    "email": "secret@x.example", "userAgent": "secret-agent", "ip": "203.0.113.77",
    "pageUrl": "https://x.example/?who=secret", "city": "secret",
}  # fmt: skip
WITHHELD = {
    "events": {**IDS, "eventName": "clicked", "category": "ui", "appId": "shop", "timestamp": AT, "note": "secret"},
    "llm_requests": {**IDS, "requestId": "secret", "model": "gpt-4o", "cost": 1, "appId": "shop", "timestamp": AT},
    "session_batches": {
        **IDS, "batchId": "5ec2e700-0000-4000-8000-000000000001", "startedAt": AT, "pathSequence": ["/secret"],
        "pathTimings": [0], "metadata": {"name": "secret", "appId": "shop"}, "errorEvents": ["secret"],
        "goalEvents": {"secret": AT},
    },
    "identifies": {**IDS, "traits": {"name": "secret"}, "appId": "shop", "timestamp": AT},
    "costs": {**IDS, "amount": 4, "category": "ui", "requestId": "secret", "appId": "shop", "timestamp": AT},
}  # fmt: skip


@pytest.mark.parametrize("stream", WITHHELD)
def test_of_a_withheld_record_time_app_name_and_category_stay(stream):
    row = one(stream, {**WITHHELD[stream], "doNotTrack": "1"})
    assert row["withheld"] == "t"
    assert row["session_group"] == "w:" + row["content_hash"]
    assert row["app_id"] == "shop"
    assert row["started_at" if stream == "session_batches" else "occurred_at"] == AT_TEXT
    assert row.get("event_category", "ui") == row.get("category", "ui") == "ui"
    assert SECRET not in "".join(row.values())
    assert "203.0.113.77" not in "".join(row.values())
    # Nothing of the person is in the hash either: another one's record of the same time gives the same row.
    other = json.loads(json.dumps(WITHHELD[stream]).replace("secret", "other"))
    assert one(stream, {**other, "consent": False}) == row
    asked = {**WITHHELD[stream], "errorEvents": []} if stream == "session_batches" else WITHHELD[stream]
    assert one(stream, asked)["withheld"] == "f"


def test_consent_in_one_event_of_a_body_concerns_that_event_and_on_the_body_all():
    body = {"chatbotId": "bot", "sessionId": "secret-session", "user_agent": "secret-agent"}
    denied = {"event_name": "a", "event_category": "ui", "timestamp": AT, "properties": {"dnt": "1", "x": "secret"}}
    free = {"event_name": "b", "timestamp": AT}

    def of(record):
        decoded = decode("events", record)
        assert not decoded.refused
        return [dict(zip(READ["events"].columns, row.split(SEPARATOR), strict=True)) for _, row in decoded.rows]

    first, second = of({**body, "events": [denied, free]})
    assert parts(first, "withheld", "event_name", "event_category", "app_id") == ("t", "a", "ui", "bot")
    assert SECRET not in "".join(first.values())
    assert parts(second, "withheld", "session_id", "user_agent") == ("f", "secret-session", "secret-agent")
    everyone = of({**body, "consent": False, "events": [denied, free]})
    assert [row["withheld"] for row in everyone] == ["t", "t"]
    assert SECRET not in "".join("".join(row.values()) for row in everyone)


# In the database


@pytest.fixture
def loader(fresh_database):
    with connect(fresh_database, autocommit=True) as connection:
        yield connection


def everything_in_raw(connection):
    """Every row of every table of raw as text, bytes of rejects shown as characters."""
    tables = [
        name
        for (name,) in connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'raw'"
        )
    ]
    rows = [row for name in tables for (row,) in connection.execute(f"select t::text from {name} as t")]
    rows += [row for (row,) in connection.execute("select encode(record, 'escape') from raw.rejects")]
    return rows


def write(path, *records):
    lines = (record if isinstance(record, bytes) else json.dumps(record).encode() for record in records)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_nothing_of_a_person_who_did_not_consent_is_anywhere_in_raw(loader, tmp_path):
    for stream, record in WITHHELD.items():
        bad_time = {**record, "timestamp": "secret", "startedAt": "secret", "dnt": 1}
        cut_short = json.dumps({**record, "consent": {"analytics": False}}).encode()[:-2]
        overlong = b'{"dnt":"1","who":"secret","pad":"' + b"x" * 8_400_000 + b'"}'
        lines = [{**record, "doNotTrack": True}, {**record, "hasConsent": "no"}, bad_time, cut_short, overlong]
        if stream == "events":
            event = {"event_name": "a", "user_id": "secret", "dnt": True}
            lines.append(
                {"sessionId": "secret", "events": [{**event, "timestamp": AT}, {**event, "timestamp": "secret"}]}
            )
        result = load_file(loader, write(tmp_path / f"{stream}.ndjson", *lines))
        extra = 1 if stream == "events" else 0
        assert (result.records, result.loaded, result.rejected) == (5 + 2 * extra, 2 + extra, 3 + extra)
        found = loader.execute(f"select count(*), bool_and(withheld) from raw.{stream}").fetchone()
        assert found == (2 + extra, True)
    rows = everything_in_raw(loader)
    assert len(rows) > 30
    assert [row for row in rows if SECRET in row or "203.0.113.77" in row or "5ec2e700" in row] == []
    kept = loader.execute("select distinct octet_length(record), reason from raw.rejects").fetchall()
    assert kept == [(0, consent.REASON)]


def test_the_other_rejects_keep_their_bytes(loader, tmp_path):
    bad = b'{"eventName":"a","userId":"u1","consent":true}'
    result = load_file(loader, write(tmp_path / "events.ndjson", bad))
    assert result.rejected == 1
    assert loader.execute("select record, field from raw.rejects").fetchall() == [(bad, "occurred_at")]


def test_the_three_streams_of_the_sample_are_in_raw_or_rejects(loader, tmp_path):
    write_sample(tmp_path / "sample", seed=3, days=15, visitors=40)
    for stream in ("identifies", "costs", "privacy_requests"):
        folder = tmp_path / "sample" / stream
        results = load_paths(loader, [folder])
        assert {result.status for result in results} <= {"loaded", "already loaded"}
        records, bad = records_of(folder)
        assert sum(result.loaded for result in results) == len(records) > 0
        assert sum(result.rejected for result in results) == bad > 0
        assert loader.execute(f"select count(*) from raw.{stream}").fetchone() == (len(records),)
        if stream == "costs":
            total = sum(Decimal(record["amount"]) for record in records)
            assert loader.execute("select sum(amount) from raw.costs").fetchone() == (total,)
            again = load_file(loader, results[0].file, force=True)
            assert again.loaded == results[0].loaded
            distinct = "select count(*), count(distinct (content_hash, cost_id)) from raw.costs"
            lines, costs = loader.execute(distinct).fetchone()
            assert lines > costs


def test_every_stream_has_its_partitions_ahead_and_a_default(loader):
    for stream in NAMES:
        parent = "events_audit" if stream == "events" else stream
        names = [
            name
            for (name,) in loader.execute(
                "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass", [f"raw.{parent}"]
            )
        ]
        assert f"raw.{parent}_default" in names
        today = loader.execute("select to_char(now() at time zone 'UTC', 'YYYYMMDD')").fetchone()[0]
        assert f"raw.{parent}_{today}" in names
        assert len(names) >= 1 + 8
