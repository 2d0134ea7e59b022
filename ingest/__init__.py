"""The loader: raw batches into PostgreSQL, in one transaction per file. For applications: `BatchWriter`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.writer import BatchWriter

__all__ = ["BatchWriter"]


def __getattr__(name: str) -> Any:
    """Imports the writer when it is first asked for, so that `import ingest` costs nothing."""
    if name == "BatchWriter":
        from ingest.writer import BatchWriter

        return BatchWriter
    raise AttributeError(f"module 'ingest' has no attribute {name!r}")
