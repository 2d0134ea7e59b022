"""Rules of the dbt project that dbt-bouncer has no check for, read off the manifest."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestration.refresh import PROJECT_FOLDER, dbt_arguments
from orchestration.replay import emitted_kinds

Node = Mapping[str, Any]

# Macros that a query on literal rows cannot test, and what tests them.
TESTED_ELSEWHERE = {
    "measured": "test_truth and metric_values_add_up_to_facts compare its sums with the facts",
    "baseline_seasons": "test_detectors: eight weeks say what is expected",
    "lookback_days": "test_anomalies: what a late event changes is rescored",
    "touch_watched_days": "test_anomalies: late events, and hours that pass in silence",
    "touch_judged_days": "test_anomalies: late events, and hours that pass in silence",
    "look_back_from_touched": "test_anomalies: late events, and hours that pass in silence",
    "complaints_of_anomaly_rules": "anomaly_rules_are_complete; test_detectors: a rule that names no metric",
    "refuse_bad_anomaly_rules": "test_detectors: a rule that names no metric",
    "pasts_of": "test_detectors judges by it",
    "looks_up": "test_detectors judges by it",
    "looks_down": "test_detectors judges by it",
    "verdict_columns": "test_detectors judges by it",
    "fixed_threshold_verdicts": "test_detectors",
    "seasonal_baseline_verdicts": "test_detectors",
    "self_calibrating_verdicts": "test_detectors",
    "count_tail_verdicts": "test_detectors",
    "contributors_of": "test_detectors: what moved it",
    "has_other_columns": "test_anomalies: a seed with another column",
    "touched": "the hourly tests read the work list by it; test_same_answer builds by it",
    "touched_keys": "test_same_answer builds by it",
    "where_touched": "test_same_answer builds by it",
    "is_listed": "test_same_answer builds by it",
    "where_touched_in_raw": "test_cost_follows_change: what was received on other days is not even planned",
    "spans_received": "test_cost_follows_change: groups received on several days",
    "get_incremental_touched_sql": "test_same_answer builds by it",
    "descriptions_there": "test_model_changes: a changed description reaches the database without a rebuild",
    "materialization_incremental_postgres": "test_lean_refresh: where nothing is listed",
    "materialization_table_postgres": "test_whole_builds",
    "materialization_view_postgres": "test_whole_builds",
    "build_whole": "test_whole_builds",
    "list_keys_to_replace": "test_lean_refresh: where nothing is listed",
    "columns_of_both": "test_lean_refresh: a table with a column too many",
    "touch_connected_groups": "test_refresh: evidence that comes after a merge",
    "visits_of_touched_groups": "test_same_answer builds by it",
    "should_full_refresh": "test_refresh adds a model",
    "is_listed_for_rebuild": "test_refresh adds a model",
    "analyze_when_built_whole": "speed alone hangs on it",
    "contracted_columns": "test_purge reads closed sessions by it",
    "plan_whole_build": "speed alone hangs on it",
    "wait_no_longer": "test_long_query: a mart that somebody reads for hours",
    "count_by_hash": "speed alone hangs on it",
    "postgres__get_columns_in_relation": "test_dbt_tests: columns are read as information_schema has them",
    "postgres__persist_docs": "test_model_changes: a changed description reaches the database without a rebuild",
    "postgres__load_csv_rows": "every warehouse's seeds are loaded by it",
    "postgres__create_table_as": "test_whole_build looks at the keys of marts",
    "touch_forecasts": "test_budgets: forecasts are made on a new day",
    "expected_values": "test_budgets and test_growth: a forecast repeats the weekdays",
    "forecasts_of_the_past": "test_budgets: what comes later changes no earlier back-test",
    "forecasts_of_periods": "test_budgets and test_growth: a forecast repeats the weekdays",
    "dormant_after_days": "test_growth: flows worked out visitor by visitor, away for 30 to 32 days",
    "visitors_by_measure": "test_growth: new, unique and churned visitors are forecast",
    "listed_keys": "a nightly and an hourly test are made of it",
    "among_listed": "a nightly and an hourly test are made of it",
    "days_add_up_to_sessions": "a nightly and an hourly test are made of it",
    "costs_add_up_to_requests": "a nightly and an hourly test are made of it",
    "visitors_add_up_to_sessions": "a nightly and an hourly test are made of it",
    "sessions_count_their_facts": "a nightly and an hourly test are made of it",
    "sessions_are_split_by_gap_and_cap": "a nightly and an hourly test are made of it",
    "facts_have_their_session": "a nightly and an hourly test are made of it",
    "sessions_belong_to_whom_the_aliases_say": "a nightly and an hourly test are made of it",
    "cost_scope": "columns_of and is_within are made of it",
    "columns_of": "it lists columns; models with a contract are made of it",
    "is_within": "test_cost_ledger: bills of a month and a week, requests and lines of named owners",
    "touch_named_requests": "test_cost_ledger: lines that arrive before and after the request they name",
    "touch_charges_of_aliases": "test_cost_ledger: a line of an anonymous id before it signs in",
    "cost_by": "sums_to_ledger tests each relation made of it",
    "requests_sent_once": "unit tests of int_llm_requests: ids are names of one kind; test_llm_usage",
    "matching_tellings": "unit tests of int_llm_requests: mutual nearest neighbours",
    "candidate_tellings": "unit tests of int_llm_requests; crowded groups in test_adversarial_sessions",
    "like_pattern": "fits_pattern is made of it",
    "foremost": "test_llm_prices: overrides and discounts",
    "llm_units": "test_llm_prices prices by it",
    "pivoted_prices": "test_llm_prices prices by it",
    "rate_columns": "test_llm_prices prices by it",
    "rate_names": "test_llm_prices: a price's version changes with it",
    "all_input_tokens": "test_llm_prices: tiers",
    "uncached_tokens": "a_token_is_in_one_kind",
    "request_cost": "a_token_is_in_one_kind",
    "llm_setting": "retry_seconds in test_llm_usage",
    "feedback_verdict": "a_request_is_judged_by_its_day",
    "requests_asked_again": "a_request_is_judged_by_its_day",
    "request_outcome": "a_request_is_judged_by_its_day",
    "went_well": "a_request_is_judged_by_its_day",
    "model_performance": "what_a_model_did_is_counted_once",
    "rate_holds": "test_llm_prices: tiers, times of day, spans of days",
    "join_rates_of": "test_llm_usage: another model's price is what the request would have cost there",
    "touch_names_listed_or_not": "test_llm_usage: a model put on the list and taken off",
    "touch_days_of_changed_baselines": "test_llm_usage: a baseline that becomes dearer",
    "once_closed": "test_llm_prices: a price corrected after the day was closed",
    "touch_names_of_changed_seeds": "test_llm_prices: a corrected price",
    "touch_repriced_groups": "test_llm_prices: a corrected price",
    "is_open": "test_bad_input loads what is before the horizon",
    "is_credible": "test_bad_input loads what is from the future",
    "newest_batch_time": "fact_14_a_server_rows_interaction_from_the_future_is_left_out",
    "card_number": "the tests of scrubbed and scrubbed_json",
    "listed_parameters": "scrubbed_url_keeps_listed_parameters",
    "usd_per_unit": "the unit test goals_convert_unless_a_rule_says_otherwise; test_cost_ledger converts by it",
    "rule_threshold": "test_impact: recommendations are made by it",
    "first_day_of": "test_impact: the days a rule looks at",
    "is_looked_at": "test_impact: the days a rule looks at",
    "in_30_days": "test_impact: savings",
    "forecast_setting": "test_budgets forecasts by it",
    "forecast_weeks": "test_budgets forecasts by it",
    "usual_days": "test_budgets forecasts by it",
    "touch_event_days": "test_endpoints: an event that comes late on the day before",
    "where_touched_next_day": "test_endpoints: an event that comes late on the day before",
    "touch_periods": "test_same_answer builds by it",
    "where_touched_period": "test_same_answer builds by it",
    "period_stats": "periods_count_their_visitors_once",
    "is_product_event": "test_endpoints: what tells of a session is no event",
    "reads_every_row": "test_endpoints: pages of who sees some rows and of who sees all",
    "find_page": "test_endpoints: every page of sessions and events",
    "unique_visitors": "test_endpoints: distinct visitors of every run of days",
    "sessions_by_day": "test_endpoints: every page of sessions",
    "events_by_day": "test_endpoints: every page of events",
    "breakdown": "test_endpoints: devices and sources against the visits",
    "session_id_of": "test_endpoints: the bodies of sessions",
    "visitor_known_by": "test_endpoints: profiles by anonymous, user and visitor id",
    "profile": "test_endpoints: profiles by anonymous, user and visitor id",
    "channels_of": "test_channels",
    "attribution_setting": "test_attribution",
    "attribution_credits": "test_attribution",
    "attribution_models": "test_attribution: a credit of each",
    "campaign_measures": "test_acquisition: agg_campaigns has a column of each",
    "reader_roles": "test_endpoints: who may call functions",
    "postgres__scalar_function_sql": "test_functions_rebuilt changes functions; test_endpoints asks who may call them",
    "stored": "test_functions_rebuilt: functions work in a copied database",
    "longest_period_days": "test_endpoints: days 10,000,000",
    "settle_as_of": "test_endpoints: as of times in the past, and infinity",
    "check_days": "test_endpoints: days 0, -1, null, 10,000,000",
    "check_limit": "test_endpoints: limit 0, 101",
    "check_page": "test_endpoints: page 0, null and far beyond the end",
    "quality_setting": "test_data_quality: what is late, ahead and sent twice",
    "touch_unmeasured_loads": "test_data_quality: loads that come later, and purged ones",
    "is_unmeasured": "test_data_quality: loads that come later, and purged ones",
    "received_about_unmeasured_loads": "test_cost_follows_change: days without a new load are not even planned",
    "settle_bounds": "test_refresh calls dbt by hand, and beside a refresh",
    "grant_schema_usage": "analysts_may_read_the_marts sees its result",
    "is_not_opted_out": "test_privacy: what is done between opting out and in",
    "opt_out_filter": "test_opt_out_filter: what it spares, and where it says nothing",
    "tenant_keys": "test_access: what each role may read",
    "is_for_workspaces": "test_access: what each role may read",
    "is_of_reader": "test_access: rows by workspace, app, person and super-admin",
    "restrict_rows": "test_access: what each role may read",
    "postgres__get_show_grant_sql": "test_access: a grant outlives an incremental refresh",
    "generate_schema_name": "names_of_a_target_are_plain_or_prefixed sees its result",
}

# What is known of loads, their rows and persons, beside the streams.
LEDGER = {"loads", "superseded"}

# Kinds of keys that the work list takes from the new loads themselves.
OF_NEW_LOADS = {"session_group", "workspace", "llm_name", "cost"}

# Kinds that a model's own hook adds, from what the price seeds cover.
OF_HOOKS = {
    "event_day",
    "session_week",
    "session_month",
    "repriced_group",
    "forecast_scope",
    "forecast_measure",
    "baseline_date",
    "unmeasured_load",
    "judged_day",
}

# What no mart counts, what every row is like, and the ledger itself.
OF_ALL_STREAMS = {"stg_kept_out", "stg_received_rows", "stg_loads"}

# Intermediate models that hold a bag of rows: two equal ones both count.
WITHOUT_KEY = {
    "int_batch_counters": "two snapshots taken at the same time may show the same rise",
    "int_enriched_events": "an event stands in it as often as it was sent",
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The project's manifest, parsed without a server."""
    target = tmp_path_factory.mktemp("manifest")
    subprocess.run(
        [
            *(sys.executable, "-m", "dbt.cli.main", "parse", "--quiet"),
            *("--target-path", target, "--log-path", target, *dbt_arguments("prod")),
        ],
        check=True,
        cwd=PROJECT_FOLDER,
    )
    return json.loads((target / "manifest.json").read_text(encoding="utf-8"))


