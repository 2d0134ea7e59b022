"""The loader: raw batches into PostgreSQL, in one transaction per file."""
