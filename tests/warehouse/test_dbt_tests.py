"""dbt's own tests, unit tests and nightly ones included, on the whole sample."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from orchestration.refresh import PROJECT_FOLDER, dbt_arguments
from tests.warehouse.conftest import Warehouse, without_server_variables


@pytest.mark.parametrize(("kind", "at_least"), [("unit_test", 14), ("test", 20)])
def test_dbt_tests_pass(sample_warehouse: Warehouse, kind: str, at_least: int):
    done = subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", "test", "--resource-type", kind, *dbt_arguments("prod")],
        env=without_server_variables() | sample_warehouse.server.environment(),
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"PASS=(\d+)", done.stdout)[1]) >= at_least


# The widest mart and a table that dbt did not make, as dbt's own macro is asked for their columns.
COLUMNS_READ = """
{% for relation in [ref('fct_sessions'), source('raw', 'loads')] %}
{% for column in adapter.get_columns_in_relation(relation) %}
select
    '{{ relation.identifier }}' as relation, {{ loop.index }} as place, '{{ column.name }}' as name,
    '{{ column.dtype }}' as type, '{{ column.numeric_precision }}' as digits
{{ 'union all' if not loop.last }}
{% endfor %}
{{ 'union all' if not loop.last }}
{% endfor %}
"""
COLUMNS_TOLD = """
    select
        table_name::text, row_number() over (partition by table_name order by ordinal_position), column_name::text,
        case data_type when 'ARRAY' then regexp_replace(udt_name, '^_', '') || '[]' else data_type end,
        coalesce(numeric_precision::text, 'None')
    from information_schema.columns
    where (table_schema, table_name) in (('marts', 'fct_sessions'), ('raw', 'loads'))
    order by 1, 2
"""
# information_schema calls an array by its element's internal name
ARRAYS = {"timestamp with time zone[]": "timestamptz[]", "integer[]": "int4[]", "bigint[]": "int8[]"}


def test_columns_are_read_as_information_schema_has_them(sample_warehouse: Warehouse):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dbt.cli.main", "--quiet", "show", "--inline", COLUMNS_READ, "--limit", "-1"),
            *("--output", "json", "--log-format", "text", *dbt_arguments("prod")),
        ],
        env=without_server_variables() | sample_warehouse.server.environment(),
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    rows = json.loads(done.stdout[done.stdout.index("{") :])["show"]
    read = [
        (row["relation"], row["place"], row["name"], ARRAYS.get(row["type"], row["type"]), row["digits"])
        for row in rows
    ]
    assert sorted(read) == sample_warehouse.query(COLUMNS_TOLD)
