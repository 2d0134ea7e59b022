"""A warehouse with Dagster around it: its storage in PostgreSQL, its jobs run in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingest.connection import Server, connect
from orchestration.definitions import definitions
from orchestration.instance import prepare_instance


@dataclass
class Warehouse:
    """A database, its inbox, and Dagster around them."""

    server: Server
    inbox: Path
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    def refresh(self) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("refresh").execute_in_process(
            instance=self.instance, raise_on_error=False
        )

    def replay(self, first: str, last: str) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("replay").execute_in_process(
            instance=self.instance, run_config={"from": first, "to": last}, raise_on_error=False
        )

    def materialize(self, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=list(keys), instance=self.instance, raise_on_error=False
        )

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with connect(self.server, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        return self.ask(query)[0][0]

    def check_keys(self) -> set[dg.AssetCheckKey]:
        return set(self.definitions.resolve_asset_graph().asset_check_keys)

    def mark(self) -> int:
        return self.value("select completed_seq from ops.bounds where target = 'prod'")


@pytest.fixture(scope="module")
def warehouse(make_database: Callable[[], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    server = make_database()
    inbox = tmp_path_factory.mktemp("inbox")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_INBOX", str(inbox))
        patch.delenv("DATABASE_URL", raising=False)
        for name, value in prepare_instance(server).items():
            if os.environ.get(name) != value:
                patch.setenv(name, value)
        with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
            yield Warehouse(server, inbox, instance, definitions())


def write_events(path: Path, session: str, *times: str) -> None:
    """Events of one session and of a visitor nobody else is, an id and a time each."""
    lines = [
        {
            "eventId": f"{session}-{number}",
            "eventName": "button_clicked",
            "funnelId": "shop",
            "anonymousId": f"visitor of {session}",
            "sessionId": session,
            "timestamp": time,
        }
        for number, time in enumerate(times)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(path, (1, 1))  # Settled: nobody is writing it any more.


def assert_success(result: dg.ExecuteInProcessResult) -> None:
    assert result.success, failure_of(result)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step says, as a user reads it."""
    failed = [event for event in result.all_events if event.is_step_failure]
    assert len(failed) == 1
    return failed[0].step_failure_data.error.message
