"""The dbt models as assets, their tests as asset checks."""
