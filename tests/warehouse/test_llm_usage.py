"""Routers, models, prompts, and what another model would have cost: numbers worked out by hand, prices of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.conftest import Warehouse, assert_same, copied_project

AS_OF = "2026-03-31 12:00:00+00"
# US dollars per million tokens: big 10 in and 30 out, small 1 and 2, 0.1 for what it read from its cache.
OVERRIDES = """override_name,provider,model,variant,valid_from,valid_to,tier_start,unit,price_usd,discount_rate,reason
big_input,acme,big,,,,,input,10,,
big_output,acme,big,,,2026-03-10,,output,30,,
big_output_later,acme,big,,2026-03-10,,,output,{big_output},,
small_input,acme,small,,,,,input,1,,
small_output,acme,small,,,,,output,2,,
small_cache_read,acme,small,,,,,cache_read,0.1,,
"""
BASELINES = """feature_id,provider,model,valid_from,valid_to
write,acme,big,,2026-03-20
write,acme,small,2026-03-20,
"""
BASELINES_LATER = """feature_id,provider,model,valid_from,valid_to
write,acme,small,,
*,,claude-haiku-4-5,,
"""
WHAT_IF = """provider,model
acme,big
acme,small
acme,nobody-knows
anthropic,claude-sonnet-4-5
"""
WHAT_IF_LATER = """provider,model
acme,big
openai,gpt-4o
"""

# Tokens of every kind; the second is beyond the size at which claude-sonnet-4-5 becomes dearer.
TOKENS = (
    {"inputTokens": 1000, "cachedTokens": 400, "cacheWriteTokens": 100, "cacheWrite1hTokens": 30, "outputTokens": 80,
     "reasoningTokens": 20, "inputIncludesCached": True},
    {"inputTokens": 250_000, "outputTokens": 10, "inputIncludesCached": True, "serviceTier": "batch"},
    {"inputTokens": 900, "inputAudioTokens": 50, "outputTokens": 60, "outputAudioTokens": 10},
)  # fmt: skip


def request(number: str, at: str = "2026-03-02T10:00:00Z", **told: Any) -> bytes:
    record = {"requestId": number, "sessionId": "s1", "appId": "shop", "provider": "acme", "modelId": "small"}
    return json.dumps(record | {"timestamp": at} | told).encode()


def routed(number: str, **told: Any) -> bytes:
    return request(number, **{"wasRouted": True, "inputTokens": 1000, "outputTokens": 100, "featureId": "write"} | told)


FIRST_DAY = [
    # 1000 × 1 + 100 × 2 for 1000 × 10 + 100 × 30: $0.0012 instead of $0.013.
    routed("told", baselineModelId="big", routerConfidence=0.9),
    # What is reported counts; the feature's baseline: $0.002 instead of 500 × 10 + 50 × 30 = $0.0065.
    routed("default", inputTokens=500, outputTokens=50, cost=0.002, routerConfidence=0.6),
    # The router took the dearer one: $0.013 instead of $0.0012; the user was not pleased.
    routed("dearer", modelId="big", baselineModelId="small"),
    json.dumps({"requestId": "dearer", "rating": -1, "type": "feedback", "timestamp": "2026-03-02T10:01:00Z"}).encode(),
    # Nobody knows what the baseline costs; it failed.
    routed("unknown", baselineModelId="nobody-knows", statusCode=500),
    # Tokens in total alone; the same message is asked again.
    routed("total", inputTokens=None, outputTokens=None, totalTokens=1100, cost=0.001, baselineModelId="big",
           messageId="m1"),
    routed("again", timestamp="2026-03-02T10:05:00Z", messageId="m1", baselineModelId="big", wasRouted=False),
    # No baseline is told, and the feature has none.
    routed("none", featureId="read"),
    # A baseline of another provider, found by its name alone; what was used has no price.
    routed("unpriced", provider="elsewhere", modelId="unheard", baselineModelId="claude-haiku-4-5"),
    request("plain", featureId="write", inputTokens=100, outputTokens=10),
]  # fmt: skip
LATER_DAYS = [
    # 100 × 10 + 100 × 30 at big's, whose output may cost something else from the tenth on; then small is the default.
    routed("ninth", timestamp="2026-03-09T23:59:59Z", inputTokens=100),
    routed("tenth", timestamp="2026-03-10T00:00:00Z", inputTokens=100),
    routed("twentieth", timestamp="2026-03-20T00:00:00Z", inputTokens=100),
]
KINDS = [
    request(f"kinds {number} {model}", f"2026-03-05T1{number}:00:00Z", provider=provider, modelId=model, **tokens)
    for number, tokens in enumerate(TOKENS)
    for provider, model in (
        ("acme", "big"),
        ("acme", "small"),
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-4o"),
    )
]
CHATS = [
    # The second message is asked twice; its last answer is liked: resolved by two messages, whatever comes after.
    request("c1 1", "2026-03-06T10:00:00Z", chatId="c1", messageId="c1 1"),
    request("c1 2", "2026-03-06T10:01:00Z", chatId="c1", messageId="c1 2"),
    request("c1 3", "2026-03-06T10:02:00Z", chatId="c1", messageId="c1 2", modelId="big", rating=5),
    request("c1 4", "2026-03-06T10:03:00Z", chatId="c1", messageId="c1 4"),
    # Ends with a stop: not resolved.
    request("c2 1", "2026-03-06T10:00:00Z", chatId="c2"),
    request("c2 2", "2026-03-06T10:01:00Z", chatId="c2", stopped=True),
    # Nobody complains: resolved by its end, four messages.
    *[request(f"c3 {number}", f"2026-03-06T11:0{number}:00Z", chatId="c3") for number in range(4)],
]  # fmt: skip


# acme's input holds cached tokens, anthropic's does not.
CACHED = [
    request(number, "2026-03-07T10:00:00Z", provider=provider, modelId=model, **tokens)
    for tokens in ({"inputTokens": 1000, "cachedTokens": 400, "outputTokens": 10},)
    for number, provider, model in (("inside", "acme", "small"), ("beside", "anthropic", "claude-sonnet-4-5"))
]
# One of them is a day too old for the last thirty.
TIMED = [
    request(f"timed {ms}", at, appId="timed", sessionId=f"timed {ms}", responseTime=ms)
    for ms, at in [(999, "2026-03-01T23:59:59Z"), *((ms, f"2026-03-1{ms % 4}T10:00:00Z") for ms in range(1, 101))]
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with prices and baselines of its own, that this module builds from."""
    with copied_project(tmp_path_factory.mktemp("usage") / "project") as folder:
        write_seeds(folder, llm_price_overrides=OVERRIDES.format(big_output=30), baseline_models=BASELINES)
        write_seeds(folder, what_if_models=WHAT_IF)
        yield folder


