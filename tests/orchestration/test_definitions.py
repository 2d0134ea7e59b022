"""Dagster knows every stream, seed, model and test that the project's files hold, and nothing else."""

import importlib
import os
import pkgutil
import re
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster.components.definitions import LazyDefinitions

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from orchestration import dbt_manifest, defs, dev, model_state
from orchestration.dbt_process import prune_runs
from orchestration.definitions import definitions
from orchestration.defs.dbt.models import MANIFEST, models
from orchestration.defs.dbt.translator import (
    Translator,
    attach_tests,
    check_description,
    freshness_of,
    group_of,
    kinds_of,
)
from orchestration.defs.schedules import schedules_for
from orchestration.defs.sensors import inbox_files
from orchestration.dev import free_port
from orchestration.environments import ENVIRONMENTS, environment
from orchestration.failures import one_owner_of_retries
from orchestration.instance import settings
from orchestration.refresh import dbt_arguments
from orchestration.selection import arguments_to_build, arguments_to_test

PROJECT = Path(__file__).resolve().parents[2]
DEFINITIONS = (
    dg.AssetsDefinition,
    dg.JobDefinition,
    dg.ScheduleDefinition,
    dg.SensorDefinition,
    dg.ConfigurableResource,
    type(dg.define_asset_job("any")),
)


DOCUMENTATION = dg.AssetKey(["docs", "relations_and_columns"])
JOBS = {
    *("ingest", "refresh", "nightly", "replay", "backfill", "retention", "maintenance"),
    *("privacy", "quality", "alerts", "export"),
}
SCHEDULES = {
    "hourly_refresh": ("refresh", "5 * * * *"),
    "daily_retention": ("retention", "0 2 * * *"),
    "nightly": ("nightly", "35 2 * * *"),
    "weekly_maintenance": ("maintenance", "40 3 * * 0"),
    "daily_privacy": ("privacy", "20 2 * * *"),
    "hourly_quality": ("quality", "25 * * * *"),
    "alerts_every_five_minutes": ("alerts", "*/5 * * * *"),
    "monthly_export": ("export", "15 4 1 * *"),
}
SENSORS = {"inbox_files", "run_failed"}


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    return definitions()


@pytest.fixture(scope="module")
def assets(loaded: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in loaded.resolve_all_asset_specs()}


def checks_of(loaded: dg.Definitions) -> list[dg.AssetCheckSpec]:
    graph = loaded.resolve_asset_graph()
    return [graph.get_check_spec(key) for key in graph.asset_check_keys]


def checks_of_job(loaded: dg.Definitions, name: str) -> set[str]:
    chosen = loaded.resolve_job_def(name).asset_layer.data
    return {key.name for data in chosen for key in data.assets_def.check_keys}


def sources_on_disk() -> set[dg.AssetKey]:
    return {
        dg.AssetKey([source["name"], table["name"]])
        for file in (PROJECT / "models").rglob("*.yml")
        for source in yaml.safe_load(file.read_text()).get("sources", [])
        for table in source["tables"]
    }


def models_on_disk() -> dict[dg.AssetKey, Path]:
    files = [file.relative_to(PROJECT / "models") for file in (PROJECT / "models").rglob("*.sql")]
    return {dg.AssetKey([file.parts[0], file.stem]): file for file in files}


def seeds_on_disk() -> set[dg.AssetKey]:
    return {dg.AssetKey(["staging", file.stem]) for file in (PROJECT / "seeds").rglob("*.csv")}