def nodes(manifest: Mapping[str, Any], resource_type: str, folder: str = "") -> Iterator[Node]:
    """Nodes of a type whose file lies in a folder of the project."""
    for node in manifest["nodes"].values():
        if node["resource_type"] == resource_type and node["original_file_path"].startswith(folder):
            yield node


def attached_tests(manifest: Mapping[str, Any], model: Node, test: str) -> list[Node]:
    """The tests of that generic kind on a model."""
    return [
        node
        for node in nodes(manifest, "test")
        if node.get("attached_node") == model["unique_id"] and node["test_metadata"]["name"] == test
    ]


def test_a_staging_model_reads_one_stream_and_a_stream_has_one(manifest):
    streams = Counter()
    for model in nodes(manifest, "model", "models/staging"):
        read = {name for _, name in model["sources"]} - LEDGER
        if model["name"] in OF_ALL_STREAMS:
            continue
        assert len(read) == 1, (model["name"], read)
        assert model["name"] == f"stg_{next(iter(read))}"
        streams.update(read)
    assert streams
    assert set(streams.values()) == {1}


def test_what_is_not_among_many_is_left_out_by_a_join(manifest):
    # `not in (select …)` reads the whole list for every row, once the list is larger than work_mem
    written = [model["raw_code"] for model in nodes(manifest, "model")]
    written += [macro["macro_sql"] for macro in manifest["macros"].values() if macro["package_name"] == "tidemark"]
    assert len(written) > 200
    lists = {name for text in written for name in re.findall(r"\bnot\s+in\s*\(\s*select\s+[\w.]+\s+from\s+(\S+)", text)}
    assert lists - {"crowded_groups)"} == set()


