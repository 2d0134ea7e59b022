"""The web app's other senders: server-side `trackEvent` helpers, feature tracking and AI request tracking.

None of them names an app, and most name no session: what a user does through them is a visit of its own.
"""

import functools
from decimal import Decimal
from typing import Any

from ingest.sample.clock import iso
from ingest.sample.context import Sample
from ingest.sample.truth import group_of
from ingest.sample.world import DEFAULT_APP, Model, new_id

Record = dict[str, Any]


def number(amount: Decimal) -> float:
    """A JSON number that reads back as exactly this decimal (up to 15 digits)."""
    value = float(amount)
    if Decimal(repr(value)) != amount:
        raise AssertionError(f"{amount} has too many digits for a JSON number")
    return value


def track(
    sample: Sample,
    at: int,
    action: str,
    category: str,
    metadata: Record,
    user_id: str | None = None,
    session_id: str | None = None,
    delay: int = 0,
) -> None:
    """A `trackEvent` call, in one of the shapes these helpers send; it counts as activity when it happens."""
    truth, shape = sample.truth, sample.rng.random()
    record: Record
    if shape < 0.10 and user_id:
        record = {"event": action, "properties": {**metadata, "userId": user_id, "timestamp": iso(at)}}
        record["category"] = category
        truth.trap("identity_nested_in_properties")
    elif shape < 0.20:
        record = {"action": action, "category": category, "metadata": metadata, "createdAt": at}
        truth.trap("epoch_milliseconds")
    elif shape < 0.30:
        record = {"event_name": action, "event_category": category, "metadata": metadata, "created_at": iso(at)}
        truth.trap("snake_case_keys")
        if user_id:
            record["user_id"] = user_id
    else:
        record = {"action": action, "category": category, "metadata": metadata, "createdAt": iso(at)}
    if user_id and "properties" not in record and "user_id" not in record:
        record = {"userId": user_id, **record}
    if session_id:
        record["session_id" if "event_name" in record else "sessionId"] = session_id
        truth.trap("event_in_browser_session")
    sample.delivery.send("events", record, at, delay)
    own_id = new_id(sample.rng)
    group = group_of(session_id, None, user_id, own_id)
    if not session_id and not user_id:
        truth.trap("event_without_any_id")
    anonymous = f"a:{session_id}" if session_id and session_id.startswith("anon-") else group
    person = f"u:{user_id}" if user_id else anonymous
    if action == "campaign_conversion":
        truth.goal(DEFAULT_APP, group, at, person)
    else:
        truth.activity(DEFAULT_APP, group, at, person)


def track_feature(sample: Sample, at: int, user_id: str, feature: str, action: str | None = None) -> None:
    """A `track` or `trackFeature` call: the type is the event's name, the action is a property."""
    properties = (
        {"featureId": feature, "action": action}
        if action
        else {
            "featureId": feature,
            "featureName": feature.replace("-", " ").title(),
        }
    )
    record: Record = {"type": "feature_usage", "userId": user_id, "properties": properties}
    if sample.chance(0.1):
        record["timestamp"] = at
        sample.truth.trap("epoch_milliseconds")
    else:
        record["timestamp"] = iso(at)
    sample.delivery.send("events", record, at)
    sample.truth.activity(DEFAULT_APP, group_of(None, None, user_id), at, f"u:{user_id}")


def subscription_started(
    sample: Sample, at: int, user_id: str, session_id: str, revenue: Decimal, delay: int = 0
) -> None:
    """The billing server tells a conversion of the browser's session."""
    record = {
        "eventId": new_id(sample.rng),
        "eventName": "subscription_started",
        "userId": user_id,
        "sessionId": session_id,
        "timestamp": iso(at),
        "isConversion": True,
        "revenue": number(revenue),
        "currency": "USD",
    }
    sample.delivery.send("events", record, at, delay, other_style=snake_keys(record))
    sample.truth.trap("event_in_browser_session")
    sample.truth.goal(DEFAULT_APP, group_of(session_id, None, user_id), at, f"u:{user_id}")


def request_record(sample: Sample, at: int, model: Model, prompt: int, completion: int, cost: Decimal | None) -> Record:
    """What `trackAIRequest` says of a request, without whose it is. Some say how many tokens were cached."""
    rng = sample.rng
    record: Record = {
        "requestId": f"req_{rng.getrandbits(64):016x}",
        "modelId": model.model,
        "modelName": model.name,
        "provider": model.provider,
        "inputTokens": prompt,
        "outputTokens": completion,
        "totalTokens": prompt + completion,
        "responseTime": 300 + completion * 9 + int(rng.random() * 900),
    }
    if sample.chance(0.3):
        record["wasRouted"] = True
        record["routerConfidence"] = round(0.6 + 0.4 * rng.random(), 2)
        record["baselineModelId"] = "gpt-4-turbo"
    if cost is None:
        sample.truth.trap("request_without_cost")
    else:
        record["cost"] = number(cost)
    if sample.chance(0.08):
        record["timestamp"] = at
        sample.truth.trap("epoch_milliseconds")
    else:
        record["timestamp"] = iso(at)
    return record


def feedback(sample: Sample, at: int, request_id: str, delay: int = 0) -> None:
    """A thumb up or down on a request, told by its id alone; it makes no visit."""
    rating = 1 if sample.chance(0.8) else -1
    record = {"requestId": request_id, "rating": rating, "type": "feedback", "timestamp": iso(at)}
    sample.delivery.send("llm_requests", record, at, delay)
    sample.truth.trap("feedback_by_request_id")


@functools.lru_cache(maxsize=1024)
def _snake(key: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)


def snake_keys(record: Record) -> Record:
    """The same record with its own keys in snake_case; what lies deeper stays as it is."""
    return {_snake(key): value for key, value in record.items()}
