"""dbt composes an event only where somebody hears it, and tells whoever listens all that it told before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt_common.events import event_manager

from ingest.connection import Server
from orchestration.dbt_events import compose_heard_events
from orchestration.refresh import variables_set

PROJECT = """
name: small
profile: small
flags: {send_anonymous_usage_stats: false}
"""
PROFILES = """
small:
  target: it
  outputs:
    it:
      type: postgres
      host: "{{ env_var('PGHOST') }}"
      port: "{{ env_var('PGPORT') | int }}"
      user: "{{ env_var('PGUSER') }}"
      password: "{{ env_var('PGPASSWORD', '') }}"
      dbname: "{{ env_var('PGDATABASE') }}"
      schema: small
"""

Run = Callable[..., dbtRunnerResult]


@pytest.fixture(scope="module")
def database(make_database: Callable[[], Server]) -> Server:
    return make_database()


@pytest.fixture
def run(database: Server, tmp_path: Path) -> Run:
    """Calls dbt quietly on a project of one model that works and one that does not."""
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    (tmp_path / "profiles.yml").write_text(PROFILES)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "works.sql").write_text("select 1 as number")
    (tmp_path / "models" / "fails.sql").write_text("select missing as number")

    def call(*options: str, callbacks: list[Callable] | None = None) -> dbtRunnerResult:
        folders = ("--project-dir", "--profiles-dir", "--log-path")
        folder_options = [word for option in folders for word in (option, str(tmp_path))]
        with variables_set(database.environment()):
            return dbtRunner(callbacks=callbacks).invoke(["--quiet", *options, "run", *folder_options])

    return call


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many events of each level dbt composed."""
    counts: Counter[str] = Counter()
    compose = event_manager.msg_from_base_event

    def count(event, level=None):
        message = compose(event, level=level)
        counts[message.info.level] += 1
        return message

    monkeypatch.setattr(event_manager, "msg_from_base_event", count)
    compose_heard_events()
    return counts


def test_what_no_log_keeps_is_not_composed(run, composed, tmp_path, capsys):
    result = run("--log-level-file", "info")
    log = (tmp_path / "dbt.log").read_text()
    assert composed["info"] > 5
    assert composed["debug"] == 0
    assert 'column "missing" does not exist' in log
    assert "2 of 2" in log
    assert "create view" not in log
    assert 'column "missing" does not exist' in capsys.readouterr().out
    assert [each.status for each in result.result] == ["error", "success"]


def test_a_log_for_debugging_has_every_statement(run, composed, tmp_path):
    run("--log-level-file", "debug")
    assert composed["debug"] > 50
    assert "create view" in (tmp_path / "dbt.log").read_text()


def test_a_callback_hears_everything(run, composed):
    heard = []
    run("--log-level-file", "none", callbacks=[lambda message: heard.append(message.info.name)])
    assert heard.count("NodeFinished") == 2
    assert heard.count("SQLQuery") > 5


def test_a_warning_that_is_to_be_an_error_is_one_where_nobody_hears_it(run, composed, tmp_path):
    (tmp_path / "models" / "models.yml").write_text("version: 2\nmodels: [{name: missing, description: not there}]")
    result = run("--log-level-file", "none", "--warn-error")
    assert not result.success
    assert "missing" in str(result.exception)
