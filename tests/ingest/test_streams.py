"""What the decoders make of one record, without a database."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.streams import values
from ingest.streams.events import Events
from ingest.streams.events import shape as event_shape
from ingest.streams.lines import check_limits, mend
from ingest.streams.llm_requests import LlmRequests
from ingest.streams.llm_requests import shape as llm_shape
from ingest.streams.record import SEPARATOR
from ingest.streams.registry import READ
from ingest.streams.session_batches import SessionBatches
from ingest.streams.session_batches import shape as batch_shape
from ingest.streams.shape import camel
from ingest.streams.values import Refusal

EVENT = {"event_name": "clicked", "user_id": "u1", "timestamp": "2026-03-02T11:00:00Z"}
REQUEST = {"request_id": "r1", "model": "gpt-4o", "timestamp": "2026-03-02T11:00:00Z"}
BATCH = {
    "session_id": "s1",
    "batch_id": "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01",
    "batch_seq": 0,
    "started_at": "2026-03-02T09:00:00.000Z",
}


def rows(decoder, record):
    """The rows of a record as dicts of text; the record must load whole."""
    decoded = decode(decoder, record)
    assert not decoded.refused, decoded.refused
    return [dict(zip(decoder.columns, row.split(SEPARATOR), strict=True)) for _, row in decoded.rows]


def decode(decoder, record):
    return decoder.decode(record if isinstance(record, bytes) else json.dumps(record).encode())


def one(decoder, record):
    (row,) = rows(decoder, record)
    return row


def refusal(decoder, record):
    """Why a record is refused whole."""
    decoded = decode(decoder, record)
    assert decoded.records == 1
    assert not decoded.rows
    (found,) = decoded.refused
    return found


def camelled(record):
    return {camel(key): value for key, value in record.items()}


# Times


@pytest.mark.parametrize(
    "told",
    [
        "2026-03-02T09:00:00Z",
        "2026-03-02T09:00:00.000Z",
        "2026-03-02T09:00:00",
        "2026-03-02T10:30:00+01:30",
        "2026-03-02 09:00:00+00",
        "2026-03-02 09:00:00.000000+00:00",
        "2026-03-02T09:00Z",
        # 20,514 days and 9 hours after 1970-01-01: 20,514 * 86,400 + 32,400 seconds.
        1772442000,
        1772442000000,
        "1772442000",
        "1772442000000",
        Decimal("1772442000.0"),
    ],
)
def test_every_way_to_tell_a_time_means_the_same_instant(told):
    assert values.timestamp(told, "at") == "2026-03-02T09:00:00+00:00"


def test_a_date_alone_is_its_midnight_in_utc():
    assert values.timestamp("2026-03-02", "at") == "2026-03-02T00:00:00+00:00"


def test_fractions_of_epoch_seconds_keep_their_microseconds():
    assert values.timestamp(Decimal("1772442000.123456"), "at") == "2026-03-02T09:00:00.123456+00:00"


@pytest.mark.parametrize(
    "told",
    [
        "9999-01-01T00:00:00Z",
        "2200-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-02-30T00:00:00Z",
        "2026-03-02T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "soon",
        "20260302",
        10**30,
        -1,
        True,
        {},
        [],
    ],
)
def test_what_is_no_time_or_out_of_range_is_refused_by_name(told):
    with pytest.raises(Refusal) as error:
        values.timestamp(told, "started_at")
    assert error.value.field == "started_at"


# Numbers


@pytest.mark.parametrize(
    ("literal", "stored"),
    [("0.1107", "0.1107"), ("1e-7", "0.0000001"), ("12", "12"), ("0.10", "0.10"), ("1.5E3", "1500")],
)
def test_money_is_the_text_sent(literal, stored):
    record = b'{"request_id":"r","model":"m","timestamp":"2026-03-02T11:00:00Z","cost":%s}' % literal.encode()
    assert one(LlmRequests(), record)["cost_usd"] == stored
    quoted = b'{"request_id":"r","model":"m","timestamp":"2026-03-02T11:00:00Z","cost":"%s"}' % literal.encode()
    assert one(LlmRequests(), quoted)["cost_usd"] == stored


@given(st.decimals(min_value=0, max_value=10**9, places=12))
def test_no_digit_of_money_is_lost(amount):
    record = b'{"model":"m","timestamp":"2026-03-02T11:00:00Z","costUsd":%s}' % format(amount, "f").encode()
    assert Decimal(one(LlmRequests(), record)["cost_usd"]) == amount


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ('"tokens":"many"', "total_tokens"),
        ('"tokens":-1', "total_tokens"),
        ('"tokens":1.5', "total_tokens"),
        ('"tokens":4611686018427387905', "total_tokens"),
        ('"tokens":true', "total_tokens"),
        ('"tokens":[1]', "total_tokens"),
        ('"cost":-0.5', "cost_usd"),
        ('"cost":1e15', "cost_usd"),
        ('"cost":"free"', "cost_usd"),
        ('"cost":{}', "cost_usd"),
        ('"statusCode":2147483648', "status_code"),
        ('"stopped":"perhaps"', "stopped"),
        ('"requestId":{"a":1}', "request_id"),
        ('"requestId":"' + "x" * 256 + '"', "request_id"),
        ('"createdAt":"9999-12-31T00:00:00Z"', "occurred_at"),
    ],
)
def test_a_wrong_type_or_range_is_refused_naming_the_field(told, field):
    at = "" if "createdAt" in told else ',"timestamp":"2026-03-02T11:00:00Z"'
    found = refusal(LlmRequests(), f'{{"model":"m"{at},{told}}}'.encode())
    assert found.field == field
    assert found.reason.startswith(field)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 401 + ".5", "1" * 5000])
def test_numbers_no_column_can_hold_are_refused(literal):
    record = '{"event":"e","timestamp":1772442000,"properties":{"n":%s}}'
    assert one(Events(), (record % "1").encode())["properties"] == '{"n":1}'
    assert refusal(Events(), (record % literal).encode()).reason


@pytest.mark.parametrize("absent", ["null", '""', '"NaN"', '"undefined"', '"null"'])
def test_absent_values_are_no_values(absent):
    told = f'{{"model":"m","timestamp":1772442000,"tokens":{absent},"cost":{absent},"sessionId":{absent},"userId":"u"}}'
    row = one(LlmRequests(), told.encode())
    assert (row["total_tokens"], row["cost_usd"], row["session_id"]) == ("", "", "")
    assert row["session_group"] == "u:u"


def test_largest_count_and_digit_strings_are_accepted():
    row = one(LlmRequests(), {**REQUEST, "tokens": 2**62, "input_tokens": "812"})
    assert (row["total_tokens"], row["input_tokens"]) == (str(2**62), "812")


def test_a_browsers_fraction_of_a_millisecond_is_rounded():
    assert one(LlmRequests(), {**REQUEST, "responseTime": 1500.7})["latency_ms"] == "1501"


# Events


def test_a_post_body_gives_one_row_per_event_with_the_bodys_fields():
    body = {
        "chatbotId": "bot", "sessionId": "w1", "anonymous_id": "v1", "ip_address": "203.0.113.7",
        "utm_source": "google", "screen_width": 1920, "timestamp": "2026-03-02T11:00:05Z",
        "events": [
            {"event_name": "widget_loaded", "client_timestamp": "2026-03-02T11:00:00Z"},
            {"event_name": "widget_opened", "utm_source": "bing", "client_timestamp": "2026-03-02T11:00:01Z"},
        ],
    }  # fmt: skip
    decoded = decode(Events(), body)
    assert [element for element, _ in decoded.rows] == [1, 2]
    first, second = rows(Events(), body)
    assert (first["event_name"], second["event_name"]) == ("widget_loaded", "widget_opened")
    for row in (first, second):
        assert row["session_group"] == "s:w1"
        assert (row["app_id"], row["anonymous_id"], row["screen_width"]) == ("bot", "v1", "1920")
        assert row["ip_address"] == "203.0.113.7"
    assert (first["utm_source"], second["utm_source"]) == ("google", "bing")
    assert first["occurred_at"] == "2026-03-02T11:00:00+00:00"


def test_a_bad_event_of_a_post_body_is_refused_by_itself_and_can_be_loaded_once_mended():
    body = {"chatbotId": "bot", "sessionId": "w1", "events": [EVENT, 7, {"event_name": "no_time"}, EVENT]}
    decoded = decode(Events(), body)
    assert decoded.records == 4
    assert [element for element, _ in decoded.rows] == [1, 4]
    assert [(found.element, found.field) for found in decoded.refused] == [(2, None), (3, "occurred_at")]
    alone = json.loads(decoded.refused[1].record)
    assert alone == {"chatbotId": "bot", "sessionId": "w1", "events": [{"event_name": "no_time"}]}
    alone["events"][0]["timestamp"] = "2026-03-02T11:00:00Z"
    assert one(Events(), alone)["app_id"] == "bot"


def test_an_odd_event_in_a_body_changes_nothing_about_the_others():
    usual = {"chatbotId": "bot", "sessionId": "w1", "user_agent": "UA", "sdk": "1.2", "events": [EVENT]}
    odd = {**usual, "events": [EVENT, {"event_name": "no_time"}]}
    (expected,) = rows(Events(), usual)
    ((_, found),) = decode(Events(), odd).rows
    assert found.split(SEPARATOR) == list(expected.values())
    assert json.loads(expected["properties"]) == {"sdk": "1.2"}


@pytest.mark.parametrize("events", [[], {}, "x", 3, None])
def test_a_body_without_events_is_one_refused_record(events):
    decoded = decode(Events(), {"chatbotId": "bot", "sessionId": "w1", "events": events})
    assert (decoded.records, len(decoded.rows), len(decoded.refused)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"event_name": "a", "event": "b"}, "a"),
        ({"eventName": "a", "action": "b"}, "a"),
        ({"event": "a", "type": "track"}, "a"),
        ({"action": "a", "type": "track"}, "a"),
        ({"type": "a", "properties": {"action": "b"}}, "a"),
    ],
)
def test_the_events_name_by_rank_of_its_keys(told, name):
    assert one(Events(), {"timestamp": 1772442000, **told})["event_name"] == name


def test_a_further_name_is_kept_in_properties():
    row = one(Events(), {"timestamp": 1772442000, "event": "signed_up", "type": "track"})
    assert json.loads(row["properties"]) == {"type": "track"}


def test_unknown_keys_join_the_properties_whose_own_values_win():
    row = one(Events(), {**EVENT, "metadata": {"color": "red", "size": 1}, "color": "blue", "shape": "round"})
    assert json.loads(row["properties"]) == {
        "color": "red", "size": 1, "record.color": "blue", "shape": "round",
    }  # fmt: skip


def test_user_and_time_are_lifted_out_of_properties():
    told = {"event": "session_booked", "properties": {"userId": "u9", "timestamp": "2026-03-02T12:00:00Z", "price": 1}}
    row = one(Events(), told)
    assert (row["user_id"], row["occurred_at"]) == ("u9", "2026-03-02T12:00:00+00:00")
    assert json.loads(row["properties"]) == {"price": 1}
    assert row["session_group"] == "u:u9"


def test_user_and_time_above_win_and_nothing_is_lifted():
    inner = {"userId": "u9", "timestamp": "2026-03-02T12:00:00Z"}
    row = one(Events(), {**EVENT, "properties": inner})
    assert (row["user_id"], row["occurred_at"]) == ("u1", "2026-03-02T11:00:00+00:00")
    assert json.loads(row["properties"]) == inner


def test_ids_and_money_are_copied_from_properties_where_they_fit():
    inner = {"teamId": "t1", "plan": "pro", "revenue": "much", "sessionId": "coaching-7", "currency": "EUR"}
    row = one(Events(), {**EVENT, "properties": inner})
    assert (row["team_id"], row["plan"], row["currency"]) == ("t1", "pro", "EUR")
    assert (row["revenue"], row["session_id"]) == ("", "")
    assert json.loads(row["properties"]) == inner


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"client_timestamp": "2026-03-02T11:00:00Z", "timestamp": "2026-03-03T11:00:00Z"}, "2026-03-02T11:00:00"),
        ({"client_timestamp": "2026-03-02T11:00:00Z", "timestamp": "2026-03-03T11:00:01Z"}, "2026-03-03T11:00:01"),
        ({"client_timestamp": "2026-03-09T11:00:00Z", "timestamp": "2026-03-03T11:00:01Z"}, "2026-03-03T11:00:01"),
        ({"timestamp": "2026-03-02T11:00:00Z", "created_at": "2026-03-02T11:00:09Z"}, "2026-03-02T11:00:00"),
        ({"created_at": "2026-03-02T11:00:09Z"}, "2026-03-02T11:00:09"),
        ({"client_timestamp": "2026-03-02T11:00:00Z", "created_at": "2026-03-09T11:00:09Z"}, "2026-03-02T11:00:00"),
        ({"occurredAt": 1772449200}, "2026-03-02T11:00:00"),
    ],
)
def test_which_of_an_events_times_counts(times, chosen):
    assert one(Events(), {"event": "e", **times})["occurred_at"] == chosen + "+00:00"


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"event_name": "e"}, "occurred_at"),
        ({"event_name": "e", "timestamp": None}, "occurred_at"),
        ({"event_name": "e", "timestamp": "9999-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": 1772442000}, "event_name"),
        ({"event_name": "", "timestamp": 1772442000}, "event_name"),
        ({**EVENT, "ip_address": "somewhere"}, "ip_address"),
        ({**EVENT, "properties": "x"}, "properties"),
        ({**EVENT, "screen_width": "wide"}, "screen_width"),
        ({**EVENT, "isConversion": "yes and no"}, "is_conversion"),
    ],
)
def test_an_event_that_lacks_or_garbles_what_it_needs_is_refused(told, field):
    assert refusal(Events(), told).field == field


def test_records_without_a_name_are_named_by_what_they_hold():
    vital = {"name": "LCP", "value": 2500, "rating": "good", "delta": 100, "timestamp": 1772442000}
    row = one(Events(), vital)
    assert (row["event_name"], row["retention_class"]) == ("web_vitals", "performance")
    feature = {"userId": "u", "featureId": "code", "timestamp": 1772442000}
    assert one(Events(), feature)["event_name"] == "feature_usage"
    widget = {"chatbotId": "b", "session_id": "s", "landing_page": "/", "timestamp": 1772442000}
    assert one(Events(), widget)["event_name"] == "session_upsert"


@pytest.mark.parametrize(
    ("ids", "group"),
    [
        ({"sessionId": "s", "anonymousId": "a", "userId": "u", "eventId": "e"}, "s:s"),
        ({"sessionId": "", "anonymousId": "a", "userId": "u"}, "a:a"),
        ({"sessionId": None, "anonymousId": "undefined", "userId": "u"}, "u:u"),
        ({"eventId": "e"}, "e:e"),
        ({"userId": 42}, "u:42"),
    ],
)
def test_the_session_group_is_the_first_id_present(ids, group):
    assert one(Events(), {"event": "e", "timestamp": 1772442000, **ids})["session_group"] == group


def test_an_event_without_an_id_is_named_by_its_content():
    row = one(Events(), EVENT)
    assert row["event_id"] == row["content_hash"]
    assert one(Events(), {**EVENT, "user_id": "u2"})["event_id"] != row["event_id"]
    assert one(Events(), {"event": "e", "timestamp": 1772442000})["session_group"].startswith("e:")


@pytest.mark.parametrize(
    ("category", "name", "kept_as"),
    [
        ("security", "mfa_verification_failed", "security"),
        ("engagement", "mfa_enrolled", "security"),
        ("audit", "role_changed", "audit"),
        ("performance", "slow_response", "performance"),
        ("engagement", "widget_opened", "analytics"),
        (None, "page_view", "analytics"),
    ],
)
def test_retention_classes(category, name, kept_as):
    row = one(Events(), {**EVENT, "event_name": name, "event_category": category})
    assert row["retention_class"] == kept_as


def test_the_app_of_the_call_fills_in_only_where_the_record_names_none():
    assert one(Events("mine"), EVENT)["app_id"] == "mine"
    assert one(Events("mine"), {**EVENT, "funnelId": "f"})["app_id"] == "f"
    assert one(Events(), EVENT)["app_id"] == ""


# LLM requests


def test_feedback_is_told_from_requests():
    at = {"timestamp": 1772442000}
    assert one(LlmRequests(), {"requestId": "r", "rating": 1, "type": "feedback", **at})["record_type"] == "feedback"
    assert one(LlmRequests(), {"messageId": "m", "rating": -1, **at})["record_type"] == "feedback"
    assert one(LlmRequests(), {"requestId": "r", "model": "m", "rating": 5, **at})["record_type"] == "request"
    spoken = one(LlmRequests(), {"requestId": "r", "rating": "thumbs_up", **at})
    assert (spoken["rating"], spoken["feedback"]) == ("", "thumbs_up")
    assert refusal(LlmRequests(), {"rating": 1, "type": "feedback", **at}).field == "request_id"
    assert refusal(LlmRequests(), {"requestId": "r", "type": "feedback", **at}).field == "rating"
    assert refusal(LlmRequests(), {"requestId": "r", **at}).field == "model"


def test_usage_objects_and_otel_names_fill_columns():
    usage = {"promptTokens": 10, "completionTokens": 5, "totalTokens": 15, "cost": 0.25, "region": "eu"}
    row = one(LlmRequests(), {**REQUEST, "input_tokens": 11, "usage": usage})
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == ("11", "5", "15")
    assert row["cost_usd"] == "0.25"
    assert json.loads(row["properties"]) == {"usage": {"input_tokens": 10, "region": "eu"}}
    otel = {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 3, "timestamp": 1772442000}
    row = one(LlmRequests(), otel)
    assert (row["model"], row["input_tokens"]) == ("gpt-4o", "3")


def test_group_of_a_request_without_ids():
    assert one(LlmRequests(), {**REQUEST, "messageId": "m"})["session_group"] == "e:r1"
    nameless = one(LlmRequests(), {"model": "m", "timestamp": 1772442000})
    assert nameless["session_group"] == "e:" + nameless["content_hash"]


# Session batches


def test_a_bad_element_is_refused_by_itself_and_the_batch_loads():
    batch = {
        **BATCH,
        "error_events": [{"type": "js", "page": "/", "time": -5}, {"page": "/"}, "oops", {"type": "t", "time": "x"}],
        "llm_interactions": [
            {"model": "gpt-4o", "tokens": 10, "cost": 0.01, "timestamp": "2026-03-02T09:01:00Z"},
            {"model": "gpt-4o", "tokens": "many", "cost": 0.01, "timestamp": "2026-03-02T09:01:00Z"},
        ],
        "interaction_summary": {"good": 2, "bad": -1, "none": None},
        "goal_events": {"won": 1772442000000, "lost": "never"},
        "page_load_times": {"/": 12.5, "/x": "slow"},
    }
    decoded = decode(SessionBatches(), batch)
    assert decoded.records == 1 + 7
    row = dict(zip(SessionBatches.columns, decoded.rows[0][1].split(SEPARATOR), strict=True))
    assert json.loads(row["error_events"]) == [{"type": "js", "page": "/", "time": -5}]
    assert json.loads(row["llm_interactions"]) == [
        {"model": "gpt-4o", "tokens": 10, "cost": 0.01, "timestamp": "2026-03-02T09:01:00.000000Z"}
    ]
    assert json.loads(row["interaction_summary"]) == {"good": 2}
    assert json.loads(row["goal_events"]) == {"won": "2026-03-02T09:00:00.000000Z"}
    assert json.loads(row["page_load_times"]) == {"/": 12.5}
    assert sorted((found.field, found.element) for found in decoded.refused) == [
        ("error_events", 3),
        ("error_events.time", 4),
        ("error_events.type", 2),
        ("goal_events", 2),
        ("interaction_summary", 2),
        ("llm_interactions.tokens", 2),
        ("page_load_times", 2),
    ]
    # The whole record is kept once, with the first of them; with the others the element.
    first, *others = (json.loads(found.record) for found in decoded.refused)
    assert first == batch
    assert {"page": "/"} in others
    assert "oops" in others


def test_path_and_timings_are_kept_as_sent():
    pages = ['/a"b', "/c\\d", "/é,{}", "NULL", ""]
    row = one(SessionBatches(), {**BATCH, "path_sequence": pages, "path_timings": [0, -3, 5.6]})
    assert row["path_sequence"] == '{"/a\\"b","/c\\\\d","/é,{}","NULL",""}'
    assert row["path_timings"] == "{0,-3,6}"


def test_an_anonymous_session_is_its_own_visitor():
    row = one(SessionBatches(), {**BATCH, "session_id": "anon-1"})
    assert (row["anonymous_id"], row["session_group"], row["batch_seq"]) == ("anon-1", "s:anon-1", "0")
    assert one(SessionBatches(), BATCH)["anonymous_id"] == ""


@pytest.mark.parametrize(
    ("metadata", "app", "expected"),
    [
        ({"appId": "m"}, "call", "m"),
        ({"chatbotId": "bot"}, None, "bot"),
        ({"app_id": None}, "call", "call"),
        ({}, None, ""),
    ],
)
def test_the_app_of_a_batch_may_stand_in_its_metadata(metadata, app, expected):
    assert one(SessionBatches(app), {**BATCH, "metadata": metadata})["app_id"] == expected


def test_a_server_row_takes_its_time_from_its_llm_interactions():
    interaction = {"chatId": "c", "model": "gpt-4o", "tokens": 8, "cost": 0.00595, "finishReason": "stop"}
    server = {
        "session_id": "s1",
        "batch_id": BATCH["batch_id"],
        "batch_seq": 1772442235000,
        "llm_interactions": [{**interaction, "timestamp": "2026-03-02T09:03:51.2Z"}],
    }
    row = one(SessionBatches(), server)
    assert (row["started_at"], row["batch_seq"]) == ("", "1772442235000")
    assert json.loads(row["llm_interactions"])[0]["finish_reason"] == "stop"
    found = decode(SessionBatches(), {**server, "llm_interactions": [interaction]})
    assert not found.rows
    assert found.refused[-1].field == "started_at"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"session_id": None}, "session_id"),
        ({"batch_id": None}, "batch_id"),
        ({"batch_id": "not-a-uuid"}, "batch_id"),
        ({"batch_seq": -1}, "batch_seq"),
        ({"started_at": None}, "started_at"),
        ({"path_sequence": "x"}, "path_sequence"),
        ({"path_timings": ["x"]}, "path_timings"),
        ({"goal_events": []}, "goal_events"),
        ({"metadata": "x"}, "metadata"),
    ],
)
def test_a_batch_that_lacks_or_garbles_what_it_needs_is_refused(change, field):
    assert refusal(SessionBatches(), {**BATCH, **change}).field == field


# The same content, however it is told

SPELLED = {
    "events": (Events, {
        **EVENT, "event_id": "e", "app_id": "a", "session_id": "s", "utm_source": "x", "screen_width": 5,
        "is_conversion": True, "revenue": 12.5, "client_timestamp": "2026-03-02T10:59:00Z", "created_at": 1772449300,
        "properties": {"a": 1.25, "b": [None]},
    }),
    "llm_requests": (LlmRequests, {
        **REQUEST, "input_tokens": 5, "latency_ms": 10, "cost_usd": 0.5, "was_routed": False,
        "baseline_model_id": "b", "router_confidence": 0.95, "team_id": "t", "properties": {"k": 1},
    }),
    "session_batches": (SessionBatches, {
        **BATCH, "user_id": "u", "ended_at": "2026-03-02T09:02:10.000Z", "path_sequence": ["/"], "path_timings": [0],
        "interaction_summary": {"x": 1}, "goal_events": {"g": "2026-03-02T09:01:00Z"}, "entry_point": "/",
        "llm_interactions": [{"model": "m", "tokens": 1, "cost": 0.1, "timestamp": "2026-03-02T09:01:00Z"}],
        "metadata": {"plan": "pro"}, "llm_token_usage": 1, "conversion_achieved": True,
    }),
}  # fmt: skip


@pytest.mark.parametrize("stream", SPELLED)
@given(data=st.data())
def test_key_style_order_and_spacing_change_nothing(stream, data):
    make, record = SPELLED[stream]
    decoder = make()
    expected = one(decoder, record)
    keys = data.draw(st.permutations(list(record)))
    mixed = {key if data.draw(st.booleans()) else camel(key): record[key] for key in keys}
    assert one(decoder, mixed) == expected
    assert one(decoder, camelled(record)) == expected
    assert one(decoder, json.dumps(mixed, indent=2).encode()) == expected


@pytest.mark.parametrize(
    ("shape", "stream"), [(event_shape, "events"), (llm_shape, "llm_requests"), (batch_shape, "session_batches")]
)
@given(data=st.data())
def test_the_fast_way_and_the_resolver_find_the_same_values(shape, stream, data):
    """Any subset of known keys with any JSON values, in one style: decoded in one go, or key by key."""
    anything = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "2026-03-02", "NaN", {}, []])
    record = data.draw(st.dictionaries(st.sampled_from(shape.attributes), anything))
    styled = camelled(record) if data.draw(st.booleans()) else record
    fast, nothing = shape.decode(json.dumps(styled).encode())
    slow, unknown = shape.resolve(styled)
    assert nothing == {} == unknown
    assert fast == slow
    # And with a key nobody knows, which forces the resolver, the rows differ by that key alone.
    decoder = READ[stream]()
    plain, odd = decode(decoder, styled), decode(decoder, {**styled, "zzz": 1})
    assert len(plain.rows) == len(odd.rows)
    if plain.rows:
        first, second = (
            dict(zip(decoder.columns, found.rows[0][1].split(SEPARATOR), strict=True)) for found in (plain, odd)
        )
        assert json.loads(second.pop("properties")) == {**json.loads(first.pop("properties")), "zzz": 1}
        for changing in ("content_hash", "session_group", "event_id"):
            first.pop(changing, None), second.pop(changing, None)
        assert first == second


def test_the_same_time_told_differently_is_the_same_content():
    hashes = {one(Events(), {**EVENT, "timestamp": told})["content_hash"] for told in (
        "2026-03-02T11:00:00Z", "2026-03-02T12:00:00.000+01:00", 1772449200, "1772449200000",
    )}  # fmt: skip
    assert len(hashes) == 1


def test_numbers_inside_properties_are_kept_as_sent():
    record = b'{"event":"e","timestamp":1772442000,"properties":{"p":1.10,"q":100000000000000000000000.5,"r":1e2}}'
    assert one(Events(), record)["properties"] == '{"p":1.10,"q":100000000000000000000000.5,"r":1E+2}'


# Mending and limits


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb'{"a":"x\u0000y"}', "x\ufffdy"),
        (b'{"a":"x\x00y"}', "x\ufffdy"),
        (rb'{"a":"x\ud800y"}', "x\ufffdy"),
        (rb'{"a":"x\udc00y"}', "x\ufffdy"),
        (rb'{"a":"\ud800\ud83d\ude00"}', "\ufffd\U0001f600"),
        (b'{"a":"x\xed\xa0\x80y"}', "x\ufffdy"),
    ],
)
def test_nul_and_lone_surrogates_are_replaced(sent, kept):
    assert json.loads(mend(sent)) == {"a": kept}


@pytest.mark.parametrize(
    "sent", [rb'{"a":"\\u0000"}', rb'{"a":"\ud83d\ude00"}', '{"a":"é😀"}'.encode(), rb'{"a":"\\\\ud800"}', b"{}"]
)
def test_what_is_sound_is_not_touched(sent):
    assert mend(sent) is sent


def test_nesting_is_counted_exactly():
    for levels, sound in ((64, True), (65, False)):
        record = b'{"a":' * levels + b'"[[[{{{"' + b"}" * levels
        if sound:
            check_limits(record)
        else:
            with pytest.raises(Refusal):
                check_limits(record)
    check_limits(b"[" + b",".join([b'{"a":[1]}'] * 100) + b"]")


def test_keys_are_counted_exactly():
    keys = {f"k{n}": ":" for n in range(10_000)}
    check_limits(json.dumps(keys).encode())
    with pytest.raises(Refusal):
        check_limits(json.dumps({**keys, "one": 1}).encode())


@pytest.mark.parametrize("stream", READ)
@given(st.binary(max_size=60))
def test_no_bytes_make_a_decoder_raise(stream, line):
    decoded = READ[stream]().decode(mend(line))
    assert decoded.records == len(decoded.rows) + len(decoded.refused) == 1


@pytest.mark.parametrize("stream", READ)
@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 100_000, b'{"events":' + b"[" * 100_000])
def test_endless_nesting_is_refused(stream, line):
    decoded = READ[stream]().decode(line)
    assert (len(decoded.rows), len(decoded.refused)) == (0, 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("stream", SPELLED)
@given(data=st.data())
def test_whatever_a_field_holds_each_record_is_loaded_or_refused(stream, data):
    make, record = SPELLED[stream]
    changed = {**record, data.draw(st.sampled_from(list(record))): data.draw(json_values)}
    decoded = make().decode(mend(msgspec.json.encode(changed)))
    assert decoded.records == len(decoded.rows) + len(decoded.refused) >= 1


@pytest.mark.parametrize("keys", [("session_id", "sessionId"), ("sessionId", "session_id")])
def test_of_a_key_told_in_both_styles_the_snake_case_one_wins_in_any_order(keys):
    told = {key: {"session_id": "snake", "sessionId": "camel"}[key] for key in keys}
    row = one(Events(), {**EVENT, **told})
    assert row["session_id"] == "snake"
    assert json.loads(row["properties"]) == {"sessionId": "camel"}
    half_absent = {key: {"session_id": "", "sessionId": "camel"}[key] for key in keys}
    assert one(Events(), {**EVENT, **half_absent})["session_id"] == "camel"