def test_assets_are_the_streams_seeds_and_models_on_disk(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    on_disk = sources_on_disk() | seeds_on_disk() | models_on_disk().keys()
    assert {dg.AssetKey(["raw", "events"]), dg.AssetKey(["marts", "fct_sessions"])} <= on_disk
    assert set(assets) == on_disk | {DOCUMENTATION}


def test_a_staging_model_stands_below_its_stream(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    above = {dep.asset_key for dep in assets[dg.AssetKey(["staging", "stg_events"])].deps}
    assert dg.AssetKey(["raw", "events"]) in above


def test_groups_are_layers_and_domains(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    expected = {key: key.path[0] for key in sources_on_disk()} | dict.fromkeys(seeds_on_disk(), "seeds")
    for key, file in models_on_disk().items():
        expected[key] = file.parts[1] if file.parts[0] == "marts" else file.parts[0]
    expected[DOCUMENTATION] = "docs"
    assert {key: spec.group_name for key, spec in assets.items()} == expected


def test_every_dbt_test_of_a_model_is_a_check_that_blocks_nothing(loaded: dg.Definitions) -> None:
    tests = sorted(
        node["name"]
        for node in MANIFEST["nodes"].values()
        # A test of a macro reads no model: CI runs it.
        if node["resource_type"] == "test" and node["depends_on"]["nodes"]
    )
    checks = checks_of(loaded)
    assert tests, "the project has dbt tests"
    assert sorted(check.name for check in checks) == sorted([*tests, "inbox_files_loaded"])
    assert not [check.name for check in checks if check.blocking]


def test_a_test_on_several_models_belongs_to_the_lowest() -> None:
    def node(kind: str, name: str, *above: str, **more: Any) -> dict[str, Any]:
        return {"resource_type": kind, "name": name, "depends_on": {"nodes": list(above)}, "config": {}} | more

    chosen = {"meta": {"dagster": {"ref": {"name": "fact"}}}}
    manifest = {
        "nodes": {
            "model.z": node("model", "stage", "source.raw"),
            "model.y": node("model", "fact", "model.z"),
            "model.x": node("model", "sum", "model.y"),
            "model.w": node("model", "other_sum", "model.y"),
            "test.adds_up": node("test", "adds_up", "model.x", "model.y", "model.z"),
            "test.equals": node("test", "equals", "model.x", "model.w"),
            "test.chosen": node("test", "chosen", "model.x", "model.y", config=chosen),
            "test.single": node("test", "single", "model.x"),
            "test.generic": node("test", "generic", "model.x", "model.y", attached_node="model.y"),
            "test.macro": node("test", "macro"),
        }
    }
    attached = {name: found["config"].get("meta") for name, found in attach_tests(manifest)["nodes"].items()}
    assert attached["test.adds_up"] == {"dagster": {"ref": {"name": "sum"}}}
    assert attached["test.equals"] == {"dagster": {"ref": {"name": "sum"}}}
    assert attached["test.chosen"] == {"dagster": {"ref": {"name": "fact"}}}
    assert [attached[name] for name in ("test.single", "test.generic", "test.macro", "model.x")] == [None] * 4


def test_the_command_line_and_dagster_agree_on_what_a_model_is_made_of() -> None:
    from dbt.cli.main import dbtRunner

    # Otherwise each of the two would build whole what the other has built.
    parsed = dbtRunner().invoke(["parse", "--quiet", *dbt_arguments("prod")])
    assert parsed.success
    theirs = parsed.result.writable_manifest().to_dict(omit_none=False)
    for checksums in (model_state.checksums, model_state.checksums_of_the_rest):
        assert checksums(theirs, {})
        assert checksums(MANIFEST, {}) == checksums(theirs, {})


def test_the_names_of_dbt_tests_differ(loaded: dg.Definitions) -> None:
    names = [check.name for check in checks_of(loaded)]
    assert len(names) == len(set(names))


def test_jobs_schedules_and_sensors(loaded: dg.Definitions) -> None:
    repository = loaded.get_repository_def()
    assert {name for name in repository.job_names if not name.startswith("__")} == JOBS
    found = {schedule.name: (schedule.job_name, schedule.cron_schedule) for schedule in repository.schedule_defs}
    assert found == SCHEDULES
    assert {schedule.execution_timezone for schedule in repository.schedule_defs} == {"UTC"}
    assert {sensor.name for sensor in repository.sensor_defs} >= SENSORS
    assert repository.get_sensor_def("inbox_files").job_name == "ingest"


@pytest.mark.parametrize(
    ("name", "running"),
    [
        ("development", set()),
        ("staging", {"hourly_refresh", "hourly_quality", "nightly", "weekly_maintenance", "monthly_export"}),
        ("production", set(SCHEDULES)),
    ],
)
def test_schedules_run_where_the_environment_says_so(name: str, running: set[str]) -> None:
    made = schedules_for(environment(name))
    assert {schedule.name for schedule in made} == set(SCHEDULES)
    on = {schedule.name for schedule in made if schedule.default_status == dg.DefaultScheduleStatus.RUNNING}
    assert on == running


def test_an_unknown_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment().name == "development"
    monkeypatch.setenv("TIDEMARK_ENVIRONMENT", "prod")
    with pytest.raises(TidemarkError, match="There is no environment 'prod': TIDEMARK_ENVIRONMENT is one of"):
        environment()
    monkeypatch.setenv("TIDEMARK_ENVIRONMENT", "production")
    assert environment().name == "production"


def test_what_an_environment_runs_is_there(loaded: dg.Definitions) -> None:
    repository = loaded.get_repository_def()
    there = {each.name for each in (*repository.schedule_defs, *repository.sensor_defs)}
    for known in ENVIRONMENTS.values():
        assert known.running <= there, known.name


def test_every_asset_has_an_owner_kinds_and_what_has_columns_tells_them(
    assets: dict[dg.AssetKey, dg.AssetSpec],
) -> None:
    for key, spec in assets.items():
        assert spec.owners, key
        assert spec.kinds, key
    for node in MANIFEST["nodes"].values():
        if node["resource_type"] == "model":
            told = assets[dg.AssetKey([node["fqn"][1], node["name"]])].metadata["dagster/column_schema"]
            assert [column.name for column in told.columns] == list(node["columns"]), node["name"]
            assert all(column.description for column in told.columns), node["name"]


def test_hourly_assets_have_a_freshness_policy_where_somebody_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert freshness_of() is None
    monkeypatch.setenv("TIDEMARK_ENVIRONMENT", "production")
    policy = freshness_of()
    # Hourly: one that did not come is late after two hours.
    assert policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=4), warn_window=timedelta(hours=2))
    spec = Translator().get_asset_spec(MANIFEST, "model.tidemark.fct_anomalies", None)
    assert spec.freshness_policy == policy
    assert Translator().get_asset_spec(MANIFEST, "model.tidemark.fct_sessions", None).freshness_policy is None


def test_one_owner_retries_and_one_pool_keeps_runs_apart(loaded: dg.Definitions, tmp_path: Path) -> None:
    written = settings(tmp_path)
    assert written["run_retries"] == {"enabled": False}
    assert written["run_monitoring"]["max_resume_run_attempts"] == 0
    # By run: a run waits in the queue, it does not start and stand still.
    assert written["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}
    pools = {}
    for name in JOBS:
        for node in loaded.resolve_job_def(name).nodes:
            assert node.definition.retry_policy is None, name
            pools.setdefault(node.definition.pool, set()).add(node.name)
    assert None not in pools, "an op without a pool"
    assert pools["inbox"] == {"inbox"}
    assert pools["warehouse"] >= {
        *("models", "take_away_what_is_over_its_age", "look_after", "answer_privacy_requests"),
    }


def test_each_job_shows_its_configuration_with_defaults_and_descriptions(loaded: dg.Definitions) -> None:
    for name in JOBS - {"replay", "backfill"}:
        job = loaded.resolve_job_def(name)
        # Everything has a default: an empty launchpad launches.
        assert dg.validate_run_config(job, {}) is not None
        for node in job.nodes:
            schema = node.definition.config_schema.config_type
            for field_name, field in getattr(schema, "fields", {}).items():
                assert field.description, f"{name}: {field_name}"
                assert field.default_provided or not field.is_required, f"{name}: {field_name}"
    retention = loaded.resolve_job_def("retention")
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(
            retention, {"ops": {"take_away_what_is_over_its_age": {"config": {"dry_run": "yes'; drop schema raw; --"}}}}
        )


def test_a_backfill_re_processes_the_day_of_its_partition(loaded: dg.Definitions) -> None:
    job = loaded.resolve_job_def("backfill")
    assert isinstance(job.partitions_def, dg.DailyPartitionsDefinition)
    config = job.partitioned_config.get_run_config_for_partition_key("2026-03-08")
    assert config["ops"]["models"]["config"] == {"replay_from": "2026-03-08", "replay_to": "2026-03-08"}
    assert job.asset_layer.selected_asset_keys == set(models.keys)


def test_a_lost_server_is_tried_again_and_nothing_else(server: Server) -> None:
    with pytest.raises(dg.Failure) as refused, one_owner_of_retries():
        raise TidemarkError("Another refresh\nof prod is running")
    assert (refused.value.description, refused.value.allow_retries) == ("Another refresh of prod is running", False)
    with connect(server, autocommit=True) as ours, connect(server, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [ours.info.backend_pid])
        with pytest.raises(dg.RetryRequested) as lost, one_owner_of_retries():
            ours.execute("select 1")
    assert (lost.value.max_retries, lost.value.seconds_to_wait) == (3, 60)
    # A library says it in words of its own: what caused it counts.
    with pytest.raises(dg.RetryRequested), one_owner_of_retries():
        raise TidemarkError("no server") from psycopg.errors.CannotConnectNow()
    with pytest.raises(dg.Failure), one_owner_of_retries(), connect(server, autocommit=True) as ours:
        ours.execute("select 1 / 0")


def test_the_inbox_sensor_asks_once_for_each_state_of_the_inbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMARK_INBOX", str(tmp_path))

    def asked() -> list[str | None]:
        with dg.build_sensor_context() as context:
            told = inbox_files(context)
        return [each.run_key for each in told if isinstance(each, dg.RunRequest)]

    assert asked() == []
    (tmp_path / "events-1.ndjson").write_text("{}\n")
    # It may still be written.
    os.utime(tmp_path / "events-1.ndjson", (time.time() + 60,) * 2)
    assert asked() == []
    os.utime(tmp_path / "events-1.ndjson", (1, 1))
    (tmp_path / "events-2.ndjson.part").write_text("{}\n")
    first = asked()
    assert len(first) == 1
    assert asked() == first
    (tmp_path / "events-2.ndjson.part").rename(tmp_path / "events-2.ndjson")
    os.utime(tmp_path / "events-2.ndjson", (1, 1))
    assert len(asked()) == 1
    assert asked() != first


def test_the_privacy_job_is_told_of_no_person(loaded: dg.Definitions) -> None:
    job = loaded.resolve_job_def("privacy")
    options = {"types": ["erase"], "most": 3, "dry_run": True, "cut_addresses": False}
    assert dg.validate_run_config(job, {"ops": {"answer_privacy_requests": {"config": options}}})
    assert dg.validate_run_config(job, {})
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {"ops": {"answer_privacy_requests": {"config": {"user_id": "u_77"}}}})


def test_a_refresh_builds_everything_and_leaves_nightly_tests_out(
    loaded: dg.Definitions, assets: dict[dg.AssetKey, dg.AssetSpec]
) -> None:
    nightly = {
        node["name"]
        for node in MANIFEST["nodes"].values()
        if node["resource_type"] == "test" and "nightly" in node["tags"] and node["depends_on"]["nodes"]
    }
    every = {check.name for check in checks_of(loaded)}
    # What stands in ops a refresh fills by itself, before it builds; history is filled by a purge.
    built = {key for key in assets if key.path[0] not in ("ops", "history", "docs")}
    assert loaded.resolve_job_def("refresh").asset_layer.selected_asset_keys == built
    assert loaded.resolve_asset_graph().executable_asset_keys >= built | {DOCUMENTATION}
    assert checks_of_job(loaded, "refresh") == every - nightly
    assert loaded.resolve_job_def("nightly").asset_layer.selected_asset_keys == {DOCUMENTATION}
    assert nightly <= checks_of_job(loaded, "nightly")
    streams = {key for key in assets if key.path[0] == "raw"}
    assert loaded.resolve_job_def("ingest").asset_layer.selected_asset_keys == streams


def test_a_full_refresh_is_asked_for_in_the_launchpad(loaded: dg.Definitions) -> None:
    job = loaded.resolve_job_def("refresh")
    asked = dg.validate_run_config(job, {"ops": {"models": {"config": {"full_refresh": True}}}})
    assert asked["ops"]["models"]["config"]["full_refresh"] is True
    with pytest.raises(dg.DagsterInvalidConfigError, match="target"):
        dg.validate_run_config(job, {"ops": {"models": {"config": {"target": "dev"}}}})


def test_a_replay_is_asked_for_with_two_days_and_builds_everything(loaded: dg.Definitions) -> None:
    job = loaded.resolve_job_def("replay")
    asked = dg.validate_run_config(job, {"from": "2026-03-01", "to": "2026-03-08"})
    assert asked["ops"]["models"]["config"] == {"full_refresh": False} | {
        "replay_from": "2026-03-01",
        "replay_to": "2026-03-08",
    }
    for lacking in ({}, {"from": "2026-03-01"}, {"from": "2026-03-01", "to": 8}):
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, lacking)
    # What a refresh builds and tests, but for the inbox: only with all models selected the work list is filled.
    built = job.asset_layer.selected_asset_keys
    assert built == set(models.keys)
    assert checks_of_job(loaded, "replay") == checks_of_job(loaded, "refresh") - {"inbox_files_loaded"}


