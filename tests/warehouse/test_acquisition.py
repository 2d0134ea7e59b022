"""Traffic sources, channels, attribution, ad costs and campaigns of a few apps, with numbers worked out by hand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ingest.connection import connect
from tests.warehouse.conftest import Warehouse, assert_same

MODELS = ("first_touch", "last_touch", "last_non_direct", "linear", "time_decay", "position_based")
SPRING = {"utmSource": "google", "utmMedium": "cpc", "utmCampaign": "spring"}
SOCIAL = {"utmSource": "facebook", "utmMedium": "social"}
ODD_APP = """o'dd"; drop table x"""


class Records:
    """Records to be loaded, numbered."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def event(self, app: str, visitor: str, at: str, name: str = "page_view", **more: Any) -> None:
        record = {"eventId": f"e{len(self.lines)}", "eventName": name, "appId": app, "anonymousId": f"{app}-{visitor}"}
        self.lines.append(json.dumps(record | {"timestamp": at} | more).encode())

    def purchase(self, app: str, visitor: str, at: str, usd: float | None = None, **more: Any) -> None:
        worth = {} if usd is None else {"revenue": usd, "currency": "USD"}
        self.event(app, visitor, at, "purchase_completed", isConversion=True, **worth, **more)


def events() -> list[bytes]:
    records = Records()
    event, purchase = records.event, records.purchase

    # 95 days before the purchase, then 4 days, then the visit that buys.
    event("lookback", "v", "2025-11-30T12:00:00Z", **SPRING)
    event("lookback", "v", "2026-03-01T12:00:00Z", **SOCIAL)
    event("lookback", "v", "2026-03-05T11:59:00Z")
    purchase("lookback", "v", "2026-03-05T12:00:00Z", 100)

    # The same person in another app between the two visits of this one.
    event("here", "v", "2026-03-01T12:00:00Z", userId="u-here", **SOCIAL)
    event("there", "v", "2026-03-02T12:00:00Z", userId="u-here", **SPRING)
    purchase("here", "v", "2026-03-03T12:00:00Z", 7, userId="u-here", utmSource="letter", utmMedium="email")

    # Bought in the visit that one's own page referred to: the visit went on, nothing brought it.
    purchase("internal", "v", "2026-03-03T12:00:00Z", 9, referrer="https://www.shop.example/cart")

    # A visit an hour, and the 106th buys.
    for hours in range(105):
        event("many", "v", _hours_later(hours), sessionId=f"s-many-{hours}")
    purchase("many", "v", _hours_later(105), sessionId="s-many-105")

    # Two purchases of one visit have the same touches, and are two conversions.
    event("twice", "v", "2026-03-01T12:00:00Z", **SPRING)
    purchase("twice", "v", "2026-03-02T12:00:00Z", 1)
    purchase("twice", "v", "2026-03-02T12:01:00Z", 2)

    # Where visits came from; the first is of the day before the last seven.
    event("traffic", "a", "2026-03-24T23:59:00Z", **SPRING)
    purchase("traffic", "b", "2026-03-25T00:00:00Z", 12.5, **SPRING)
    event("traffic", "c", "2026-03-26T10:00:00Z", **SPRING)
    event("traffic", "c", "2026-03-27T10:00:00Z", **SPRING)
    event("traffic", "d", "2026-03-27T10:00:00Z")
    event("traffic", "d", "2026-03-28T10:00:00Z")
    event("traffic", "e", "2026-03-28T10:00:00Z", referrer="https://www.News.example/a?b")
    event(ODD_APP, "a", "2026-03-28T10:00:00Z")

    # Clicks on ads: in the page's address, in the landing page's, and on a link that says it is none.
    event("clicks", "page", "2026-03-05T10:00:00Z", pageUrl="https://x.example/a?gclid=EAIaIQ&page=2")
    event("clicks", "landing", "2026-03-05T10:00:00Z", landingPage="https://x.example/?msclkid=77")
    event("clicks", "shared", "2026-03-05T10:00:00Z", pageUrl="https://x.example/a?fbclid=IwAR1")
    event("clicks", "mail", "2026-03-05T10:00:00Z", pageUrl="https://x.example/a?fbclid=1", utmMedium="email")

    # A campaign, told by the events or by the visit they are in.
    event("campaigns", "a", "2026-03-06T10:00:00Z", "landing_page_view", **SPRING)
    event("campaigns", "a", "2026-03-06T10:01:00Z", "cta_click")
    event("campaigns", "a", "2026-03-06T10:02:00Z", "signup_step", properties={"step": 1})
    event("campaigns", "a", "2026-03-06T10:03:00Z", "signup_step", properties={"step": 2})
    event("campaigns", "b", "2026-03-06T10:00:00Z", "landing_page_view", **SPRING)
    event("campaigns", "b", "2026-03-06T10:01:00Z", "lead_capture", **SPRING)
    event("campaigns", "b", "2026-03-06T10:02:00Z", "campaign_conversion", properties=_won("summer", 25))
    event("campaigns", "c", "2026-03-06T10:00:00Z", "campaign_conversion", properties=_won("summer", 0.5))
    event("campaigns", "c", "2026-03-06T10:01:00Z", "newsletter_signup")
    event("campaigns", "c", "2026-03-06T10:02:00Z", "referral")
    event("campaigns", "c", "2026-03-06T10:03:00Z", "something_else", **SPRING)

    # Two people, as far as is known.
    event("stitch", "phone", "2026-03-01T12:00:00Z", **SPRING)
    purchase("stitch", "laptop", "2026-03-02T12:00:00Z", 50, userId="u-stitch")
    return records.lines


def _hours_later(hours: int) -> str:
    return f"2026-03-{1 + hours // 24:02d}T{hours % 24:02d}:00:00Z"


def _won(campaign: str, value: float) -> dict[str, Any]:
    return {"conversionValue": value, "source": "google", "medium": "cpc", "campaign": campaign}


SEARCH = {"source": "Google", "medium": "CPC", "campaign": "spring"}
COSTS = (
    {"costId": "c1", "category": "advertising", "amount": "10.10", "tags": SEARCH},
    {"costId": "c2", "category": "Ads", "amount": "5", "tags": {"channel": "paid social", "campaign": "reach"}},
    {"costId": "c3", "category": "advertising", "amount": "3"},
    {"costId": "c4", "category": "advertising", "amount": "2", "tags": {"campaign": "spring"}},
    {
        "costId": "c5",
        "category": "ads",
        "amount": "9",
        "currency": "XXX",
        "tags": {"utm_source": "bing", "medium": "cpc"},
    },
    {"costId": "c6", "category": "hosting", "amount": "40", "tags": {"source": "google"}},
)
# The browser provider's: a path whose second page carries a click id, and nothing that tells a source.
BATCH = {
    "sessionId": "s-clicks",
    "batchId": "6f9c3c1e-0000-4000-8000-000000000001",
    "batchSeq": 0,
    "userId": None,
    "startedAt": "2026-03-05T10:00:00Z",
    "pathSequence": ["/a", "/b?gclid=1"],
    "pathTimings": [0, 1000],
}


@pytest.fixture(scope="module")
def warehouse(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """Everything above, built; then `stitch` tells in a second load that both were one person."""
    built = make_warehouse()
    built.load("events", events())
    at = {"timestamp": "2026-03-05T08:00:00Z", "appId": "ads"}
    built.load("costs", [json.dumps(line | at).encode() for line in COSTS])
    built.load("session_batches", [json.dumps(BATCH).encode()])
    built.refresh()
    assert attribution(built, "stitch") == [("Direct", 1, *[Decimal(1)] * 6)]
    same = {"anonymousId": "stitch-phone", "userId": "u-stitch", "timestamp": "2026-03-02T11:00:00Z"}
    built.load("identifies", [json.dumps(same).encode()])
    run = built.refresh(check_all=True)
    assert (run.rebuilt, run.tests_failed) == ([], [])
    return built


def attribution(warehouse: Warehouse, app: str) -> list[tuple]:
    """Channel, touches of the conversion and credits by model, oldest touch first."""
    return warehouse.query(
        f"select channel, touch_count, {', '.join(f'{model}_credit' for model in MODELS)} "
        "from marts.fct_attribution where app_id = %s order by reached_at, touch_number",
        app,
    )


def test_touches_are_visits_within_the_lookback(warehouse):
    # Four days apart: 2^(-4/7) = 0.672950 to 1, less the minute between visit and purchase.
    social, direct = attribution(warehouse, "lookback")
    assert social[:6] == ("Organic Social", 2, 1, 0, 1, Decimal("0.5"))
    assert direct[:6] == ("Direct", 2, 0, 1, 0, Decimal("0.5"))
    assert (social[7], direct[7]) == (Decimal("0.5"), Decimal("0.5"))
    assert social[6] == pytest.approx(Decimal(0.672950 / 1.672950), abs=Decimal("0.0001"))
    assert social[6] + direct[6] == 1


def test_touches_are_visits_to_the_same_app(warehouse):
    assert [row[:5] for row in attribution(warehouse, "here")] == [
        ("Organic Social", 2, 1, 0, 0),
        ("Email", 2, 0, 1, 1),
    ]


def test_a_conversion_without_a_touch_is_direct(warehouse):
    assert warehouse.query("select channel from marts.agg_session_channels where app_id = 'internal'") == [
        ("Internal",)
    ]
    assert attribution(warehouse, "internal") == [("Direct", 0, *[Decimal(1)] * 6)]
    assert warehouse.query(
        "select source, medium, campaign, touch_session_key, linear_credit * conversion_value_usd "
        "from marts.fct_attribution where app_id = 'internal'"
    ) == [("Direct", "None", "None", None, 9)]


def test_the_latest_hundred_touches_are_looked_at(warehouse):
    ((touches, first, share),) = warehouse.query(
        "select count(*), min(touched_at) = '2026-03-01 06:00+00', max(linear_credit) "
        "from marts.fct_attribution where app_id = 'many'"
    )
    # 106 visits, that of the purchase included: the first six are left out.
    assert (touches, first, share) == (100, True, Decimal("0.01"))


def test_every_conversion_of_a_visit_is_attributed_by_itself(warehouse):
    assert [row[:2] for row in attribution(warehouse, "twice")] == [("Paid Search", 2), ("Direct", 2)] * 2
    assert warehouse.query(
        "select channel, first_touch_conversions, linear_conversions, first_touch_revenue_usd, linear_revenue_usd "
        "from marts.agg_attribution where app_id = 'twice' order by channel"
    ) == [("Direct", 0, 1, 0, Decimal("1.5")), ("Paid Search", 2, 1, 3, Decimal("1.5"))]


def test_a_sign_in_brings_earlier_touches_with_it(warehouse):
    assert [row[:2] for row in attribution(warehouse, "stitch")] == [("Paid Search", 2), ("Direct", 2)]


def test_click_ids_tell_the_channel_and_leave_the_source(warehouse):
    rows = warehouse.query(
        "select right(anonymous_id, -7), channels.source, channels.click_id, channel "
        "from marts.agg_session_channels as channels inner join marts.fct_sessions using (session_group, session_key) "
        "where channels.app_id = 'clicks' or session_group = 's:s-clicks' order by 1"
    )
    assert rows == [
        ("landing", "Direct", "msclkid", "Paid Search"),
        ("mail", "Direct", "fbclid", "Email"),
        ("page", "Direct", "gclid", "Paid Search"),
        ("shared", "Direct", "fbclid", "Organic Social"),
        (None, "(not set)", "gclid", "Paid Search"),
    ]


def test_traffic_sources_by_day(warehouse):
    assert warehouse.query(
        "select session_date::text, source, medium, campaign, sessions, visitors, conversions, revenue_usd "
        "from marts.agg_traffic_sources where app_id = 'traffic' and session_date >= '2026-03-25' order by 1, 2"
    ) == [
        ("2026-03-25", "google", "cpc", "spring", 1, 1, 1, Decimal("12.5")),
        ("2026-03-26", "google", "cpc", "spring", 1, 1, 0, None),
        ("2026-03-27", "Direct", "None", "None", 1, 1, 0, None),
        ("2026-03-27", "google", "cpc", "spring", 1, 1, 0, None),
        ("2026-03-28", "Direct", "None", "None", 1, 1, 0, None),
        ("2026-03-28", "news.example", "referral", "None", 1, 1, 0, None),
    ]


def traffic_sources(warehouse: Warehouse, *arguments: object) -> Any:
    places = ", ".join(["%s"] * len(arguments))
    return warehouse.query(f"select marts.get_traffic_sources({places})", *arguments)[0][0]


def test_get_traffic_sources_gives_the_documents_body(warehouse):
    spring = {"source": "google", "medium": "cpc", "campaign": "spring", "sessions": 3, "revenue": 12.5}
    direct = {"source": "Direct", "medium": "None", "campaign": "None", "sessions": 2, "revenue": 0}
    news = {"source": "news.example", "medium": "referral", "campaign": "None", "sessions": 1, "revenue": 0}
    as_of = "2026-03-31T15:00:00Z"
    assert traffic_sources(warehouse, "traffic", "7d", 50, as_of) == [spring, direct, news]
    assert traffic_sources(warehouse, "traffic", "7d", 2, as_of) == [spring, direct]
    assert traffic_sources(warehouse, "traffic", None, None, as_of) == [spring | {"sessions": 4}, direct, news]
    # The refresh stood at the first second of April: its own day is one of the seven.
    assert traffic_sources(warehouse, "traffic", "7d") == [direct, spring | {"sessions": 2, "revenue": 0}, news]
    assert traffic_sources(warehouse, ODD_APP, "90d")[0]["sessions"] == 1
    assert traffic_sources(warehouse, "nobody") == []


def test_get_traffic_sources_reads_by_an_index(warehouse):
    """Over 400 days of 20 apps, made up and rolled back."""
    with contextlib.closing(connect(warehouse.server)) as connection:
        connection.execute(
            """
            insert into marts.agg_traffic_sources (
                app_id, session_date, source, medium, campaign, sessions, visitors, conversions
            )
            select 'made_up_' || app, date '2026-03-31' - day, 'source' || source, 'cpc', 'None', 1, 1, 0
            from generate_series(1, 20) as app
            cross join generate_series(0, 399) as day
            cross join generate_series(1, 12) as source
            """
        )
        connection.execute("analyze marts.agg_traffic_sources")
        for days in ("7d", "30d", "90d"):
            (body,) = connection.execute("select marts.get_traffic_sources('made_up_7', %s)", [days]).fetchone()
            assert len(body) == 12
        scans = connection.execute(
            "select seq_scan, idx_scan > 0 from pg_stat_xact_user_tables where relname = 'agg_traffic_sources'"
        ).fetchone()
        connection.rollback()
    assert scans == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("traffic", "8d"), "range must be 7d, 30d or 90d, not 8d"),
        (("traffic", "-1d"), "range must be 7d, 30d or 90d, not -1d"),
        (("traffic", "7d", 0), "limit must be from 1 to 100, not 0"),
        (("traffic", "7d", 101), "limit must be from 1 to 100, not 101"),
        (("traffic", "7d", 10, "infinity"), "as_of must be a time"),
    ],
)
def test_a_bad_argument_is_told(warehouse, arguments, message):
    with pytest.raises(psycopg.Error, match=message):
        traffic_sources(warehouse, *arguments)


def test_ad_costs_say_where_they_went_or_that_they_do_not(warehouse):
    assert warehouse.query(
        "select channel, source, medium, campaign, cost_lines, unconverted_lines, cost_usd "
        "from marts.agg_ad_costs where app_id = 'ads' order by cost_usd"
    ) == [
        ("(unattributed)", "(not set)", "(not set)", "spring", 1, 0, 2),
        ("(unattributed)", "(not set)", "(not set)", "(not set)", 1, 0, 3),
        ("Paid Social", "(not set)", "(not set)", "reach", 1, 0, 5),
        ("Paid Search", "Google", "CPC", "spring", 1, 0, Decimal("10.10")),
        ("Paid Search", "bing", "cpc", "(not set)", 1, 1, None),
    ]


def test_campaigns_count_what_their_events_and_visits_say(warehouse):
    measures = (
        "landing_page_views, leads, cta_clicks, signup_steps, newsletter_signups, referrals, campaign_conversions"
    )
    assert warehouse.query(
        f"select source, medium, campaign, visitors, {measures}, campaign_value_usd "
        "from marts.agg_campaigns where app_id = 'campaigns' order by campaign"
    ) == [
        # c's visit first said `spring` after these: a visit has one campaign.
        ("google", "cpc", "spring", 3, 2, 1, 1, 2, 1, 1, 0, None),
        ("google", "cpc", "summer", 2, 0, 0, 0, 0, 0, 0, 2, Decimal("25.5")),
    ]


def test_sums_are_those_of_sessions_and_conversions(warehouse, sample_warehouse):
    for built in (warehouse, sample_warehouse):
        ((sessions, converted, revenue),) = built.query(
            "select count(*), count(*) filter (where converted), sum(conversion_value) from marts.fct_sessions"
        )
        for relation in ("agg_traffic_sources", "agg_channel_sessions"):
            assert built.query(f"select sum(sessions), sum(conversions), sum(revenue_usd) from marts.{relation}") == [
                (sessions, converted, revenue)
            ]
        ((conversions, value),) = built.query("select count(*), sum(value_usd) from marts.fct_conversions")
        assert (conversions > 0, value) == (True, revenue)
        for model in MODELS:
            assert built.query(
                f"select sum({model}_conversions), sum({model}_revenue_usd) from marts.agg_channel_performance"
            ) == [(conversions, value)]


def test_refreshes_in_steps_leave_what_a_full_build_makes(warehouse, copy_warehouse):
    """Purchases, costs and a sign-in come load by load; every relation is as if they had come at once."""
    stepwise = copy_warehouse(warehouse)
    more = Records()
    # A visit that comes late, between two touches; and an older one that takes the first touch's place.
    more.event("lookback", "v", "2026-03-03T12:00:00Z", eventId="late-1", utmSource="letter", utmMedium="email")
    more.event("lookback", "v", "2026-02-01T12:00:00Z", eventId="late-2", **SPRING)
    stepwise.load("events", more.lines)
    again = {"costId": "c3", "appId": "ads", "category": "advertising", "amount": "4", "tags": {"channel": "Email"}}
    times = {"timestamp": "2026-03-05T08:00:00Z", "updatedAt": "2026-03-06T08:00:00Z"}
    stepwise.load("costs", [json.dumps(again | times).encode()])
    run = stepwise.refresh()
    assert (run.rebuilt, run.tests_failed) == ([], [])
    assert [row[0] for row in attribution(stepwise, "lookback")] == ["Paid Search", "Organic Social", "Email", "Direct"]
    assert stepwise.query("select cost_usd from marts.agg_ad_costs where app_id = 'ads' and channel = 'Email'") == [
        (4,)
    ]
    before = stepwise.contents()
    stepwise.query("delete from ops.model_state returning 1")
    assert len(stepwise.refresh().rebuilt) > 20
    assert_same(before, stepwise.contents())
