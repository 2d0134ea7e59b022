"""Prices as the package of the price list has them, for every model it knows, and repricing of what a change covers."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingest import prices
from orchestration.purge import purge
from tests.warehouse.conftest import Warehouse, copied_project

pytest.importorskip("genai_prices")

AS_OF = "2026-11-12 00:00:00+00"
TIMES = ("2025-05-20T02:30:00Z", "2026-03-13T00:00:00Z", "2026-10-20T23:59:59Z", "2026-11-09T08:00:00Z")
TIERS = ("", "batch", "priority", "standard", "flex")
# Input, of it read from a cache and written to one, output: below, at and above where tiers begin.
TOKENS = ((1_000, 200, 100, 50), (200_000, 0, 0, 7), (200_001, 0, 0, 7), (1_100_000, 5, 3, 11), (272_001, 1, 0, 3))


class Request(NamedTuple):
    """A request as it is told."""

    provider: str | None
    model: str
    at: str
    service_tier: str
    tokens: tuple[int, int, int, int]

    def record(self, number: int) -> bytes:
        told = {
            "requestId": f"r{number}", "provider": self.provider, "model": self.model, "timestamp": self.at,
            "serviceTier": self.service_tier or None, "inputIncludesCached": True,
        }  # fmt: skip
        figures = ("inputTokens", "cachedTokens", "cacheWriteTokens", "outputTokens")
        return json.dumps(told | dict(zip(figures, self.tokens, strict=True))).encode()


def texts(clause: Any) -> Iterator[str]:
    """The texts a rule compares names with."""
    for part in getattr(clause, "or_", None) or getattr(clause, "and_", None) or [clause]:
        if part is clause:
            if type(part).__name__ != "ClauseRegex":
                yield next(iter(vars(part).values()))
        else:
            yield from texts(part)


def spellings(provider: Any, model: Any, number: int) -> list[tuple[str | None, str]]:
    """A model under its own id and under one of the names its rules know; every few models otherwise too."""
    known = list(texts(model.match))
    names = [(provider.id, model.id), (provider.id, known[number % len(known)] if known else model.id)]
    odd = [
        (provider.name, model.id.upper()),
        (provider.id, f"{model.id}-20251211"),
        (None, model.id),
        (None, f"{provider.id}/{model.id}"),
        ("litellm", f"{provider.id}/{model.id}"),
        (provider.id, f"{provider.id}/{model.id}"),
        (f" {provider.id.upper()} ", f"{model.id}-2025-12-11"),
    ]
    return [*names, odd[number % len(odd)]]


def requests() -> list[Request]:
    """Requests under every model's names, at several times, of several sizes and service tiers."""
    from genai_prices.data import providers

    told = [
        Request(*name, TIMES[(number + place) % 4], TIERS[(number + place) % 5], TOKENS[(number // 4 + place) % 5])
        for provider in providers
        for number, model in enumerate(provider.models)
        for place, name in enumerate(spellings(provider, model, number))
    ]
    strangers = [("ollama", "llama3"), (None, "REDACTED"), ("github", "gpt-4o"), ("fireworks_ai", "nothing/like/it")]
    return told + [Request(*stranger, TIMES[0], "", TOKENS[0]) for stranger in strangers]


def answer(request: Request) -> tuple[str, str, Decimal | None] | None:
    """The package's: provider and model, and what the request costs, None if it has no price in tokens."""
    from genai_prices import Usage
    from genai_prices.data_snapshot import get_snapshot

    lists = get_snapshot()
    _, aliases = rows_of(prices.SEEDS / "llm_provider_names.csv")
    meant = {row["provider_name"]: row["provider"] for row in aliases}

    def meaning(name: str | None) -> str | None:
        return meant.get(name.strip().lower(), name) if name else name

    def seller_of(name: str) -> Any:
        return lists.find_provider(None, meaning(name), None)

    try:
        seller, model = lists.find_provider_model(request.model, None, meaning(request.provider), None)
    except LookupError:
        # As routers write it: the provider before a slash, unless another one is told.
        before, slash, after = request.model.partition("/")
        try:
            if not slash or not after:
                return None
            if request.provider and seller_of(request.provider) is not seller_of(before):
                return None
            seller, model = lists.find_provider_model(after, seller_of(before), None, None)
        except LookupError:
            return None
    owner = next(
        provider for provider in [seller, *lists.providers] if any(model is listed for listed in provider.models)
    )
    context = dict.fromkeys(("processing", "service_tier"), request.service_tier) if request.service_tier else None
    at = datetime.fromisoformat(request.at.replace("Z", "+00:00"))
    standard = model.get_prices(at)
    priced = {key for key, value in vars(standard).items() if value is not None}
    if priced and not priced & prices.UNITS.keys():
        return owner.id, model.id, None
    whole, read, written, produced = request.tokens
    usage = Usage(input_tokens=whole, cache_read_tokens=read, cache_write_tokens=written, output_tokens=produced)
    cost = model.calc_price(usage, seller, genai_request_timestamp=at, price_context=context).total_price
    return owner.id, model.id, cost


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project that refreshes in this module build from."""
    with copied_project(tmp_path_factory.mktemp("prices") / "project") as folder:
        # The list alone, as the package has it.
        header, _ = rows_of(folder / "seeds" / "llm_price_overrides.csv")
        write_rows(folder / "seeds" / "llm_price_overrides.csv", header, [])
        yield folder


@pytest.fixture(scope="module")
def told() -> list[Request]:
    return requests()


@pytest.fixture(scope="module")
def warehouse(project, make_warehouse, told) -> Warehouse:
    """Every request, built."""
    made = make_warehouse()
    made.load("llm_requests", [request.record(number) for number, request in enumerate(told)])
    made.refresh(AS_OF)
    return made


FACTS = """
select request_id, price_provider, price_model, computed_cost_usd, price_version, xmin::text
from marts.fct_llm_requests
where request_id ~ '^r[0-9]+$'
"""


SESSIONS_ASTRAY = """
select session_key, llm_cost_usd, cost_usd
from marts.fct_sessions
full join (
    select session_key, sum(cost_usd) as cost_usd from marts.fct_llm_requests group by session_key
) as requests using (session_key)
where llm_cost_usd is distinct from cost_usd
"""


def facts(warehouse: Warehouse) -> dict[int, tuple]:
    """Number of the request → what it was priced by, and which transaction wrote it."""
    return {int(request_id[1:]): tuple(rest) for request_id, *rest in warehouse.query(FACTS)}


def test_every_model_is_found_and_priced_as_the_package_does(warehouse, told):
    found = facts(warehouse)
    assert found.keys() == set(range(len(told)))
    differing, answered = [], 0
    for number, request in enumerate(told):
        expected = answer(request)
        provider, model, cost = found[number][:3]
        answered += expected is not None
        if (provider, model, cost) != expected if expected else (model, cost) != (None, None):
            differing.append((request, expected, (provider, model, cost)))
    assert not differing, (len(differing), differing[:5])
    assert answered > 5_000
    # What nobody prices costs nothing known, not nothing.
    assert warehouse.query(
        "select count(*) from marts.fct_llm_requests where price_version is null and cost_usd is not null"
    ) == [(0,)]


def rows_of(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def write_rows(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def repriced(warehouse: Warehouse) -> tuple[dict[int, tuple], dict[int, tuple]]:
    """Refresh; the facts that were written anew, before and after. No model may be built whole."""
    before = facts(warehouse)
    run = warehouse.refresh(AS_OF)
    assert run.rebuilt == []
    after = facts(warehouse)
    # What stands on requests follows.
    assert warehouse.query(SESSIONS_ASTRAY) == []
    return {n: before[n] for n in after if after[n] != before[n]}, {n: after[n] for n in after if after[n] != before[n]}


def numbers(told: list[Request], warehouse: Warehouse, provider: str, model: str, since: str = "") -> set[int]:
    """Requests that stand for a model of the price list, at or after a time."""
    found = facts(warehouse)
    return {n for n, request in enumerate(told) if found[n][:2] == (provider, model) and request.at >= since}


def test_a_corrected_price_reprices_the_requests_it_covers_and_no_other(project, warehouse, told):
    path = project / "seeds" / "llm_prices.csv"
    header, rows = rows_of(path)
    covered = numbers(told, warehouse, "anthropic", "claude-3-5-haiku-latest", since="2026-10-01")
    assert 0 < len(covered) < len(numbers(told, warehouse, "anthropic", "claude-3-5-haiku-latest"))
    # Output costs two dollars more from October 2026 on; until then what it did.
    of_model = [
        row
        for row in rows
        if (row["provider"], row["model"], row["variant"]) == ("anthropic", "claude-3-5-haiku-latest", "standard")
    ]
    for row in of_model:
        later = dict(row, valid_from="2026-10-01")
        row["valid_to"] = "2026-10-01"
        if row["unit"] == "output":
            later["price_usd"] = str(Decimal(row["price_usd"]) + 2)
        rows.append(later)
    write_rows(path, header, rows)

    before, after = repriced(warehouse)

    assert after.keys() == covered
    for number in covered:
        assert after[number][2] - before[number][2] == Decimal(2) * told[number].tokens[3] / 1_000_000
        assert after[number][3] != before[number][3]


def test_an_override_and_a_discount_go_on_top_of_the_list(project, warehouse, told):
    path = project / "seeds" / "llm_price_overrides.csv"
    header, rows = rows_of(path)
    empty = dict.fromkeys(header, "")
    # A model of one's own, and a tenth off what a provider's models cost in one year.
    rows.append(
        empty | {"override_name": "own", "provider": "ollama", "model": "llama*", "unit": "output", "price_usd": "4"}
    )
    rows.append(
        empty
        | {
            "override_name": "agreed", "provider": "groq", "valid_from": "2026-01-01", "valid_to": "2026-11-01",
            "discount_rate": "0.1",
        }
    )  # fmt: skip
    write_rows(path, header, rows)
    found = facts(warehouse)
    own = {n for n, request in enumerate(told) if request.provider == "ollama"}
    of_groq = {
        n
        for n, request in enumerate(told)
        if found[n][0] == "groq" and found[n][2] is not None and "2026-01-01" <= request.at < "2026-11-01"
    }
    assert len(own) == 1
    assert of_groq

    before, after = repriced(warehouse)

    assert own | {n for n in of_groq if before.get(n, (0, 0, 0))[2]} <= after.keys() <= own | of_groq
    for number in after.keys() & of_groq:
        assert after[number][2] == before[number][2] * Decimal("0.9")
    (number,) = own
    assert after[number][2] == Decimal(4) * told[number].tokens[3] / 1_000_000
    listed = warehouse.query("select list_cost_usd, cost_basis from marts.fct_llm_requests where provider = 'ollama'")
    assert listed == [(None, "computed")]


# Real requests, where a folder with data is at hand.
REAL = Path(os.environ.get("TIDEMARK_DATA") or "data") / "aider" / "llm_requests.ndjson.gz"


@pytest.mark.skipif(not REAL.exists(), reason="TIDEMARK_DATA names no folder with the data")
def test_real_requests_cost_what_was_reported(project, warehouse):
    """5,563 requests: of 4,016 a first attempt with the list alone found 3,516 within 1 %."""
    shutil.copy(prices.SEEDS / "llm_price_overrides.csv", project / "seeds" / "llm_price_overrides.csv")
    warehouse.load("llm_requests", gzip.decompress(REAL.read_bytes()).splitlines())
    warehouse.refresh(AS_OF)

    of_aider = "from marts.fct_llm_requests where request_id like 'aider-%%'"
    counts = warehouse.query(
        f"""
        select
            count(*),
            count(*) filter (where reported_cost_usd > 0 and computed_cost_usd is not null),
            count(*) filter (
                where reported_cost_usd > 0 and abs(reported_cost_usd - computed_cost_usd) <= 0.01 * reported_cost_usd
            )
        {of_aider}
        """
    )[0]
    assert counts[0] == 5_563
    assert counts[1] >= 4_300
    assert counts[2] / counts[1] > 0.96
    # One request was reported at nearly ten thousand dollars.
    assert warehouse.query(
        "select request_date::text, model, round(disagreement_usd) from marts.agg_llm_pricing_daily"
        " where is_disagreement"
    ) == [("2025-05-07", "gemini/gemini-2.5-pro-preview-03-25", Decimal(9990))]
    # Names that were blanked out have no price.
    redacted = f"select count(*), count(computed_cost_usd) {of_aider} and model like '%%REDACTED'"
    assert warehouse.query(redacted) == [(404, 0)]


def test_what_a_closed_day_cost_stands_whatever_prices_are_corrected_later(project, warehouse, told):
    purge(warehouse.server, date(2026, 10, 1))
    warehouse.refresh(AS_OF)
    path = project / "seeds" / "llm_prices.csv"
    header, rows = rows_of(path)
    of_model = numbers(told, warehouse, "openai", "gpt-4o")
    for row in rows:
        if (row["provider"], row["model"], row["unit"]) == ("openai", "gpt-4o", "output"):
            row["price_usd"] = str(Decimal(row["price_usd"]) + 2)
    write_rows(path, header, rows)

    _, after = repriced(warehouse)

    assert any(told[number].at < "2026-10-01" for number in of_model)
    assert after.keys() == {number for number in of_model if told[number].at >= "2026-10-01"}
