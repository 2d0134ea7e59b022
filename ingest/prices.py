"""The open price list of the package `genai-prices` as seeds: who is meant by a name, and what it costs when.

Three files, sorted, so that a change of the list is reviewed as a diff. The package's own code decides which price
holds at a time and for a variant; here its answers are taken down at each moment at which they may change.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from ingest.errors import TidemarkError

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
# Package's price key → unit of the seed. What it prices otherwise (hours, pages, searches), no record tells.
UNITS = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "requests_kcount": "request",
}
HEADERS = {
    "llm_providers": ("place", "provider", "matched_by", "alternative", "match_kind", "match_text"),
    "llm_models": ("provider", "place", "price_provider", "model", "alternative", "match_kind", "match_text"),
    "llm_prices": (
        "provider", "model", "variant", "valid_from", "valid_to", "daily_from", "daily_to", "tier_start", "unit",
        "price_usd",
    ),
}  # fmt: skip
MATCH_KINDS = {
    "ClauseEquals": "equals",
    "ClauseStartsWith": "starts_with",
    "ClauseEndsWith": "ends_with",
    "ClauseContains": "contains",
    "ClauseRegex": "regex",
}
MIDNIGHT = time(0)
STANDARD = "standard"
# dbt takes no checksum of a larger seed, and would load it anew each time.
LARGEST_SEED = 1024 * 1024

Row = tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """When a price holds: from a day to before a day, and from a time of day to before one, UTC; None is open."""

    first: date | None
    stop: date | None
    daily_from: time
    daily_to: time | None

    @property
    def moment(self) -> datetime:
        """A moment in it."""
        return datetime.combine(self.first or date(2000, 1, 1), self.daily_from, timezone.utc)


def write_seeds(folder: Path = SEEDS) -> list[Path]:
    """Write the three seeds to `folder`; returns the files whose content changed.

    Raises:
        TidemarkError: the folder is not there, the package is not installed, or a file grew larger than dbt takes a
            checksum of.
    """
    if not folder.is_dir():
        raise TidemarkError(f"{folder} is no folder: run this in a checkout, or name its seeds by --folder.")
    changed = []
    for name, content in seeds().items():
        if len(content) > LARGEST_SEED:
            raise TidemarkError(f"{name}.csv would be {len(content):,} bytes; dbt compares seeds of up to 1 MiB only.")
        path = folder / f"{name}.csv"
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            changed.append(path)
    return changed


def seeds() -> dict[str, bytes]:
    """Name of each seed → its content as CSV."""
    # Imported here: the command line must not need a second to list its commands.
    try:
        from genai_prices.data import providers
    except ModuleNotFoundError as error:
        raise TidemarkError(
            "The price list is not installed: `pip install genai-prices`, with Python 3.11 or newer."
        ) from error

    rows = {
        "llm_providers": list(provider_rows(providers)),
        "llm_models": [row for provider in providers for row in model_rows(provider, providers)],
        "llm_prices": sorted(row for provider in providers for row in price_rows(provider)),
    }
    return {name: as_csv(HEADERS[name], rows[name]) for name in HEADERS}


def as_csv(header: Row, rows: list[Row]) -> bytes:
    """CSV with a header and lines that end alike everywhere."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def provider_rows(providers: list[Any]) -> Iterator[Row]:
    """How a provider is found, by its own name (place 0), by rules on the name told, or by the model's name."""
    for provider in providers:
        yield "0", provider.id, "provider", "1", "equals", provider.id
    for place, provider in enumerate(providers, 1):
        for matched_by, clause in (("provider", provider.provider_match), ("model", provider.model_match)):
            for rule in rules(clause) if clause else ():
                yield str(place), provider.id, matched_by, *rule


def model_rows(provider: Any, providers: list[Any]) -> Iterator[Row]:
    """How a provider's model is found: its own models, in the list's order, then those of providers it resells."""
    known = {other.id: other for other in providers}
    sellers = [provider, *(known[name] for name in provider.fallback_model_providers or () if name in known)]
    models = [(seller, model) for seller in sellers for model in seller.models]
    for place, (seller, model) in enumerate(models, 1):
        for rule in rules(model.match):
            yield provider.id, str(place), seller.id, model.id, *rule


