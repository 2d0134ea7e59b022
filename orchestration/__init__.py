"""Runs the warehouse: the refresh, its work list, and the Dagster definitions around them."""
