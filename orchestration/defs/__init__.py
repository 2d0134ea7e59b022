"""The Dagster definitions, by kind. A module with a `@dg.definitions` function holds nothing else."""