def test_runs_execute_in_one_process(loaded: dg.Definitions) -> None:
    assert loaded.resolve_job_def("refresh").executor_def.name == "in_process"
    assert loaded.resolve_implicit_global_asset_job_def().executor_def.name == "in_process"


def test_a_module_with_a_definitions_function_holds_nothing_else() -> None:
    lazy = 0
    for found in pkgutil.walk_packages(defs.__path__, f"{defs.__name__}."):
        module = importlib.import_module(found.name)
        if any(isinstance(value, LazyDefinitions) for value in vars(module).values()):
            lazy += 1
            assert not [name for name, value in vars(module).items() if isinstance(value, DEFINITIONS)], found.name
    assert lazy


@pytest.mark.parametrize(
    ("resource_type", "fqn", "group"),
    [
        ("seed", ["tidemark", "goal_rules"], "seeds"),
        ("model", ["tidemark", "staging", "events", "stg_events"], "staging"),
        ("model", ["tidemark", "intermediate", "int_sessions"], "intermediate"),
        ("model", ["tidemark", "marts", "llm", "fct_llm_requests"], "llm"),
        ("model", ["tidemark", "marts", "everything"], "marts"),
        ("model", ["tidemark", "stray"], "models"),
    ],
)
def test_group_of_a_node(resource_type: str, fqn: list[str], group: str) -> None:
    assert group_of({"resource_type": resource_type, "fqn": fqn}) == group


