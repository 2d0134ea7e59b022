"""A function is made anew when it changed or went away, and stays when what it reads is built whole."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ingest.connection import connect
from tests.warehouse.conftest import Warehouse, copied_project

APP = "5e3c7f3a-0d1b-4a0d-8b9c-000000000010"


def made(warehouse: Warehouse) -> dict[str, tuple]:
    """Function → which transaction wrote it, its arguments and who may call it beside its owner."""
    rows = warehouse.query(
        """
        select
            proname, xmin::text, pg_get_function_arguments(oid),
            array(select distinct grantee::regrole::text from aclexplode(proacl) where grantee <> proowner order by 1)
        from pg_proc where pronamespace = 'marts'::regnamespace
        """
    )
    found = {name: tuple(rest) for name, *rest in rows}
    assert len(found) == len(rows), "two functions of one name"
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def test_functions_follow_their_text_and_outlive_their_tables(sample_warehouse, copy_warehouse, tmp_path):
    warehouse = copy_warehouse(sample_warehouse)
    before = made(warehouse)
    # the copy has another name, and its functions read the copy
    summary = warehouse.query("select marts.get_widget_summary(%s)", APP)
    assert warehouse.server.database != sample_warehouse.server.database
    assert summary[0][0]["summary"]["total_sessions"] > 0
    tables = "select oid from pg_class where oid = 'marts.agg_daily_stats'::regclass"
    old_table = warehouse.query(tables)
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute("drop function marts.get_sessions")
    with copied_project(tmp_path / "project") as project:
        edit(project / "functions/get_widget_active.sql", "'active_sessions'", "'sessions_active'")
        # other arguments: no version with the former ones stays beside it
        properties = project / "functions/_functions.yml"
        others, of_profiles = properties.read_text().split("- name: get_user_profiles\n")
        properties.write_text(
            f"{others}- name: get_user_profiles\n" + of_profiles.replace("- name: app\n", "- name: the_app\n", 1)
        )
        profiles = project / "functions/get_user_profiles.sql"
        profiles.write_text("declare\n    app text := the_app;\n" + profiles.read_text())
        daily = project / "models/marts/core/agg_daily_stats.sql"
        daily.write_text(daily.read_text() + "\n-- edited\n")
        run = warehouse.refresh()
    assert "agg_daily_stats" in run.rebuilt
    assert warehouse.query(tables) != old_table
    changed = {"get_widget_active", "get_user_profiles", "get_sessions"}
    assert {name.split(".")[-1] for name in run.to_build if name.startswith("function.")} == changed
    after = made(warehouse)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name][0] != before[name][0]} == changed
    readers = ["tidemark_analyst", "tidemark_bi", "tidemark_workspace_reader"]
    assert all(granted == readers for _, _, granted in after.values())
    assert after["get_user_profiles"][1] == "the_app text, ids text[]"
    assert warehouse.query("select marts.get_widget_summary(%s)", APP) == summary
    active = warehouse.query("select marts.get_widget_active(%s)", APP)[0][0]
    assert active.keys() == {"chatbot_id", "sessions_active", "timestamp"}
