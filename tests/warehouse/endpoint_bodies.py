"""JSON schemas of the bodies that functions return, written from the documents of the widget and of the funnel SDK.

A body has the documented keys and no others; where a document shows a number the schema says of which kind and range.
Rows that a document leaves open (`"sessions": [...]`) have the columns of the table it describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
COUNT_OR_NONE: Schema = {"type": ["integer", "null"], "minimum": 0}
NUMBER_OR_NONE: Schema = {"type": ["number", "null"]}
YES_OR_NO: Schema = {"type": "boolean"}
NOTHING: Schema = {"type": "null"}
OBJECT: Schema = {"type": "object"}
# Percent, two decimals; read with Decimals, a float is no multiple of a hundredth.
PERCENT: Schema = {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": Decimal("0.01")}
DATE: Schema = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}
UUID: Schema = {"type": "string", "pattern": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
# "2024-01-15T10:30:00Z" in the widget's document; a Date of JavaScript in the funnel's.
SECOND: Schema = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"}
TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"}


def exactly(**properties: Schema) -> Schema:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def of_widget(**properties: Schema) -> Schema:
    return exactly(chatbot_id=TEXT, **properties)


def of_period(**properties: Schema) -> Schema:
    return of_widget(period_days={"type": "integer", "minimum": 1}, **properties)


def pages(**properties: Schema) -> Schema:
    return exactly(
        page={"type": "integer", "minimum": 1}, limit={"type": "integer", "minimum": 1}, total=COUNT, **properties
    )


PROFILE = exactly(id=TEXT, displayName=TEXT, firstSeen=TIME, lastSeen=TIME, totalSessions=COUNT, totalEvents=COUNT)

WIDGET_SESSION = exactly(
    **dict.fromkeys(("id",), UUID),
    **dict.fromkeys(("chatbot_id",), TEXT),
    **dict.fromkeys(("started_at", "ended_at"), TIME),
    **dict.fromkeys(
        (
            "session_id",
            "anonymous_id",
            "user_id",
            "user_name",
            "referrer",
            "landing_page",
            "utm_source",
            "utm_medium",
            "utm_campaign",
            "browser_name",
            "browser_version",
            "os_name",
            "os_version",
            "device_type",
            "country_code",
            "city",
            "triggered_by",
        ),
        TEXT_OR_NONE,
    ),
    **dict.fromkeys(("user_email", "ip_address"), NOTHING),
    **dict.fromkeys(
        ("duration_seconds", "messages_sent", "messages_received", "widget_opened_count", "widget_minimized_count"),
        COUNT,
    ),
    **dict.fromkeys(("screen_width", "screen_height", "avg_response_time_ms"), COUNT_OR_NONE),
    **dict.fromkeys(("had_conversation", "completed_pre_chat_form"), YES_OR_NO),
    user_metadata=OBJECT,
)

FUNNEL_SESSION = exactly(
    **dict.fromkeys(("id", "profileId"), UUID),
    **dict.fromkeys(("startedAt", "endedAt"), TIME),
    **dict.fromkeys(("displayName", "firstSource", "firstMedium", "firstCampaign"), TEXT),
    **dict.fromkeys(
        (
            "sessionId",
            "anonymousId",
            "landingPage",
            "exitPage",
            "deviceType",
            "browserName",
            "osName",
            "countryCode",
            "city",
        ),
        TEXT_OR_NONE,
    ),
    **dict.fromkeys(("durationSeconds", "pageViews", "eventsCount"), COUNT),
    converted=YES_OR_NO,
    conversionValue=NUMBER_OR_NONE,
)

FUNNEL_EVENT = exactly(
    **dict.fromkeys(("eventId", "eventName", "displayName"), TEXT),
    **dict.fromkeys(
        (
            "eventCategory",
            "sessionId",
            "anonymousId",
            "pagePath",
            "pageTitle",
            "utmSource",
            "utmMedium",
            "utmCampaign",
            "currency",
            "deviceType",
            "browserName",
            "osName",
            "countryCode",
        ),
        TEXT_OR_NONE,
    ),
    timestamp=TIME,
    profileId=UUID,
    isConversion=YES_OR_NO,
    revenue=NUMBER_OR_NONE,
    properties=OBJECT,
)

STORY = {
    "type": "object",
    "properties": {
        "type": {"enum": ["session_started", "page_view", "event", "goal", "error", "llm_request"]},
        "timestamp": TIME,
        "sessionKey": UUID,
    },
    "required": ["type", "timestamp", "sessionKey"],
}

BODIES: Mapping[str, Schema] = {
    "get_widget_summary": of_period(
        summary=exactly(
            total_sessions=COUNT,
            unique_visitors=COUNT,
            total_conversations=COUNT,
            avg_session_duration_seconds=COUNT,
            conversion_rate=PERCENT,
        )
    ),
    "get_widget_trends": of_period(
        trends=many(
            exactly(stat_date=DATE, sessions=COUNT, conversations=COUNT, messages=COUNT, conversion_rate=PERCENT)
        )
    ),
    "get_widget_events": of_period(
        events=many(exactly(event_name=TEXT, event_count=COUNT, unique_sessions=COUNT)),
    ),
    "get_widget_active": of_widget(active_sessions=COUNT, timestamp=SECOND),
    "get_widget_sessions": pages(chatbot_id=TEXT, sessions=many(WIDGET_SESSION)),
    "get_widget_traffic_sources": of_period(
        utm_sources=many(exactly(source=TEXT, count=COUNT)),
        referrers=many(exactly(domain=TEXT, count=COUNT)),
    ),
    "get_widget_devices": of_period(
        devices=many(exactly(type=TEXT, count=COUNT)),
        browsers=many(exactly(name=TEXT, count=COUNT)),
        operating_systems=many(exactly(name=TEXT, count=COUNT)),
    ),
    "get_user_profiles": {"type": "object", "additionalProperties": PROFILE},
    "get_events": pages(funnelId=TEXT, events=many(FUNNEL_EVENT)),
    "get_sessions": pages(funnelId=TEXT, sessions=many(FUNNEL_SESSION)),
    "get_visitor_timeline": pages(funnelId=TEXT, id=TEXT, profile={"anyOf": [PROFILE, NOTHING]}, timeline=many(STORY)),
}
