"""Pulling rows from another PostgreSQL database into raw, by watermark."""