def test_group_of_a_source_is_its_schema() -> None:
    assert (
        group_of({"resource_type": "source", "source_name": "raw", "fqn": ["tidemark", "x", "raw", "events"]}) == "raw"
    )


def test_kinds_say_how_a_node_is_built() -> None:
    assert kinds_of({"config": {"materialized": "incremental"}}) == {"dbt", "postgres", "incremental"}


def test_description_of_a_check() -> None:
    called = {
        "name": "accepted_values",
        "kwargs": {"model": "{{ x }}", "column_name": "plan", "values": ["a", "b"]},
    }
    assert check_description({"description": "Plans we sell.", "test_metadata": called}) == "Plans we sell."
    assert check_description({"test_metadata": called}) == "accepted_values of plan, values: ['a', 'b']"
    assert check_description({"description": ""}) is None


def test_arguments_of_dbt() -> None:
    no_tests = ["--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"]
    assert arguments_to_build(None) == ["build", *no_tests]
    assert arguments_to_build(["b", "a"], full_refresh=True) == [
        "build", *no_tests, "--full-refresh", "--select", "a", "b",
    ]  # fmt: skip
    assert arguments_to_test(None) == ["test", "--exclude-resource-type", "unit_test"]
    assert arguments_to_test(None, hourly=True)[-2:] == ["--exclude", "tag:nightly"]
    assert arguments_to_test(["one"])[-4:] == ["--select", "one", "--indirect-selection", "empty"]


