"""Pulling from a second real database, laid out as the producers' documents say."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.pull.mapping import Mapping, interval, mappings, read_mapping
from ingest.pull.run import pull
from ingest.pull.source import own_defaults, source_of
from ingest.pull.state import Progress
from ingest.streams.registry import READ
from tests.conftest import create_database, drop_database

PASSWORD = "only-for-reading"
NOON = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
BATCH = "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01"
BOT = "7a4b8f10-0000-4000-8000-00000000000b"

TABLES = """
create schema auth;
create table auth.users (id uuid primary key);

create table analytics_user_sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references auth.users (id),
    session_id text not null,
    batch_id uuid not null unique default gen_random_uuid(),
    batch_seq integer not null default 0,
    started_at timestamptz default now(),
    ended_at timestamptz,
    session_duration_ms integer generated always as (extract(epoch from (ended_at - started_at)) * 1000) stored,
    path_sequence text[] default '{}',
    path_timings integer[] default '{}',
    entry_point text, exit_point text,
    interaction_summary jsonb default '{}', goal_events jsonb default '{}', feature_interactions jsonb default '{}',
    page_load_times jsonb default '{}', error_events jsonb default '[]', llm_interactions jsonb default '[]',
    llm_token_usage integer default 0, llm_cost_estimate decimal(10, 4) default 0,
    metadata jsonb default '{}',
    session_type text, conversion_achieved boolean default false,
    pages_visited integer generated always as (array_length(path_sequence, 1)) stored,
    bounce_session boolean generated always as (array_length(path_sequence, 1) = 1) stored,
    created_at timestamptz default now(), updated_at timestamptz default now(),
    unique (session_id, batch_seq)
);
alter table analytics_user_sessions enable row level security;
create policy own_rows on analytics_user_sessions for select using (false);

create table widget_events (
    id uuid primary key default gen_random_uuid(),
    chatbot_id uuid, session_id text, event_name text, event_category text, properties jsonb,
    page_url text, page_title text, timestamp timestamptz, client_timestamp timestamptz, created_at timestamptz
);
create table widget_sessions (
    id uuid primary key default gen_random_uuid(),
    chatbot_id uuid, session_id text unique, anonymous_id text,
    user_id text, user_email text, user_name text, user_metadata jsonb,
    started_at timestamptz, ended_at timestamptz, duration_seconds integer,
    referrer text, landing_page text, utm_source text, utm_medium text, utm_campaign text,
    browser_name text, browser_version text, os_name text, os_version text, device_type text,
    screen_width integer, screen_height integer, ip_address inet, country_code text, city text,
    messages_sent integer, messages_received integer, widget_opened_count integer, widget_minimized_count integer,
    avg_response_time_ms integer, had_conversation boolean, completed_pre_chat_form boolean, triggered_by text,
    created_at timestamptz, updated_at timestamptz
);

create table mfa_audit_logs (
    id bigint generated always as identity primary key, user_id uuid, action text, success boolean,
    ip_address inet, user_agent text, metadata jsonb, created_at timestamptz not null default now()
);
create table security_events (
    id uuid primary key default gen_random_uuid(), user_id uuid, event_type text, severity text,
    details jsonb, metadata text, created_at timestamptz not null default now()
);
create table download_logs (
    id bigint generated always as identity primary key, user_id uuid, resource_id text, file_size bigint,
    created_at timestamp not null
);
create table onboarding_funnel (
    id bigint generated always as identity primary key, user_id uuid, step text, step_number integer,
    created_at timestamptz not null, updated_at timestamptz
);

create table workspaces (id uuid primary key, name text, industry text, status text, created_at timestamptz);
create table workspace_subscriptions (
    id bigint generated always as identity primary key, workspace_id uuid references workspaces,
    plan_type text, status text, created_at timestamptz
);

create table items (id integer primary key, value text, updated_at timestamptz);
"""
ITEMS = Mapping(
    name="items", stream="events", table="items", key="id", watermark="updated_at", overlap="10 min",
    columns={"timestamp": "updated_at"}, constants={"event_name": "item"}, properties=["id", "value"],
)  # fmt: skip
AT_ANY_TIME = msgspec.structs.replace(
    ITEMS, columns={}, constants={"event_name": "item", "timestamp": "2026-03-02T12:00:00Z"}
)


class SourceDatabase:
    """The second database: its owner's connection, and how a role that may only read reaches it."""

    def __init__(self, server, role):
        self.server, self.role = server, role
        self.owner = connect(server, autocommit=True)
        self.tables = [
            name for (name,) in self.owner.execute("select tablename from pg_tables where schemaname = 'public'")
        ]  # fmt: skip

    def url(self, password=PASSWORD, **other):
        given = {**self.server.parameters, **other}
        return f"postgresql://{self.role}:{password}@{given['host']}:{given['port']}/{given['dbname']}?sslmode=disable"

    def execute(self, *arguments):
        return self.owner.execute(*arguments)

    def insert(self, table, **values):
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join(sql.Placeholder() * len(values))
        self.owner.execute(
            sql.SQL("insert into {} ({}) values ({})").format(sql.Identifier(table), names, marks),
            list(values.values()),
        )

    def writer(self):
        """Another session of the application, whose transactions the test ends."""
        return contextlib.closing(connect(self.server))


@pytest.fixture(scope="module")
def source_database(server):
    name = f"tidemark_test_source_{os.getpid()}"
    role = f"tidemark_test_reader_{os.getpid()}"
    made = create_database(server, name)
    with connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login bypassrls password {}").format(sql.Identifier(role), PASSWORD))
        # What the application prefers must not change what arrives.
        admin.execute(sql.SQL("alter database {} set timezone = 'Asia/Kolkata'").format(sql.Identifier(name)))
        admin.execute(sql.SQL("alter database {} set datestyle = 'SQL, DMY'").format(sql.Identifier(name)))
    try:
        with connect(made, autocommit=True) as owner:
            owner.execute(TABLES)
            owner.execute(sql.SQL("grant select on all tables in schema public to {}").format(sql.Identifier(role)))
        there = SourceDatabase(made, role)
        yield there
        there.owner.close()
    finally:
        drop_database(server, name)
        with connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.fixture
def source(source_database):
    source_database.execute(f"truncate {', '.join(source_database.tables)} restart identity")
    return source_database