def test_every_mart_has_a_key(manifest):
    for model in nodes(manifest, "model", "models/marts"):
        keys = [constraint for constraint in model["constraints"] if constraint["type"] == "primary_key"]
        assert len(keys) == 1 or attached_tests(manifest, model, "unique_key"), model["name"]
        # A named key breaks the next full refresh: the old table still has the name.
        assert not any(key.get("name") for key in keys), model["name"]
        of_visits = model["name"].startswith("fct_") and "session_group" in model["columns"]
        if keys and of_visits and model["config"]["materialized"] == "incremental":
            assert keys[0]["columns"][0] == "session_group", model["name"]


def test_every_intermediate_model_has_a_tested_key(manifest):
    for model in nodes(manifest, "model", "models/intermediate"):
        unique_index = any(index.get("unique") for index in model["config"].get("indexes") or [])
        has_key = unique_index or attached_tests(manifest, model, "unique_key")
        assert bool(has_key) != (model["name"] in WITHOUT_KEY), model["name"]


def test_every_incremental_model_replaces_touched_keys(manifest):
    for model in nodes(manifest, "model"):
        if model["config"]["materialized"] == "incremental":
            assert model["config"]["incremental_strategy"] == "touched", model["name"]
            assert model["config"]["on_schema_change"] == "fail", model["name"]
            assert len(model["config"]["meta"]["touched"]) == 1, model["name"]


