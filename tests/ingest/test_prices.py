"""The price list as seeds, and the figures of a request that it is priced by."""

from __future__ import annotations

import csv
import json

import pytest

from ingest import prices
from ingest.errors import TidemarkError
from ingest.streams.llm_requests import LlmRequests

PLACES = {name: place for place, name in enumerate(LlmRequests.columns)}


def figures(record: dict, *names: str) -> dict[str, str]:
    """The columns of a record that are not empty, of those named."""
    decoded = LlmRequests().decode(json.dumps({"timestamp": "2026-03-02T12:00:00Z"} | record).encode())
    assert not decoded.refused, decoded.refused
    row = decoded.rows[0][1].split("\0")
    return {name: row[PLACES[name]] for name in names if row[PLACES[name]]}


COUNTS = (
    "model", "provider", "service_tier", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "input_includes_cached",
)  # fmt: skip


def test_seeds_are_written_once_and_alike(tmp_path, run_ingest):
    pytest.importorskip("genai_prices")
    first = run_ingest("prices", "--folder", tmp_path)
    assert first.returncode == 0, first.stderr
    written = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert written.keys() == prices.HEADERS.keys()

    again = run_ingest("prices", "--folder", tmp_path)

    assert again.stdout.startswith("nothing changed: ")
    assert written == {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    # dbt takes no checksum of a larger one, and would load it each time.
    assert max(map(len, written.values())) < 1024 * 1024
    rows = list(csv.reader(written["llm_prices"].decode().splitlines()))[1:]
    assert rows == sorted(rows)
    assert all("e" not in row[-1].lower() for row in rows)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("genai_prices")
    with pytest.raises(TidemarkError, match="is no folder"):
        prices.write_seeds(tmp_path / "nowhere")


def test_opentelemetry_names_are_read():
    record = {
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 30,
        "gen_ai.usage.cache_creation.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 7,
        "openai.response.service_tier": "flex",
    }
    assert figures(record, *COUNTS) == {
        "provider": "aws.bedrock", "model": "gpt-4o", "service_tier": "flex", "input_tokens": "100",
        "output_tokens": "20", "cached_tokens": "30", "cache_write_tokens": "5", "reasoning_tokens": "7",
        # by their convention, whatever the provider's own count is
        "input_includes_cached": "t",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 2},
            },
            {
                "input_tokens": "100", "output_tokens": "20", "cached_tokens": "30", "input_audio_tokens": "4",
                "reasoning_tokens": "7", "output_audio_tokens": "2",
            },
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 20,
                "cache_read_input_tokens": 30,
                "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
            },
            {
                "input_tokens": "100", "output_tokens": "20", "cached_tokens": "30", "cache_write_tokens": "9",
                "cache_write_1h_tokens": "5",
            },
        ),
        # what is told plainly goes before the details
        (
            {"inputTokens": 1, "cachedTokens": 3, "inputTokensDetails": {"cachedTokens": 4}},
            {"input_tokens": "1", "cached_tokens": "3"},
        ),
    ],
    ids=["prompt and completion", "cache written for an hour", "told twice"],
)  # fmt: skip
def test_details_of_usage_are_read(usage, told):
    assert figures({"model": "m", "usage": usage}, *COUNTS) == {"model": "m"} | told


def test_a_record_without_the_later_columns_is_what_it_was():
    # The hash it had before there were service tiers and audio tokens.
    decoded = LlmRequests().decode(b'{"timestamp": "2026-03-02T12:00:00Z", "model": "m"}')
    columns = dict(zip(LlmRequests.columns, decoded.rows[0][1].split("\0"), strict=True))
    assert columns["content_hash"] == "e909599b-4b21-37c3-dcf6-19f82b964f40"