@pytest.fixture
def warehouse(fresh_database):
    with connect(fresh_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def pulled(warehouse, source):
    """Pull a mapping, by name or itself, and expect no error."""

    def run(mapping, **options):
        mapping = mappings()[mapping] if isinstance(mapping, str) else mapping
        result = pull(warehouse, source_of(source.url(), "there"), mapping, **options)
        assert result.error is None
        assert result.read == result.known + result.new
        assert result.new == result.loaded + result.rejected or options.get("dry_run")
        return result

    return run


def failure(warehouse, source, mapping, **options):
    """Why a mapping cannot be pulled, one line."""
    mapping = mappings()[mapping] if isinstance(mapping, str) else mapping
    error = pull(warehouse, source_of(options.pop("url", None) or source.url(), "there"), mapping, **options).error
    assert "\n" not in error
    assert PASSWORD not in error
    return error


def items(warehouse):
    """Versions of items in raw, in order, as often as they are there."""
    return warehouse.execute(
        "select (properties ->> 'id')::integer, properties ->> 'value' from raw.events"
        " where event_name = 'item' order by 1, 2"
    ).fetchall()


def row(warehouse, columns, table="events"):
    """The one row of a raw table."""
    (found,) = warehouse.execute(f"select {columns} from raw.{table}").fetchall()
    return found


def counts(result):
    return result.status, result.read, result.known, result.loaded


# The built-in mappings: what lands where


def test_a_session_batch_row_is_a_snapshot_of_its_batch(source, warehouse, pulled):
    source.insert("analytics_user_sessions", id="00000000-0000-4000-8000-000000000001", session_id="anon-1",
        batch_id=BATCH, batch_seq=2, started_at=NOON, ended_at=NOON + timedelta(seconds=1.5),
        path_sequence=["/a", '/b "c"'], path_timings=[0, 900], goal_events='{"won": "2026-03-02T12:00:01Z"}',
        llm_interactions='[{"model": "m", "tokens": 7, "cost": 0.0107, "timestamp": "2026-03-02T12:00:01Z"}]',
        llm_cost_estimate="0.0107", metadata='{"plan": "pro"}', entry_point="/a", created_at=NOON,
        updated_at=NOON + timedelta(seconds=2))  # fmt: skip
    assert counts(pulled("analytics_user_sessions")) == ("pulled", 1, 0, 1)
    assert row(
        warehouse,
        "session_id, batch_id::text, batch_seq, user_id, anonymous_id, started_at, ended_at, updated_at, "
        "path_sequence, path_timings, goal_events, llm_interactions, metadata, properties ->> 'llm_cost_estimate'",
        "session_batches",
    ) == (
        "anon-1", BATCH, 2, None, "anon-1", NOON, NOON + timedelta(seconds=1.5), NOON + timedelta(seconds=2),
        ["/a", '/b "c"'], [0, 900], {"won": "2026-03-02T12:00:01.000000Z"},
        [{"model": "m", "tokens": 7, "cost": 0.0107, "timestamp": "2026-03-02T12:00:01.000000Z"}], {"plan": "pro"},
        "0.0107",
    )  # fmt: skip
    # What PostgreSQL generated is derivable and kept beside the rest.
    properties = row(warehouse, "properties", "session_batches")[0]
    assert (properties["session_duration_ms"], properties["pages_visited"], properties["entry_point"]) == (
        1500,
        2,
        "/a",
    )


def test_each_version_of_a_session_batch_row_is_a_snapshot(source, warehouse, pulled):
    source.insert("analytics_user_sessions", session_id="s", batch_id=BATCH, started_at=NOON, updated_at=NOON,
        path_sequence=["/a"])  # fmt: skip
    assert pulled("analytics_user_sessions").loaded == 1
    assert counts(pulled("analytics_user_sessions")) == ("nothing new", 1, 1, 0)
    source.execute(
        "update analytics_user_sessions set path_sequence = '{/a,/b}', updated_at = %s", [NOON + timedelta(minutes=5)]
    )
    assert pulled("analytics_user_sessions").loaded == 1
    paths = warehouse.execute("select path_sequence from raw.session_batches order by updated_at").fetchall()
    assert paths == [(["/a"],), (["/a", "/b"],)]


def test_a_server_side_llm_row_lands(source, warehouse, pulled):
    source.execute("alter table analytics_user_sessions alter batch_seq type bigint")
    source.insert("analytics_user_sessions", session_id="s", batch_id=BATCH, batch_seq=1772442235000, started_at=None,
        llm_interactions='[{"chatId": "c", "model": "gpt-4o", "tokens": 5, "timestamp": "2026-03-02T12:00:00Z"}]',
        updated_at=NOON)  # fmt: skip
    pulled("analytics_user_sessions")
    assert row(warehouse, "batch_seq, started_at, path_sequence, llm_interactions", "session_batches") == (
        1772442235000, None, [],
        [{"chat_id": "c", "model": "gpt-4o", "tokens": 5, "timestamp": "2026-03-02T12:00:00.000000Z"}],
    )  # fmt: skip


def test_a_widget_event_row_is_an_event(source, warehouse, pulled):
    event_id = "00000000-0000-4000-8000-0000000000e1"
    source.insert("widget_events", id=event_id, chatbot_id=BOT, session_id="w1", event_name="message_sent",
        event_category="engagement", properties='{"message_length": 150}', page_url="https://x.example/p?q=1",
        page_title="P", timestamp=NOON + timedelta(seconds=1), client_timestamp=NOON,
        created_at=NOON + timedelta(seconds=6))  # fmt: skip
    pulled("widget_events")
    assert row(
        warehouse,
        "event_id, event_name, event_category, retention_class, app_id, session_id, session_group, occurred_at, "
        "page_url, page_title, properties ->> 'message_length'",
    ) == (
        event_id, "message_sent", "engagement", "analytics", BOT, "w1", "s:w1", NOON,
        "https://x.example/p?q=1", "P", "150",
    )  # fmt: skip


WIDGET_SESSION = {
    "id": "00000000-0000-4000-8000-0000000000d1", "chatbot_id": BOT, "session_id": "w1", "anonymous_id": "visitor_1",
    "user_id": "user_1", "user_email": "user@example.com", "user_name": "Jo", "user_metadata": '{"plan": "pro"}',
    "started_at": NOON, "referrer": "https://g.example", "landing_page": "/pricing", "utm_source": "g",
    "browser_name": "Firefox", "device_type": "mobile", "screen_width": 390, "ip_address": "192.0.2.7",
    "country_code": "DE", "messages_sent": 3, "had_conversation": True, "created_at": NOON + timedelta(seconds=1),
    "updated_at": NOON + timedelta(minutes=4),
}  # fmt: skip


def test_a_widget_session_row_is_an_upsert_at_the_session_s_start(source, warehouse, pulled):
    source.insert("widget_sessions", **WIDGET_SESSION)
    pulled("widget_sessions")
    assert row(
        warehouse,
        "event_name, occurred_at, app_id, session_id, anonymous_id, user_id, referrer, landing_page, utm_source, "
        "browser_name, device_type, screen_width, host(ip_address), country_code, properties -> 'messages_sent', "
        "properties -> 'had_conversation', properties ->> 'id'",
    ) == (
        "session_upsert", NOON, BOT, "w1", "visitor_1", "user_1", "https://g.example", "/pricing", "g", "Firefox",
        "mobile", 390, "192.0.2.7", "DE", 3, True, WIDGET_SESSION["id"],
    )  # fmt: skip
    # Who the person is goes another way.
    assert "user@example.com" not in row(warehouse, "properties::text")[0]


def test_versions_of_a_widget_session_are_events_of_their_own(source, warehouse, pulled):
    source.insert("widget_sessions", **WIDGET_SESSION)
    pulled("widget_sessions")
    source.execute("update widget_sessions set messages_sent = 4, updated_at = updated_at + interval '1 minute'")
    pulled("widget_sessions")
    found = warehouse.execute(
        "select count(distinct event_id), max((properties ->> 'messages_sent')::int) from raw.events"
    )
    assert found.fetchone() == (2, 4)


@pytest.mark.skipif("identifies" not in READ, reason="nothing reads the stream identifies yet")
def test_a_widget_session_that_knows_its_person_identifies_them(source, warehouse, pulled):
    source.insert("widget_sessions", **WIDGET_SESSION)
    source.insert("widget_sessions", session_id="nobody", started_at=NOON, updated_at=NOON)
    pulled("widget_identifies")
    assert row(
        warehouse, "session_id, anonymous_id, user_id, email, name, occurred_at", "identifies"
    ) == ("w1", "visitor_1", "user_1", "user@example.com", "Jo", NOON)  # fmt: skip
    source.execute("update widget_sessions set messages_sent = 9, updated_at = updated_at + interval '1 minute'")
    # Nothing new is said of the person.
    assert counts(pulled("widget_identifies")) == ("nothing new", 1, 1, 0)


USER = "00000000-0000-4000-8000-0000000000aa"


def test_mfa_audit_logs_are_audit_events(source, warehouse, pulled):
    source.insert("mfa_audit_logs", user_id=USER, action="mfa_verification_failed", success=False,
        ip_address="192.0.2.7", user_agent="UA", metadata='{"method": "totp"}', created_at=NOON)  # fmt: skip
    pulled("mfa_audit_logs")
    assert row(
        warehouse,
        "event_id, event_name, event_category, retention_class, user_id, occurred_at, "
        "host(ip_address), user_agent, properties",
    ) == (
        "mfa_audit_logs:1", "mfa_verification_failed", "audit", "audit", USER, NOON, "192.0.2.7", "UA",
        {"method": "totp", "success": False},
    )  # fmt: skip


def test_security_events_are_security_events(source, warehouse, pulled):
    source.insert("security_events", id=USER, user_id=USER, event_type="login_failed", severity="high",
        details='{"attempt": 3}', metadata="free text", created_at=NOON)  # fmt: skip
    pulled("security_events")
    columns = "event_id, event_name, event_category, retention_class, user_id, occurred_at, properties"
    assert row(warehouse, columns) == (
        f"security_events:{USER}", "login_failed", "security", "security", USER, NOON,
        {"severity": "high", "details": {"attempt": 3}, "metadata": "free text"},
    )  # fmt: skip


def test_download_logs_are_audit_events_and_a_time_without_zone_is_utc(source, warehouse, pulled):
    source.insert(
        "download_logs", user_id=USER, resource_id="r1", file_size=2**40, created_at=NOON.replace(tzinfo=None)
    )
    assert pulled("download_logs").watermark == "2026-03-02 12:00:00+00"
    assert row(warehouse, "event_id, event_name, retention_class, user_id, occurred_at, properties") == (
        "download_logs:1", "download_logged", "audit", USER, NOON, {"resource_id": "r1", "file_size": 2**40},
    )  # fmt: skip
    source.insert("download_logs", resource_id="r2", created_at=NOON.replace(tzinfo=None) + timedelta(microseconds=1))
    assert counts(pulled("download_logs")) == ("pulled", 2, 1, 1)


def test_onboarding_steps_are_events_at_each_version(source, warehouse, pulled):
    source.insert("onboarding_funnel", user_id=USER, step="profile", step_number=2, created_at=NOON)
    pulled("onboarding_funnel")
    source.execute("update onboarding_funnel set updated_at = %s", [NOON + timedelta(minutes=1)])
    pulled("onboarding_funnel")
    found = warehouse.execute(
        "select event_name, event_category, occurred_at, properties ->> 'step' from raw.events order by occurred_at"
    ).fetchall()
    assert found == [
        ("onboarding_funnel_step", "onboarding", NOON, "profile"),
        ("onboarding_funnel_step", "onboarding", NOON + timedelta(minutes=1), "profile"),
    ]


SPACE, LONELY = "00000000-0000-4000-8000-0000000000b1", "00000000-0000-4000-8000-0000000000b2"


def test_workspaces_land_with_their_newest_subscription(source, warehouse, pulled):
    source.insert("workspaces", id=SPACE, name="Acme", industry="steel", status="open", created_at=NOON)
    source.insert("workspaces", id=LONELY, name="Solo", created_at=NOON)
    for days, plan, status in ((3, "pro", "active"), (1, "free", "ended")):
        source.insert("workspace_subscriptions", workspace_id=SPACE, plan_type=plan, status=status,
            created_at=NOON + timedelta(days=days))  # fmt: skip
    result = pulled("workspaces")
    # The documents' tables have no updated_at, so rows are told apart by content alone.
    assert (result.read, result.without_watermark, len(result.notes)) == (2, 2, 1)
    columns = "workspace_id, workspace_name, plan, subscription_status, created_at, updated_at"
    assert warehouse.execute(f"select {columns} from raw.workspaces order by 1").fetchall() == [
        (SPACE, "Acme", "pro", "active", NOON, None),
        (LONELY, "Solo", None, None, NOON, None),
    ]
    (properties,) = warehouse.execute(
        "select properties from raw.workspaces where workspace_id = %s", [SPACE]
    ).fetchone()
    assert (properties["industry"], properties["status"]) == ("steel", "open")
    assert [told["plan_type"] for told in properties["workspace_subscriptions"]] == ["free", "pro"]
    assert counts(pulled("workspaces")) == ("nothing new", 2, 2, 0)
    source.execute("update workspace_subscriptions set status = 'cancelled' where plan_type = 'pro'")
    assert counts(pulled("workspaces")) == ("pulled", 2, 1, 1)


def test_workspaces_with_updated_at_on_both_tables_go_by_watermark(source, warehouse, pulled):
    later = NOON + timedelta(hours=1)
    for table in ("workspaces", "workspace_subscriptions"):
        source.execute(f"alter table {table} add updated_at timestamptz")
    try:
        source.insert("workspaces", id=SPACE, name="Acme", updated_at=NOON)
        source.insert("workspaces", id=LONELY, name="Solo", updated_at=NOON)
        assert pulled("workspaces").watermark == "2026-03-02 12:00:00+00"
        source.insert("workspace_subscriptions", workspace_id=SPACE, plan_type="pro", updated_at=later)
        result = pulled("workspaces")
        assert (result.loaded, result.without_watermark, result.watermark) == (1, 0, "2026-03-02 13:00:00+00")
        # The other workspace lies before the overlap now, and is not read.
        assert counts(pulled("workspaces")) == ("nothing new", 1, 1, 0)
    finally:
        for table in ("workspaces", "workspace_subscriptions"):
            source.execute(f"alter table {table} drop updated_at")
    found = warehouse.execute("select plan, updated_at from raw.workspaces where workspace_id = %s order by 1", [SPACE])
    assert found.fetchall() == [("pro", NOON), (None, NOON)]


# Values


def test_values_arrive_exactly(source, warehouse, pulled):
    source.execute("create type pair as (f1 integer, f2 text)")
    source.execute(
        """
        create table odd as select 1 as id, '2026-03-02 17:30:00+05:30'::timestamptz as at,
            0.1000::numeric as price, 123456789012345678901234567890.123456789::numeric as long,
            'NaN'::numeric as nan, '-Infinity'::float8 as low, 0.1::float8 as tenth, 1e300::float8 as huge,
            9007199254740993::bigint as big, '\\x00ff'::bytea as bytes, '{1,null,3}'::int[] as numbers,
            array['a"b', null, 'NULL', '\\'] as words, null::text as nothing,
            E'{"a": 1.50,\\n "b": [1,\\r\\n2], "z": "x\\\\u0000y"}'::json as document,
            '2026-03-01'::date as day, '1 day 02:00'::interval as span, true as yes,
            E'line\\nbreak\\ttab é 😀' as prose, 'x' as "tidemark", '(1,two)'::pair as pair, '192.0.2.0/24'::cidr as net
        """
    )
    source.execute(sql.SQL("grant select on odd to {}").format(sql.Identifier(source.role)))
    try:
        odd = Mapping(name="odd", stream="events", table="odd", key="id", watermark="at",
            columns={"timestamp": "at"}, constants={"event_name": "odd"})  # fmt: skip
        result = pulled(odd)
    finally:
        source.execute("drop table odd; drop type pair")
    assert result.loaded == 1
    assert row(warehouse, "occurred_at, event_id") == (NOON, "1")
    numbers = "price", "long", "huge", "tenth", "big"
    told = row(warehouse, ", ".join(f"properties ->> '{name}'" for name in numbers))
    assert told == ("0.1000", "123456789012345678901234567890.123456789", "1" + 300 * "0", "0.1", "9007199254740993")
    properties = {k: v for k, v in row(warehouse, "properties")[0].items() if k not in numbers}
    assert properties == {
        "nan": "NaN", "low": "-Infinity", "bytes": "\\x00ff", "numbers": [1, None, 3],
        "words": ['a"b', None, "NULL", "\\"], "document": {"a": 1.5, "b": [1, 2], "z": "x\ufffdy"},
        "day": "2026-03-01", "span": "P1DT2H", "yes": True, "prose": "line\nbreak\ttab é 😀", "tidemark": "x",
        "pair": {"f1": 1, "f2": "two"}, "net": "192.0.2.0/24",
    }  # fmt: skip


def test_a_row_that_cannot_be_loaded_is_kept_and_counted(source, warehouse, pulled):
    source.insert("widget_events", event_name="x" * 300, created_at=NOON)
    source.insert("widget_events", event_name="fine", created_at=NOON)
    result = pulled("widget_events")
    assert (result.loaded, result.rejected) == (1, 1)
    assert row(warehouse, "field, file", "rejects")[0] == "event_name"
    assert counts(pulled("widget_events")) == ("nothing new", 2, 2, 0)


def test_a_new_column_goes_to_properties_and_loads_nothing_again(source, warehouse, pulled):
    source.insert("items", id=1, value="a", updated_at=NOON)
    pulled(ITEMS)
    source.execute("alter table items add colour text")
    try:
        source.insert("items", id=2, value="b", updated_at=NOON, colour="red")
        assert counts(pulled(ITEMS)) == ("pulled", 2, 1, 1)
    finally:
        source.execute("alter table items drop colour")
    colours = warehouse.execute(
        "select properties ->> 'colour' from raw.events order by properties ->> 'id'"
    ).fetchall()
    assert colours == [(None,), ("red",)]


# The watermark


def test_the_ledger_says_what_was_pulled(source, warehouse, pulled):
    for number in range(5):
        source.insert("items", id=number, updated_at=NOON + timedelta(minutes=number))
    result = pulled(ITEMS, batch_rows=2)
    assert (len(result.loads), result.watermark) == (3, "2026-03-02 12:04:00+00")
    ledger = warehouse.execute("select file, records, stream from raw.loads order by load_id").fetchall()
    assert ledger == [
        ("pull items 2026-03-02 12:00:00+00..2026-03-02 12:01:00+00", 2, "events"),
        ("pull items 2026-03-02 12:02:00+00..2026-03-02 12:03:00+00", 2, "events"),
        ("pull items 2026-03-02 12:04:00+00..2026-03-02 12:04:00+00", 1, "events"),
    ]
    known = warehouse.execute("select source, mapping, watermark, rows_pulled, pulled_at is not null from ops.pulls")
    assert known.fetchone() == ("there", "items", NOON + timedelta(minutes=4), 5, True)


def test_a_row_committed_late_is_picked_up(source, warehouse, pulled):
    with source.writer() as slow:
        slow.execute("insert into items values (1, 'late', %s)", [NOON])
        source.insert("items", id=2, value="early", updated_at=NOON + timedelta(minutes=9))
        assert counts(pulled(ITEMS)) == ("pulled", 1, 0, 1)
        slow.commit()
    assert counts(pulled(ITEMS)) == ("pulled", 2, 1, 1)
    assert items(warehouse) == [(1, "late"), (2, "early")]


def test_what_lies_behind_the_overlap_is_forgotten_and_since_reads_it_again(source, warehouse, pulled):
    for number, minutes in ((1, 0), (2, 50), (3, 60)):
        source.insert("items", id=number, value="a", updated_at=NOON + timedelta(minutes=minutes))
    pulled(ITEMS)
    remembered = warehouse.execute("select watermark from ops.pulled_rows order by 1").fetchall()
    assert remembered == [(NOON + timedelta(minutes=50),), (NOON + timedelta(minutes=60),)]
    source.insert("items", id=4, value="too late", updated_at=NOON + timedelta(minutes=40))
    assert counts(pulled(ITEMS)) == ("nothing new", 2, 2, 0)
    since = (NOON + timedelta(minutes=30)).isoformat()
    assert counts(pulled(ITEMS, since=since)) == ("pulled", 3, 2, 1)
    assert items(warehouse) == [(1, "a"), (2, "a"), (3, "a"), (4, "too late")]
    # Never less far than the overlap, and the watermark stays where it was.
    source.insert("items", id=5, value="b", updated_at=NOON + timedelta(minutes=55))
    assert pulled(ITEMS, since="2026-12-01").loaded == 1
    assert warehouse.execute("select watermark from ops.pulls").fetchone() == (NOON + timedelta(minutes=60),)


def test_the_first_pull_can_start_at_a_time(source, warehouse, pulled):
    source.insert("items", id=1, updated_at=NOON)
    source.insert("items", id=2, updated_at=NOON + timedelta(hours=1))
    assert counts(pulled(ITEMS, since=(NOON + timedelta(hours=1)).isoformat())) == ("pulled", 1, 0, 1)


def test_a_clock_ahead_hides_no_row(source, warehouse, pulled):
    source.execute("insert into items values (1, 'ahead', now() + interval '1 day'), (2, 'for ever', 'infinity')")
    assert pulled(AT_ANY_TIME).new == 2
    assert warehouse.execute("select watermark <= now() from ops.pulls").fetchone() == (True,)
    source.execute("insert into items values (3, 'now', now())")
    assert counts(pulled(AT_ANY_TIME)) == ("pulled", 3, 2, 1)
    assert counts(pulled(AT_ANY_TIME)) == ("nothing new", 3, 3, 0)
    assert items(warehouse) == [(1, "ahead"), (2, "for ever"), (3, "now")]


def test_rows_without_a_watermark_are_pulled_once_and_told(source, warehouse, pulled):
    source.execute("insert into items values (1, 'a', null), (2, 'b', null)")
    source.insert("items", id=3, value="c", updated_at=NOON)
    first = pulled(AT_ANY_TIME, batch_rows=2)
    assert (first.loaded, first.without_watermark) == (3, 2)
    assert "2 rows have no watermark" in first.notes[0]
    assert first.watermark == "2026-03-02 12:00:00+00"
    assert counts(pulled(AT_ANY_TIME)) == ("nothing new", 3, 3, 0)
    source.execute("update items set value = 'changed' where id = 1")
    assert pulled(AT_ANY_TIME).loaded == 1
    assert items(warehouse) == [(1, "a"), (1, "changed"), (2, "b"), (3, "c")]


def test_only_rows_without_a_watermark_leave_none(source, warehouse, pulled):
    source.execute("insert into items values (1, 'a', null)")
    assert pulled(AT_ANY_TIME).watermark is None
    source.insert("items", id=2, value="b", updated_at=NOON)
    assert pulled(AT_ANY_TIME).loaded == 1


def test_a_truncated_table_is_told_and_deletes_nothing(source, warehouse, pulled):
    source.insert("items", id=1, value="a", updated_at=NOON)
    assert pulled(ITEMS).notes == []
    source.execute("truncate items")
    (note,) = pulled(ITEMS).notes
    assert "no row is as new as the watermark 2026-03-02 12:00:00+00" in note
    source.insert("items", id=1, value="new", updated_at=NOON + timedelta(days=1))
    pulled(ITEMS)
    assert items(warehouse) == [(1, "a"), (1, "new")]


def test_bytes_loaded_before_move_the_watermark_and_load_nothing(source, warehouse, pulled):
    for number in range(4):
        source.insert("items", id=number, value="a", updated_at=NOON + timedelta(hours=number))
    pulled(ITEMS, batch_rows=2)
    warehouse.execute("delete from ops.pulls")
    result = pulled(ITEMS, batch_rows=2)
    assert counts(result) == ("nothing new", 4, 4, 0)
    assert result.watermark == "2026-03-02 15:00:00+00"
    assert counts(pulled(ITEMS)) == ("nothing new", 1, 1, 0)
    assert len(items(warehouse)) == 4


def test_a_dry_run_counts_and_writes_nothing(source, warehouse, pulled):
    source.insert("items", id=1, updated_at=NOON)
    assert counts(pulled(ITEMS, dry_run=True)) == ("dry run", 1, 0, 0)
    for table in ("ops.pulls", "ops.pulled_rows", "raw.loads"):
        assert warehouse.execute(f"select count(*) from {table}").fetchone() == (0,)
    pulled(ITEMS)
    assert counts(pulled(ITEMS, dry_run=True)) == ("dry run", 1, 1, 0)


def test_sources_have_watermarks_of_their_own(source, warehouse, pulled):
    source.insert("items", id=1, updated_at=NOON)
    pulled(ITEMS)
    other = pull(warehouse, source_of(source.url(), "elsewhere"), ITEMS)
    # The same bytes are one load, whoever they come from.
    assert (other.error, other.read, other.known, other.watermark) == (None, 1, 1, "2026-03-02 12:00:00+00")
    assert len(items(warehouse)) == 1


# Interruptions and company


def test_killed_in_the_third_batch_then_run_again_every_row_is_there_once(source, fresh_database, tmp_path):
    source.execute(
        "insert into items select n, 'a', %s + n * interval '1 second' from generate_series(1, 50) as n", [NOON]
    )
    mapping = tmp_path / "items.yml"
    mapping.write_text(
        "{stream: events, table: items, key: id, watermark: updated_at, columns: {timestamp: updated_at},"
        " constants: {event_name: item}, properties: [id, value]}"
    )
    command = [sys.executable, "-m", "ingest", "pull", "--mapping", mapping, "--batch", "10"]
    environment = os.environ | fresh_database.environment() | {"TIDEMARK_PULL_URL": source.url()}
    with connect(fresh_database, autocommit=True) as gate, connect(fresh_database, autocommit=True) as reader:
        gate.execute(
            """
            create function public.wait() returns trigger language plpgsql as $$
            begin
                if new.load_id = 3 and new.records > 0 then perform pg_advisory_xact_lock(1, 1); end if;
                return new;
            end $$;
            create trigger wait before update on raw.loads for each row execute function public.wait();
            """
        )
        gate.execute("select pg_advisory_lock(1, 1)")
        running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not reader.execute(
            "select 1 from pg_locks join pg_database as d on d.oid = database and datname = current_database()"
            " where locktype = 'advisory' and not granted"
        ).fetchone():
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert len(items(reader)) == 20
        assert reader.execute("select watermark from ops.pulls").fetchone() == (NOON + timedelta(seconds=20),)
        gate.execute("select pg_advisory_unlock(1, 1)")
        again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again.stderr
        assert items(reader) == [(number, "a") for number in range(1, 51)]


def test_a_second_pull_waits_for_the_first(source, warehouse, fresh_database, pulled):
    source.insert("items", id=1, updated_at=NOON)
    there = source_of(source.url(), "there")
    waits = threading.Event()
    told, results = [], []

    def notify(line):
        told.append(line)
        waits.set()

    def second():
        with connect(fresh_database, autocommit=True) as connection:
            results.append(pull(connection, there, ITEMS, notify=notify))

    thread = threading.Thread(target=second)
    with Progress("there", "items", timedelta(0)).locked(warehouse, notify):
        assert told == []
        thread.start()
        assert waits.wait(30)
        assert results == []
    thread.join(30)
    assert told == ["another pull of items from there is running: waiting for it"]
    assert counts(results[0]) == ("pulled", 1, 0, 1)


def test_a_watermark_moved_by_somebody_else_loads_nothing(source, warehouse, fresh_database, monkeypatch):
    source.insert("items", id=1, updated_at=NOON)
    known = Progress.known

    def meddled(self, connection, hashes):
        with connect(fresh_database, autocommit=True) as other:
            other.execute("update ops.pulls set watermark = now()")
        return known(self, connection, hashes)

    monkeypatch.setattr(Progress, "known", meddled)
    assert "came in between" in failure(warehouse, source, ITEMS)
    assert items(warehouse) == []


numbered = count(1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("commit"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("pull"), st.integers(1, 3), st.just(0)),
    ),
    max_size=16,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_the_order_of_commits_each_visible_version_is_in_raw_once(source, warehouse, steps):
    """Two writers insert and update rows at a clock that only goes forward and commit when they like, within
    the overlap; a key belongs to one writer, as a row lock would have it."""
    example = next(numbered)
    there = source_of(source.url(), f"example {example}")
    source.execute("truncate items")
    seen = set()
    with source.writer() as one, source.writer() as other:
        writers = (one, other)

        def pull_all(rows):
            visible = source.execute("select id, value from items").fetchall()
            assert pull(warehouse, there, ITEMS, batch_rows=rows).error is None
            seen.update(visible)
            return visible

        for moment, (step, number, key) in enumerate(steps):
            if step == "write":
                writers[number].execute(
                    "insert into items values (%(id)s, %(value)s, %(at)s)"
                    " on conflict (id) do update set value = excluded.value, updated_at = excluded.updated_at",
                    {"id": 2 * key + number, "value": f"{example}.{moment}", "at": NOON + timedelta(seconds=moment)},
                )
            elif step == "commit":
                writers[number].commit()
            else:
                pull_all(number)
        one.commit()
        other.commit()
        final = pull_all(2)
    in_raw = [found for found in items(warehouse) if found[1].startswith(f"{example}.")]
    assert sorted(in_raw) == sorted(seen)
    assert set(final) <= set(in_raw)


# The source


def test_the_source_is_only_read(source, warehouse, pulled):
    source.insert("items", id=1, updated_at=NOON)
    # Of the user's tables alone: statistics of columns, which autovacuum gathers when it likes, are rows too.
    written = "select array_agg((relname, n_tup_ins, n_tup_upd, n_tup_del) order by relid) from pg_stat_user_tables"

    def counts():
        # a session tells what it wrote once a second unless it is made to
        source.execute("select pg_stat_force_next_flush()")
        source.execute("select pg_stat_clear_snapshot()")
        return source.execute(written).fetchone()

    before = counts()
    pulled(ITEMS)
    assert counts() == before


def test_a_snapshot_is_one_read_only_state(source):
    with source_of(source.url(), "there").snapshot() as snapshot:
        for setting, value in (("transaction_read_only", "on"), ("transaction_isolation", "repeatable read")):
            assert snapshot.connection.execute(f"show {setting}").fetchone() == (value,)
        source.insert("items", id=1, updated_at=NOON)
        assert list(snapshot.rows(snapshot.table(ITEMS), None)) == []


def test_a_query_that_writes_is_refused(source, warehouse):
    source.execute(
        "create function public.meddle() returns setof items security definer language sql"
        " as $$ insert into items values (9, 'x', now()) returning * $$"
    )
    try:
        writing = Mapping(name="m", stream="events", query="select * from meddle()", key="id", watermark="updated_at")
        assert "may only read" in failure(warehouse, source, writing)
    finally:
        source.execute("drop function public.meddle()")


def test_the_warehouse_s_variables_do_not_reach_the_source(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "of the warehouse")
    monkeypatch.setenv("PGSSLMODE", "disable")
    parameters = own_defaults({"host": "h", "dbname": "d"})
    assert (parameters["password"], parameters["sslmode"]) == ("", "prefer")
    assert own_defaults({"host": "h", "password": "own"})["password"] == "own"


def test_a_source_s_name_has_no_secrets():
    assert source_of("postgresql://u:p@h/d", None).name == "h/d"
    assert source_of("postgresql://u:p@h:6543/d", None, "tenant").name == "h:6543/d/tenant"
    assert source_of("postgresql://u:p@h/d", "main").name == "main"


def test_a_table_in_another_schema(source, warehouse, pulled):
    source.execute("create schema tenant; create table tenant.items (like items)")
    source.execute(sql.SQL("grant usage on schema tenant to {}").format(sql.Identifier(source.role)))
    source.execute(sql.SQL("grant select on tenant.items to {}").format(sql.Identifier(source.role)))
    try:
        source.execute("insert into tenant.items values (7, 'theirs', %s)", [NOON])
        pulled(ITEMS, schema="tenant")
        assert items(warehouse) == [(7, "theirs")]
        query = msgspec.structs.replace(
            ITEMS, name="q", table=None, query="select * from items where value like '%eir%' -- some;", omit=["value"]
        )
        assert pulled(query, schema="tenant").loaded == 1
    finally:
        source.execute("drop schema tenant cascade")


# What goes wrong, one line each


def test_a_table_that_is_not_there(source, warehouse):
    missing = Mapping(name="m", stream="events", table="nowhere", key="id", watermark="at")
    assert "nowhere" in failure(warehouse, source, missing)
    assert "--schema" in failure(warehouse, source, missing)


def test_columns_that_are_not_there_or_no_times(source, warehouse):
    def told(**changed):
        return failure(warehouse, source, Mapping(**{"name": "m", "stream": "events", "table": "items", "key": "id",
            "watermark": "updated_at", **changed}))  # fmt: skip

    assert "has no column 'changed_at' to pull by; it has id, value, updated_at" in told(watermark="changed_at")
    assert "has no column 'uuid' to tell rows apart by" in told(key="uuid")
    assert "'value' is no date or time" in told(watermark="value")


def test_a_table_that_may_not_be_read(source, warehouse):
    source.execute(sql.SQL("revoke select on items from {}").format(sql.Identifier(source.role)))
    try:
        assert "permission denied for table items: grant" in failure(warehouse, source, ITEMS)
    finally:
        source.execute(sql.SQL("grant select on items to {}").format(sql.Identifier(source.role)))


def test_rows_hidden_by_row_level_security_are_an_error_not_an_empty_table(source, warehouse):
    source.insert("analytics_user_sessions", session_id="s", started_at=NOON)
    source.execute(sql.SQL("alter role {} nobypassrls").format(sql.Identifier(source.role)))
    try:
        assert "BYPASSRLS" in failure(warehouse, source, "analytics_user_sessions")
    finally:
        source.execute(sql.SQL("alter role {} bypassrls").format(sql.Identifier(source.role)))


def test_a_server_that_does_not_answer_and_a_wrong_password(source, warehouse):
    refused = failure(warehouse, source, ITEMS, url=source.url(port="1"))
    assert "cannot be reached" in refused
    assert "Connection refused" in refused
    assert "refused the password" in failure(warehouse, source, ITEMS, url=source.url(password="wrong"))
    assert "no such database" in failure(warehouse, source, ITEMS, url=source.url(dbname="nowhere"))


def test_a_source_that_is_cut_off_keeps_what_was_loaded(source, warehouse, monkeypatch):
    source.execute("insert into items select n, 'a', %s from generate_series(1, 400) as n", [NOON])
    known = Progress.known
    calls = []

    def cut(self, connection, hashes):
        calls.append(1)
        if len(calls) == 2:
            source.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'tidemark pull'"
            )
        return known(self, connection, hashes)

    monkeypatch.setattr(Progress, "known", cut)
    result = pull(warehouse, source_of(source.url(), "there"), ITEMS, batch_rows=10)
    assert "run it again" in result.error
    # Rows come fifty at first, then two hundred: those that had come are loaded.
    assert (result.status, result.loaded, len(items(warehouse))) == ("failed", 250, 250)
    monkeypatch.undo()
    assert pull(warehouse, source_of(source.url(), "there"), ITEMS).error is None
    assert items(warehouse) == [(number, "a") for number in range(1, 401)]