def test_an_hourly_test_reads_no_history(manifest):
    incremental = {
        node["unique_id"] for node in nodes(manifest, "model") if node["config"]["materialized"] == "incremental"
    }
    hourly = [test for test in nodes(manifest, "test") if "nightly" not in test["tags"]]
    assert hourly
    for test in hourly:
        if incremental & set(test["depends_on"]["nodes"]):
            assert "macro.tidemark.touched" in test["depends_on"]["macros"], test["name"]


def test_names_of_tests_are_given_and_unique(manifest):
    names = Counter(test["name"] for test in nodes(manifest, "test"))
    assert [name for name, count in names.items() if count > 1] == []
    for test in nodes(manifest, "test"):
        if test.get("test_metadata"):
            # dbt's own names start with the kind of test and run into each other when they are cut.
            assert not test["name"].startswith(test["test_metadata"]["name"] + "_"), test["name"]


def test_every_macro_has_a_test(manifest):
    tested = {macro for test in nodes(manifest, "test", "tests/dbt/macros") for macro in test["depends_on"]["macros"]}
    ours = {
        unique_id: macro
        for unique_id, macro in manifest["macros"].items()
        if macro["original_file_path"].startswith("macros/") and macro["package_name"] == "tidemark"
    }
    assert ours
    for unique_id, macro in ours.items():
        assert (unique_id in tested) != (macro["name"] in TESTED_ELSEWHERE), macro["name"]
    assert TESTED_ELSEWHERE.keys() <= {macro["name"] for macro in ours.values()}


def test_every_seed_column_is_described_and_typed(manifest):
    for seed in nodes(manifest, "seed"):
        with (Path(PROJECT_FOLDER) / seed["original_file_path"]).open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        assert list(seed["columns"]) == header, seed["name"]
        assert all(column["description"] for column in seed["columns"].values()), seed["name"]
        assert list(seed["config"]["column_types"]) == header, seed["name"]
        assert attached_tests(manifest, seed, "unique_key"), seed["name"]


def test_macro_arguments_are_the_documented_ones(manifest):
    for macro in manifest["macros"].values():
        ours = macro["package_name"] == "tidemark" and macro["original_file_path"].startswith("macros/")
        if ours and not macro["name"].startswith("materialization_"):
            signature = macro["macro_sql"].split("%}")[0]
            for argument in macro["arguments"]:
                assert argument["name"] in signature, (macro["name"], argument["name"])
            stated = signature[signature.index("(") + 1 : signature.rindex(")")].split(",")
            assert len([name for name in stated if name.strip()]) == len(macro["arguments"]), macro["name"]


def test_who_emits_keys_stands_above_who_reads_them(manifest):
    models = {model["name"]: model for model in nodes(manifest, "model")}

    def ancestors(name: str) -> set[str]:
        parents = {parent.split(".")[-1] for parent in models[name]["depends_on"]["nodes"]} & models.keys()
        return parents.union(*(ancestors(parent) for parent in parents))

    read = 0
    for name, model in models.items():
        for kinds in model["config"]["meta"].get("touched", {}).values():
            for kind in kinds:
                if kind in OF_NEW_LOADS | OF_HOOKS:
                    continue
                emitted = kind.removeprefix("linked:")
                emitter, _ = emitted.removeprefix("whoever:").split(".")
                assert emitter in ancestors(name), f"{name} reads {kind} before it is complete"
                assert emitted in emitted_kinds(models[emitter]), f"nothing emits {kind}"
                read += 1
    assert read > 10