def rules(clause: Any) -> Iterator[tuple[str, str, str]]:
    """(alternative, kind, text): a name matches if all rules of one alternative do. Text is in lower case."""
    for number, alternative in enumerate(dict.fromkeys(alternatives(clause)), 1):
        for kind, text in alternative:
            yield str(number), kind, text


def alternatives(clause: Any) -> list[tuple[tuple[str, str], ...]]:
    """A clause as alternatives of rules that must all hold (disjunctive normal form)."""
    kind = type(clause).__name__
    if kind == "ClauseOr":
        return [alternative for part in clause.or_ for alternative in alternatives(part)]
    if kind == "ClauseAnd":
        found: list[tuple[tuple[str, str], ...]] = [()]
        for part in clause.and_:
            found = [left + right for left in found for right in alternatives(part)]
        return found
    text = next(iter(vars(clause).values()))
    return [((MATCH_KINDS[kind], text if kind == "ClauseRegex" else text.lower()),)]


def price_rows(provider: Any) -> Iterator[Row]:
    """What a provider's models cost: USD per million tokens, or per thousand requests."""
    for model in provider.models:
        for variant, context in variants_of(model).items():
            for span, prices in prices_over_time(model, context):
                for tier_start, unit, price in tiers(prices):
                    times = (str(at or "")[:5] for at in (span.daily_from, span.daily_to))
                    when = (str(span.first or "-infinity"), str(span.stop or ""), *times)
                    yield provider.id, model.id, variant, *when, str(tier_start), unit, plain(price)


def variants_of(model: Any) -> dict[str, dict[str, str]]:
    """Name of each variant of a model's price → the request it is for, as the package asks for it."""
    found: dict[str, dict[str, str]] = {STANDARD: {}}
    for variant in model.price_variants or ():
        (value,) = variant.when.values()
        if found.setdefault(value, variant.when) != variant.when:
            raise TidemarkError(
                f"{model.id} has two kinds of variants named {value}: the price list's form has changed."
            )
    return found


def prices_over_time(model: Any, context: dict[str, str]) -> Iterator[tuple[Span, dict[str, Any]]]:
    """The spans in which a model's prices stay as they are, and the prices, spans of equal prices made one."""
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [part.constraint for part in (*conditional, *(model.price_variants or ())) if part.constraint]
    days = sorted({limit.start_date for limit in constraints if hasattr(limit, "start_date")})
    windows = [limit for limit in constraints if hasattr(limit, "start_time")]
    times = sorted({MIDNIGHT} | {utc(at) for window in windows for at in (window.start_time, window.end_time)})
    spans = [
        Span(first, stop, daily_from, daily_to)
        for first, stop in pairwise([None, *days, None])
        for daily_from, daily_to in pairwise([*times, None])
    ]
    told: list[tuple[Span, dict[str, Any]]] = []
    for span in spans:
        all_prices = priced(model.get_prices(span.moment, context))
        # No price at all is the list's way to say that it is free.
        prices = (
            {UNITS[key]: price for key, price in all_prices if key in UNITS} if all_prices else {"input": Decimal(0)}
        )
        if told and len(times) == 1 and told[-1][1] == prices:
            told[-1] = (Span(told[-1][0].first, span.stop, MIDNIGHT, None), prices)
        else:
            told.append((span, prices))
    yield from told


def priced(prices: Any) -> list[tuple[str, Any]]:
    """(price key, price) of what has one."""
    return [(key, value) for key, value in vars(prices).items() if value is not None]


def utc(at: time) -> time:
    """A time of day in UTC, without its zone; without one it is UTC already."""
    if at.tzinfo is None:
        return at
    return datetime.combine(date(2000, 1, 1), at).astimezone(timezone.utc).time()


def tiers(prices: dict[str, Any]) -> Iterator[tuple[int, str, Decimal]]:
    """(tier start, unit, price), every unit in every tier: a request is priced at one tier whole."""
    starts = {0} | {tier.start for value in prices.values() for tier in getattr(value, "tiers", ())}
    for start in sorted(starts):
        for unit, value in prices.items():
            yield start, unit, price_in_tier(value, start)


def price_in_tier(value: Any, start: int) -> Decimal:
    """The price of a unit for a request whose input is larger than `start` and in no higher tier."""
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= start and start > 0]
    return reached[-1] if reached else value.base


def plain(price: Decimal) -> str:
    """A price without exponent and without zeros at its end."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