def test_a_warehouse_that_goes_away_keeps_whole_batches(source, fresh_database, monkeypatch):
    source.execute("insert into items select n, 'a', %s from generate_series(1, 60) as n", [NOON])
    known = Progress.known
    calls = []

    def cut(self, connection, hashes):
        calls.append(1)
        if len(calls) == 2:
            with connect(fresh_database, autocommit=True) as other:
                other.execute("select pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
        return known(self, connection, hashes)

    monkeypatch.setattr(Progress, "known", cut)
    with connect(fresh_database, autocommit=True) as connection:
        assert "try again" in failure(connection, source, ITEMS, batch_rows=20)
    monkeypatch.undo()
    with connect(fresh_database, autocommit=True) as connection:
        assert len(items(connection)) == 40
        assert pull(connection, source_of(source.url(), "there"), ITEMS).error is None
        assert items(connection) == [(number, "a") for number in range(1, 61)]


def test_a_warehouse_without_the_schema_says_so(source, empty_database):
    with connect(empty_database, autocommit=True) as connection:
        assert "ingest migrate" in failure(connection, source, ITEMS)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "Which database"),
        ("postgresql://u:secret%ret@h/d", "cannot be read"),
        ("postgresql://u:secret@h", "must name a host and a database"),
        ("dbname=d password=secret", "must name a host and a database"),
        ("what is this", "cannot be read"),
    ],
)
def test_a_url_that_names_no_source(monkeypatch, url, told):
    monkeypatch.delenv("TIDEMARK_PULL_URL", raising=False)
    with pytest.raises(TidemarkError, match=told) as error:
        source_of(url, None)
    assert "secret" not in str(error.value)


