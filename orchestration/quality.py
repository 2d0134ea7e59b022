"""How good the data are that came: the newest value of each measure of `marts.agg_data_quality`."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingest.errors import TidemarkError

NEWEST = """
select distinct on (measure, subject)
    measure, subject, measured_date, affected, total, value, limit_value, is_beyond
from marts.agg_data_quality
where value is not null and measured_date <= (ops.as_of() at time zone 'UTC')::date
order by measure, subject, measured_date desc
"""


def newest_values(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """One row per measure and subject, that of its newest day.

    Raises:
        TidemarkError: no refresh has built the mart yet.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            return cursor.execute(NEWEST).fetchall()
        except psycopg.errors.UndefinedTable as error:
            raise TidemarkError("The quality of the data is not measured yet: run `make refresh` first.") from error


def as_numbers(rows: list[dict[str, Any]]) -> dict[str, float]:
    """`<measure>_<subject>` → value, and how many are beyond their limit: what Dagster plots over runs."""
    numbers = {f"{row['measure']}_{row['subject']}": float(row["value"]) for row in rows}
    return {"beyond_limit": float(sum(row["is_beyond"] for row in rows)), **numbers}


def concerns(rows: list[dict[str, Any]]) -> list[str]:
    """What is beyond its limit, a line each."""
    return [
        f"{row['measure']} of {row['subject']} was {row['value']} on {row['measured_date']}, "
        f"the limit is {row['limit_value']}"
        for row in rows
        if row["is_beyond"]
    ]
