"""Everything Dagster knows of the warehouse: what lies in the folder `defs`."""

from pathlib import Path

import dagster as dg


@dg.definitions
def definitions() -> dg.Definitions:
    """Assets, checks, jobs, schedules and resources of the warehouse."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