def test_old_target_folders_are_pruned(tmp_path: Path) -> None:
    for age in range(5):
        run = tmp_path / f"run{age}"
        run.mkdir()
        (run / "dbt.log").write_text("x")
        os.utime(run, (1_000 - age, 1_000 - age))
    prune_runs(tmp_path, keep=2)
    assert {run.name for run in tmp_path.iterdir()} == {"run0", "run1"}
    prune_runs(tmp_path / "not there", keep=2)


def test_dbt_ends_with_the_run_that_started_it() -> None:
    child = "import os, time; from orchestration.dbt_process import end_with; end_with(os.getppid()); time.sleep(60)"
    parent = (
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)\n"
        "time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert run.stdout is not None
    dbt = Path("/proc", run.stdout.readline().strip())
    if not dbt.parent.exists():
        run.kill()
        pytest.skip("no /proc to look into")
    time.sleep(3)
    assert dbt.exists(), "it lives while the run does"
    run.kill()
    run.wait()
    deadline = time.monotonic() + 20
    while is_alive(dbt) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_alive(dbt)


def is_alive(process: Path) -> bool:
    """Whether a /proc folder is of a process that is no zombie."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_instance_tells_nobody_and_keeps_no_password(tmp_path: Path) -> None:
    written = settings(tmp_path)
    assert written["telemetry"] == {"enabled": False}
    assert written["storage"] == {"postgres": {"postgres_url": {"env": "TIDEMARK_DAGSTER_URL"}}}
    assert written["retention"]["schedule"]["purge_after_days"]["skipped"] == 7


def test_a_taken_port_is_refused_with_one_line_and_the_usual_one_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dev.USUAL_PORT == 3000
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        # One that this test holds itself: whether 3000 is taken is not for a test to say.
        monkeypatch.setattr(dev, "USUAL_PORT", taken)
        with pytest.raises(TidemarkError, match=rf"^Port {taken} is taken: .* --port\.$"):
            free_port(taken)
        assert free_port(None) not in (0, taken)
    assert free_port(taken) == free_port(None) == taken


def test_the_manifest_is_made_when_missing_and_again_when_a_file_is_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text('name: tidemark\nversion: "1.0"\nprofile: p\n')
    (project / "profiles.yml").write_text(
        "p: {target: prod, outputs: {prod: {type: postgres, host: h, port: 1, user: u, password: p, "
        "dbname: d, schema: s, threads: 1}}}"
    )
    (project / "selectors.yml").write_text("")
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(dbt_manifest, "PROJECT_FOLDER", project)
    monkeypatch.setattr("orchestration.refresh.PROJECT_FOLDER", project)

    def models() -> set[str]:
        return {node["name"] for node in dbt_manifest.load_manifest()["nodes"].values()}

    (project / "models" / "one.sql").write_text("select 1 as a")
    assert models() == {"one"}
    parsed_at = (tmp_path / "home" / "dagster" / "dbt" / "manifest.json").stat().st_mtime_ns
    assert models() == {"one"}
    assert (tmp_path / "home" / "dagster" / "dbt" / "manifest.json").stat().st_mtime_ns == parsed_at
    (project / "models" / "two.sql").write_text("select 2 as a")
    assert models() == {"one", "two"}
    (project / "models" / "one.sql").unlink()
    assert models() == {"two"}
    (project / "models" / "broken.sql").write_text("select {{ ref('nothing') }}")
    with pytest.raises(TidemarkError, match=re.compile(r"does not parse: .*nothing")):
        models()
