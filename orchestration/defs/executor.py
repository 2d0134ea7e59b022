"""How runs execute that no job says otherwise for, such as assets picked in the UI."""

import dagster as dg


@dg.definitions
def executor() -> dg.Definitions:
    """In one process: each further process would load dbt and Dagster again."""
    return dg.Definitions(executor=dg.in_process_executor)
