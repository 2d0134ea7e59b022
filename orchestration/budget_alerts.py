"""Alerts of budgets: what a completed refresh sees crossed for the first time, once and for good."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

CROSSINGS = "model.tidemark.agg_budget_crossings"

GIVE = """
insert into ops.budget_alerts (
    target, budget, period, period_start_date, threshold_rate, crossed_date, amount_usd, spent_usd, given_at, refresh_id
)
select
    %(target)s, budget, period, period_start_date, threshold_rate, crossed_date, amount_usd, spent_usd,
    %(given_at)s, %(refresh_id)s
from {crossings}
on conflict do nothing
"""


def give(
    connection: psycopg.Connection, target: str, manifest: Mapping[str, Any], refresh_id: int, given_at: datetime
) -> int:
    """Keep in `ops.budget_alerts` the crossings that `target` has no alert of yet; returns how many.

    Belongs in the transaction that moves the mark: a refresh that does not complete gives none, and the one that takes
    up its work gives them once. `manifest` is dbt's, of the same target.
    """
    model = manifest["nodes"].get(CROSSINGS)
    if model is None:
        return 0
    crossings = sql.Identifier(model["schema"], model["alias"])
    # not built, where only some of the models are
    if connection.execute("select to_regclass(%s)", [crossings.as_string(connection)]).fetchone()[0] is None:
        return 0
    statement = sql.SQL(GIVE).format(crossings=crossings)
    return connection.execute(statement, {"target": target, "given_at": given_at, "refresh_id": refresh_id}).rowcount