# Mappings


def test_every_built_in_mapping_is_sound():
    assert set(mappings()) == {
        "analytics_user_sessions", "widget_events", "widget_sessions", "widget_identifies", "mfa_audit_logs",
        "security_events", "download_logs", "onboarding_funnel", "workspaces",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "stream: events\ntable: t\nkey: id\nwatermark: at\ncolums: {}",
            "unknown key 'colums'; the keys are stream, table",
        ),
        ("stream: events\ntable: t\nkey: id", "missing required field `watermark`"),
        ("stream: events\ntable: t\nkey: 7\nwatermark: at", "`str | array`, got `int` - at `$.key`"),
        ("stream: events\nkey: id\nwatermark: at", "either a `table` or a `query`"),
        ("stream: events\ntable: t\nquery: select 1\nkey: id\nwatermark: at", "either a `table` or a `query`"),
        ("stream: eventz\ntable: t\nkey: id\nwatermark: at", "unknown stream 'eventz'; the streams are"),
        ("stream: events\ntable: t\nkey: []\nwatermark: at", "at least one column as `key`"),
        ("stream: events\ntable: t\nkey: id\nwatermark: at\noverlap: a while", "'a while' is no overlap"),
        ("stream: events\ntable: a..b\nkey: id\nwatermark: at", "is no table"),
        ("name: x\nstream: events\ntable: t\nkey: id\nwatermark: at", "unknown key 'name'"),
        ("- a\n- b", "needs keys and values"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_mapping_that_is_wrong_says_what(tmp_path, text, told):
    path = tmp_path / "my_table.yml"
    path.write_text(text)
    with pytest.raises(TidemarkError) as error:
        read_mapping(path)
    assert told in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_mapping_file_needs_a_plain_name(tmp_path):
    path = tmp_path / "My Table.yml"
    path.write_text("stream: events\ntable: t\nkey: id\nwatermark: at")
    with pytest.raises(TidemarkError, match="is no name for a mapping"):
        read_mapping(path)
    with pytest.raises(TidemarkError, match="cannot be read"):
        read_mapping(tmp_path / "nothing.yml")


@pytest.mark.parametrize(
    ("told", "seconds"), [("10min", 600), ("10 minutes", 600), ("90s", 90), ("2h", 7200), ("1 day", 86400), ("0s", 0)]
)
def test_overlaps(told, seconds):
    assert interval(told) == timedelta(seconds=seconds)


@pytest.mark.parametrize("told", ["", "10", "min", "-1min", "10 fortnights", "1.5h"])
def test_no_overlaps(told):
    with pytest.raises(TidemarkError, match="is no overlap"):
        interval(told)


def mapped(row, **options):
    mapping = Mapping(**{"stream": "events", "table": "t", "key": "id", "watermark": "at", **options})
    return json.loads(mapping.record(json.dumps(row).encode()))


def test_the_first_column_that_holds_something_is_moved():
    columns = {"event_name": ["kind", "what"]}
    assert mapped({"kind": None, "what": "a", "x": 1}, columns=columns) == {"event_name": "a", "x": 1}
    assert mapped({"kind": "k", "what": "a"}, columns=columns) == {"event_name": "k", "what": "a"}
    assert mapped({"x": 1}, columns=columns, defaults={"event_name": "d"}) == {"event_name": "d", "x": 1}


def test_what_a_column_or_constant_displaces_is_kept():
    moved = mapped({"event_name": "own", "what": "a"}, columns={"event_name": "what"})
    assert moved == {"event_name": "a", "properties": {"event_name": "own"}}
    constant = mapped({"event_category": "own", "metadata": {"m": 1}}, constants={"event_category": "audit"})
    assert constant == {"event_category": "audit", "metadata": {"m": 1, "event_category": "own"}}


def test_columns_for_properties_join_the_object_that_is_there():
    row = {"type": "a", "properties": {"type": "b"}}
    assert mapped(row, properties=["type"]) == {"properties": {"type": "b", "row.type": "a"}}
    assert mapped({"type": "a", "metadata": [1]}, properties=["type"]) == {"properties": {"type": "a", "metadata": [1]}}
    batch = mapped({"type": "a", "metadata": {"m": 1}}, properties=["type"], stream="session_batches")
    assert batch == {"metadata": {"m": 1, "type": "a"}}


def test_prefixes_and_omissions():
    assert mapped({"id": 7, "at": 1}, prefixes={"id": "t:"}, omit=["at"]) == {"id": "t:7"}
    assert mapped({"id": 'a"b'}, prefixes={"id": "t:"}) == {"id": 't:a"b'}


# The command


def test_the_command_pulls_and_prints_a_table(source, fresh_database, run_ingest):
    source.insert("widget_events", event_name="e", created_at=NOON)
    environment = {"TIDEMARK_PULL_URL": source.url()}
    options = {"server": fresh_database, "environment": environment}
    done = run_ingest("pull", "widget_events", "security_events", "--source", "app", **options)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["mapping", "stream", "status", "read", "known", "loaded", "rejected", "seconds", "watermark"]
    assert lines[1][:7] == ["widget_events", "events", "pulled", "1", "0", "1", "0"]
    assert lines[2][:4] == ["security_events", "events", "nothing", "new"]
    listed = run_ingest("pull", "--list", "--json", **options)
    shown = {line["mapping"]: line for line in map(json.loads, listed.stdout.splitlines())}
    assert set(shown) == set(mappings())
    assert (shown["widget_events"]["source"], shown["widget_events"]["watermark"]) == ("app", "2026-03-02 12:00:00+00")
    assert "widget_events" in run_ingest("pull", "--list", **options).stdout


def test_the_command_fails_with_one_line_and_pulls_the_rest(source, fresh_database, run_ingest):
    source.insert("items", id=1, updated_at=NOON)
    source.execute("alter table widget_events rename to elsewhere")
    try:
        options = {"server": fresh_database, "environment": {"TIDEMARK_PULL_URL": source.url()}}
        failed = run_ingest("pull", "widget_events", "download_logs", "--json", **options)
    finally:
        source.execute("alter table elsewhere rename to widget_events")
    assert failed.returncode == 2
    assert failed.stderr.startswith("Error: widget_events: ")
    assert len(failed.stderr.splitlines()) == 1
    assert [json.loads(line)["status"] for line in failed.stdout.splitlines()] == ["failed", "nothing new"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "There is no mapping 'nothing'"),
        ([], "Which table?"),
        (["widget_events", "--since", "soon"], "needs a time"),
        (["widget_events", "--overlap", "soon"], "is no overlap"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_options(fresh_database, run_ingest, arguments, told):
    failed = run_ingest("pull", *arguments, "--from", "postgresql://u:secret@h/d", server=fresh_database)
    assert failed.returncode == 2
    assert told in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def peak_megabytes(source, database, rows):
    """The peak memory of a pull of that many widget events."""
    source.execute(
        "insert into widget_events (session_id, event_name, properties, page_url, created_at)"
        " select 's' || n, 'e', jsonb_build_object('n', n, 'text', repeat('x', 100)), 'https://x.example/' || n,"
        " %s + n * interval '10 ms' from generate_series(1, %s) as n", [NOON, rows],
    )  # fmt: skip
    script = (
        "import sys; from ingest.cli import ingest; from orchestration.load_process import peak_memory\n"
        "ingest(['pull', 'widget_events', '--batch', '10000'], standalone_mode=False)\n"
        "print(peak_memory(), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env=os.environ | database.environment() | {"TIDEMARK_PULL_URL": source.url()},
    )  # fmt: skip
    return int(done.stderr) / 2**20


def test_memory_does_not_grow_with_the_table(source, make_database):
    small = peak_megabytes(source, make_database(), 20_000)
    source.execute("truncate widget_events")
    large = peak_megabytes(source, make_database(), 80_000)
    assert large < 200
    assert large < 1.1 * small
