"""Stream `costs`: money spent, the lines of S3's `cost_tracking` that are no LLM requests themselves.

A line needs an amount and a time. The amount is kept digit for digit; negative ones are credits. Without a
currency it is US dollars, and so is an `amount_usd` or `cost_usd`. A line for a period that tells no time of its
own stands at the period's start. `request_id` and `model` are kept, so that money told by an LLM request too can
be found. Tags and keys no column knows become `properties`.
"""

from datetime import datetime
from typing import Any

from ingest.streams import values as v
from ingest.streams.flat import FlatStream, Values, both_styles, need
from ingest.streams.shape import Shape
from ingest.streams.values import Converter, Refusal, is_absent

DEFAULT_CURRENCY = "USD"


def currency(value: Any, field: str) -> str:
    """An ISO 4217 code in upper case."""
    code = v.text(value, field).strip().upper()
    if code and not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise Refusal(f"needs a currency of three letters such as USD, not {v.shown(value)}", field)
    return code


COLUMNS: dict[str, Converter] = {
    "cost_id": v.identifier,
    "app_id": v.identifier,
    "session_id": v.identifier,
    "anonymous_id": v.identifier,
    "user_id": v.identifier,
    "occurred_at": v.timestamp,
    "period_start_at": v.timestamp,
    "period_end_at": v.timestamp,
    "category": v.identifier,
    "provider": v.identifier,
    "service": v.identifier,
    "model": v.identifier,
    "request_id": v.identifier,
    "feature_id": v.identifier,
    "workspace_id": v.identifier,
    "project_id": v.identifier,
    "team_id": v.identifier,
    "org_id": v.identifier,
    "plan": v.text,
    "amount": v.money,
    "currency": currency,
}
ALIASES = {
    "cost_id": ("id",),
    "app_id": ("chatbot_id", "funnel_id"),
    "session_id": ("analytics_session_id",),
    "anonymous_id": ("visitor_id",),
    "occurred_at": ("timestamp", "incurred_at", "created_at", "client_timestamp", "date", "cost_date"),
    "period_start_at": ("period_start", "start_date"),
    "period_end_at": ("period_end", "end_date"),
    "category": ("cost_category", "cost_type", "type"),
    "provider": ("vendor",),
    "service": ("service_name",),
    "model": ("model_id",),
    "request_id": ("model_request_id",),
    "feature_id": ("feature",),
    "org_id": ("organization_id",),
    "amount": ("cost", "total_cost"),
    "properties": ("metadata", "props"),
}
IN_DOLLARS = ("amount_usd", "cost_usd")
PROMOTED = (
    "user_id", "feature_id", "workspace_id", "project_id", "team_id", "org_id", "plan", "model", "request_id",
)  # fmt: skip


class Costs(FlatStream):
    """Decoder of the stream. `app` is the app of records that name none."""

    name = "costs"
    id_column = "cost_id"
    convert = COLUMNS
    columns = ("withheld", "session_group", "content_hash", *COLUMNS, "properties")
    shape = Shape("Cost", (*COLUMNS, "properties"), ALIASES, IN_DOLLARS)
    lifted = {"timestamp": "occurred_at"}  # noqa: RUF012 - a constant
    copied = both_styles(PROMOTED)
    kept = ("app_id", "occurred_at", "category")

    def prepare(self, values: Values, unknown: dict[str, Any]) -> None:
        """An amount in dollars is one whatever the line's currency; a period's start stands in for the time."""
        for name in IN_DOLLARS:
            if is_absent(values[name]):
                continue
            if is_absent(values["amount"]):
                values["amount"] = values[name]
                if not is_absent(values["currency"]) and values["currency"] != DEFAULT_CURRENCY:
                    unknown["currency"] = values["currency"]
                values["currency"] = DEFAULT_CURRENCY
            else:
                unknown[name] = values[name]
        if is_absent(values["occurred_at"]):
            values["occurred_at"] = values["period_start_at"]

    def check(self, row: dict[str, str]) -> None:
        """An amount at some time."""
        need(row["amount"], "amount", "a cost has an amount")
        need(row["occurred_at"], "occurred_at", "give timestamp, created_at, occurred_at or period_start")
        start, end = row["period_start_at"], row["period_end_at"]
        if start and end and datetime.fromisoformat(end) < datetime.fromisoformat(start):
            raise Refusal(f"is before period_start_at: {end}", "period_end_at")
        row["currency"] = row["currency"] or DEFAULT_CURRENCY
