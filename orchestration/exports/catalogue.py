"""Which marts there are, what columns they have, and by which of them a period is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import psycopg

from ingest.errors import TidemarkError

SCHEMA = "marts"
# What S3's export adds with `includeInsights`.
INSIGHTS = ("fct_anomalies", "agg_cost_forecast", "agg_visitor_forecast", "recommendations")
# These say what is, not what was: a period leaves nothing of them out.
OF_NOW = ("agg_cost_forecast", "agg_visitor_forecast", "recommendations")
DIMENSION = "dim_"
DAY, INSTANT = "date", "timestamp with time zone"

COLUMNS = """
select
    relation.relname,
    array_agg(attribute.attname order by attribute.attnum),
    array_agg(format_type(attribute.atttypid, null) order by attribute.attnum),
    coalesce(
        (
            select array_agg(key.attname order by place.number)
            from pg_index
            cross join lateral unnest(pg_index.indkey::smallint[]) with ordinality as place (attnum, number)
            inner join pg_attribute as key on key.attrelid = pg_index.indrelid and key.attnum = place.attnum
            where pg_index.indrelid = relation.oid and pg_index.indisprimary
        ),
        '{}'
    )
from pg_class as relation
inner join pg_attribute as attribute on attribute.attrelid = relation.oid
where
    relation.relnamespace = to_regnamespace(%(schema)s) and relation.relkind in ('r', 'p', 'v', 'm')
    and attribute.attnum > 0 and not attribute.attisdropped
group by relation.oid, relation.relname
order by relation.relname
"""


@dataclass(frozen=True)
class Column:
    """A column and PostgreSQL's name of its type."""

    name: str
    type: str


@dataclass(frozen=True)
class Mart:
    """A relation of the schema marts. `key` are the columns of its primary key; views have none."""

    name: str
    columns: Sequence[Column]
    key: Sequence[str]

    def period_column(self, wanted: str | None = None) -> Column | None:
        """The column a period is told by: the one that is wanted, else the first date, else the first time.

        Dimensions, forecasts and recommendations have none that is not wanted: they are exported whole.

        Raises:
            TidemarkError: the wanted one is none, or neither a date nor a time.
        """
        timed = [column for kind in (DAY, INSTANT) for column in self.columns if column.type == kind]
        if wanted is None:
            if self.name in OF_NOW or self.name.startswith(DIMENSION):
                return None
            return next(iter(timed), None)
        found = next((column for column in timed if column.name == wanted), None)
        if found is None:
            told = ", ".join(column.name for column in timed) or "none"
            raise TidemarkError(f"{self.name} has no date or time {wanted!r} to export by; it has: {told}.")
        return found


def marts(connection: psycopg.Connection) -> dict[str, Mart]:
    """Name → mart, of production, in order of name."""
    rows = connection.execute(COLUMNS, {"schema": SCHEMA}).fetchall()
    return {
        name: Mart(name, [Column(*column) for column in zip(columns, types, strict=True)], key)
        for name, columns, types, key in rows
    }


def chosen(known: dict[str, Mart], names: Iterable[str]) -> list[Mart]:
    """The marts of these names, each once.

    Raises:
        TidemarkError: nothing is built yet, no name is given, or one is no mart's.
    """
    if not known:
        raise TidemarkError("There are no marts yet: run `make refresh` first.")
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise TidemarkError("Name the marts to export, or say that all are wanted.")
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "README.md lists them."
            raise TidemarkError(f"There is no mart {name!r}: {hint}")
    return [known[name] for name in wanted]