def write_seeds(project: Path, **seeds: str) -> None:
    for name, content in seeds.items():
        (project / "seeds" / f"{name}.csv").write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def warehouse(project: Path, make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """All of it, built."""
    made = make_warehouse()
    made.load("llm_requests", [*FIRST_DAY, *LATER_DAYS, *KINDS, *CACHED, *CHATS, *TIMED])
    assert made.refresh(AS_OF).tests_failed == []
    return made


def numbers(*texts: str | None) -> tuple:
    return tuple(text if text is None else Decimal(text) for text in texts)


def test_a_router_saves_what_the_baselines_would_have_cost_more(warehouse):
    by_model = """
    select
        model, requests, routed_requests, routed_rate, mean_confidence, accurate_requests, accuracy_rate,
        compared_requests, requests_without_baseline, unpriced_baselines, unpriced_requests,
        compared_cost_usd, baseline_cost_usd, savings_usd, savings_rate
    from marts.agg_router_daily where request_date = '2026-03-02' and feature_id = 'write' order by model
    """
    assert warehouse.query(by_model) == [
        ("big", 1, 1, 1, None, 0, 0, 1, 0, 0, 0, *numbers("0.013", "0.0012", "-0.0118", "-9.833333")),
        # told, default, unknown, total of six: the first two went well, and are compared
        ("small", 6, 4, *numbers("0.666667", "0.75"), 2, Decimal("0.5"), 2, 0, 2, 0,
         *numbers("0.0032", "0.0195", "0.0163", "0.835897")),
        ("unheard", 1, 1, 1, None, 1, 1, 0, 0, 0, 1, None, None, None, None),
    ]  # fmt: skip
    without = "select requests_without_baseline, savings_usd, baseline_models from marts.agg_router_daily"
    assert warehouse.query(f"{without} where feature_id = 'read'") == [(1, None, None)]
    told = "select baseline_models from marts.agg_router_daily where feature_id = 'write' and model = 'small'"
    assert warehouse.query(f"{told} and request_date = '2026-03-02'") == [(["big", "nobody-knows"],)]


BASELINE_COSTS = """
select request_date::text, baseline_cost_usd from marts.agg_router_daily
where request_date > '2026-03-08' and routed_requests > 0 order by request_date
"""


def test_a_features_baseline_is_that_of_the_day_at_the_price_of_the_time(warehouse):
    assert warehouse.query(BASELINE_COSTS) == [
        ("2026-03-09", Decimal("0.004")), ("2026-03-10", Decimal("0.004")), ("2026-03-20", Decimal("0.0003")),
    ]  # fmt: skip


# A request and the same tokens told of the other model.
SAME_TOKENS = """
select requests.request_id, what_if.what_if_model, what_if.what_if_cost_usd, twins.computed_cost_usd
from marts.llm_request_what_if as what_if
inner join marts.fct_llm_requests as requests using (session_group, request_key)
inner join marts.fct_llm_requests as twins
    on split_part(requests.request_id, ' ', 2) = split_part(twins.request_id, ' ', 2)
    and what_if.what_if_model = twins.model
    and twins.request_id like 'kinds %%'
where requests.request_id like 'kinds %%'
"""


def test_another_models_price_is_what_the_request_would_have_cost_there(warehouse):
    compared = warehouse.query(SAME_TOKENS)
    assert len(compared) == len(TOKENS) * 4 * 3
    assert [row for row in compared if row[2] is None or row[2] != row[3]] == []
    # 500 × 10 + 500 cached × 10 + 80 × 30: no price for cached tokens, so they are input.
    of_big = {row[2] for row in compared if row[0].startswith("kinds 0") and row[1] == "big"}
    assert of_big == {Decimal("0.0124")}
    # 250,000 × 6 + 10 × 22.5, the whole request by the size of its input.
    dear = {row[2] for row in compared if row[0].startswith("kinds 1") and row[1] == "claude-sonnet-4-5"}
    assert dear <= {Decimal("1.500225"), Decimal("0.7501125")}
    assert len(dear) == 1
    what_if = "select count(*), count(what_if_cost_usd) from marts.llm_request_what_if where what_if_model = %s"
    requests = warehouse.query("select count(*) from marts.fct_llm_requests")[0][0]
    assert warehouse.query(what_if, "nobody-knows") == [(requests, 0)]


def test_cached_tokens_are_counted_as_the_requests_own_provider_counts_them(warehouse):
    """Told of either provider, and priced at the other, they are priced once."""
    costs = """
    select request_id, what_if_model, what_if_cost_usd from marts.llm_request_what_if
    inner join marts.fct_llm_requests using (session_group, request_key)
    where request_id in ('inside', 'beside') and what_if_model in ('small', 'claude-sonnet-4-5') order by 1 desc, 2 desc
    """
    assert warehouse.query(costs) == [
        # 600 × 1 + 400 × 0.1 + 10 × 2 and 600 × 3 + 400 × 0.3 + 10 × 15
        ("inside", "small", Decimal("0.00066")), ("inside", "claude-sonnet-4-5", Decimal("0.00207")),
        # 1000 of each and 400 beside them
        ("beside", "small", Decimal("0.00106")), ("beside", "claude-sonnet-4-5", Decimal("0.00327")),
    ]  # fmt: skip


def test_a_chat_is_resolved_by_what_was_liked_or_by_its_end(warehouse):
    effect = """
    select model, requests, feedback_requests, thumbs_up, thumbs_down, thumbs_up_rate, mean_rating,
        regenerated_requests, stopped_requests, chats, resolved_chats, resolving_messages, messages_to_resolution
    from marts.agg_prompt_effectiveness where request_date = '2026-03-06' order by model
    """
    assert warehouse.query(effect) == [
        ("big", 1, 1, 1, 0, 1, 5, 0, 0, 1, 1, 2, 2),
        ("small", 9, 0, 0, 0, None, None, 1, 1, 2, 1, 4, 4),
    ]


def test_thirty_days_are_judged_as_one(warehouse):
    """Percentiles of all their requests, not of days; what is older is left out."""
    days = "select requests, p50_latency_ms, p95_latency_ms, p99_latency_ms from marts.agg_model_performance_30d"
    assert warehouse.query(f"{days} where app_id = 'timed'") == [(100, 50, 95, 99)]
    by_day = "select sum(requests) from marts.agg_model_performance where app_id = 'timed'"
    assert warehouse.query(by_day) == [(101,)]


FLEX = """
select what_if_model, what_if_cost_usd from marts.llm_request_what_if
inner join marts.fct_llm_requests using (session_group, request_key)
where service_tier = 'flex' order by what_if_model
"""


def test_changed_lists_and_prices_give_what_a_full_build_gives(project, warehouse):
    """A baseline that becomes dearer, another default, models put on the list and taken off; nothing is built whole."""
    write_seeds(project, llm_price_overrides=OVERRIDES.format(big_output=40))
    # A service tier nobody has named, late feedback, and a retry of what was the last asking.
    warehouse.load("llm_requests", [
        request("flex", "2026-03-08T10:00:00Z", serviceTier="flex", inputTokens=1000, outputTokens=100),
        json.dumps({"requestId": "told", "rating": 0, "timestamp": "2026-03-08T10:00:00Z"}).encode(),
        routed("once more", timestamp="2026-03-02T10:06:00Z", messageId="m1", baselineModelId="big"),
    ])  # fmt: skip
    run = warehouse.refresh(AS_OF)
    assert (run.rebuilt, run.tests_failed) == ([], [])
    assert warehouse.query(BASELINE_COSTS) == [
        ("2026-03-09", Decimal("0.004")), ("2026-03-10", Decimal("0.005")), ("2026-03-20", Decimal("0.0003")),
    ]  # fmt: skip
    accuracy = "select routed_requests, accurate_requests from marts.agg_router_daily where request_date = '2026-03-02'"
    assert warehouse.query(f"{accuracy} and feature_id = 'write' and model = 'small'") == [(5, 2)]
    assert warehouse.query(FLEX) == [
        ("big", Decimal("0.013")), ("claude-sonnet-4-5", Decimal("0.0045")), ("nobody-knows", None),
        ("small", Decimal("0.0012")),
    ]  # fmt: skip

    write_seeds(project, baseline_models=BASELINES_LATER, what_if_models=WHAT_IF_LATER)
    run = warehouse.refresh(AS_OF)
    assert (run.rebuilt, run.tests_failed) == ([], [])
    assert {cost for _, cost in warehouse.query(BASELINE_COSTS)} == {Decimal("0.0003")}
    # 1000 × 1 + 100 × 5 for any feature without a baseline of its own.
    of_any = "select baseline_cost_usd from marts.agg_router_daily where feature_id = 'read'"
    assert warehouse.query(of_any) == [(Decimal("0.0015"),)]
    assert [model for model, _ in warehouse.query(FLEX)] == ["big", "gpt-4o"]
    # In every tier that requests have named, or none: what is no more listed is looked up only where it is told.
    rates = "select count(*) from intermediate.int_llm_rates where provider = 'anthropic' and service_tier = 'flex'"
    assert warehouse.query(rates) == [(0,)]

    before = warehouse.contents()
    warehouse.query("delete from ops.model_state returning 1")
    assert len(warehouse.refresh(AS_OF).rebuilt) > 20
    assert_same(before, warehouse.contents())
