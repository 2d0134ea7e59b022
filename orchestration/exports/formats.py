"""Rows to files: JSON, CSV that no spreadsheet takes for formulas, Parquet. Each writer holds a few thousand rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, BinaryIO, Protocol

from ingest.errors import TidemarkError
from orchestration.exports.catalogue import Column, Mart

# A cell that begins with one of these is a formula to a spreadsheet, however it is quoted.
OF_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
FORMATS = ("json", "csv", "parquet")
DECIMAL_DIGITS, DECIMAL_SCALE = 38, 18
SMALLEST = Decimal(1).scaleb(-DECIMAL_SCALE)
EXACT = Context(prec=DECIMAL_DIGITS, rounding=ROUND_HALF_EVEN)
TEXT = "text"

Rows = Iterator[Sequence[Sequence[Any]]]


class Writer(Protocol):
    """Writes chunks of rows, values as psycopg gives them; returns how many rows there were."""

    def __call__(self, mart: Mart, chunks: Rows, file: BinaryIO) -> int: ...


def write_csv(mart: Mart, chunks: Rows, file: BinaryIO) -> int:
    """UTF-8 with a header, as RFC 4180 has it; null is empty. Text that looks like a formula gets an apostrophe."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.name for column in mart.columns])
    cells = [_cell_of(column) for column in mart.columns]
    written = 0
    for rows in chunks:
        writer.writerows([[cell(value) for cell, value in zip(cells, row, strict=True)] for row in rows])
        written += len(rows)
    text.flush()
    text.detach()
    return written


def _cell_of(column: Column) -> Callable[[Any], Any]:
    if column.type in NUMBERS or column.type in ("boolean", "date", "timestamp with time zone"):
        return _plain
    return _escaped


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else _number(value)


def _number(value: Any) -> str:
    # Decimal writes small ones with an exponent
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _escaped(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(OF_FORMULAS) else text


def write_json(mart: Mart, chunks: Rows, file: BinaryIO) -> int:
    """An array with an object per line; numbers keep every digit. Rows have one value, the object's text."""
    written = 0
    file.write(b"[")
    for rows in chunks:
        for (text,) in rows:
            file.write((b"\n" if not written else b",\n") + text.encode())
            written += 1
    file.write(b"\n]\n")
    return written


def write_parquet(mart: Mart, chunks: Rows, file: BinaryIO) -> int:
    """One row group per chunk.

    Raises:
        TidemarkError: pyarrow is not installed, or a number has too many digits.
    """
    arrow, parquet = load_arrow()
    schema = arrow.schema([(column.name, _arrow_type(arrow, column)) for column in mart.columns])
    written = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in chunks:
            columns = list(zip(*rows, strict=True)) or [()] * len(mart.columns)
            arrays = [
                arrow.array(_arrow_values(mart, column, values), type=field.type)
                for column, values, field in zip(mart.columns, columns, schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            written += len(rows)
    return written


def load_arrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        TidemarkError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise TidemarkError("Parquet needs pyarrow: pip install 'tidemark[parquet]'.") from error
    return pyarrow, pyarrow.parquet


NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")
LISTS = ("text[]",)


def _arrow_type(arrow: Any, column: Column) -> Any:
    plain = {
        "smallint": arrow.int16(),
        "integer": arrow.int32(),
        "bigint": arrow.int64(),
        "real": arrow.float32(),
        "double precision": arrow.float64(),
        "numeric": arrow.decimal128(DECIMAL_DIGITS, DECIMAL_SCALE),
        "boolean": arrow.bool_(),
        "date": arrow.date32(),
        "timestamp with time zone": arrow.timestamp("us", tz="UTC"),
        "text[]": arrow.list_(arrow.string()),
    }
    return plain.get(column.type, arrow.string())


def _arrow_values(mart: Mart, column: Column, values: Sequence[Any]) -> Sequence[Any]:
    if column.type != "numeric":
        return values
    try:
        return [None if value is None else EXACT.quantize(value, SMALLEST) for value in values]
    except InvalidOperation as error:
        raise TidemarkError(
            f"{mart.name}.{column.name} holds a number that has no place in Parquet's decimals "
            f"({DECIMAL_DIGITS - DECIMAL_SCALE} digits before the point): export it as CSV or JSON."
        ) from error


WRITERS: dict[str, Writer] = {"json": write_json, "csv": write_csv, "parquet": write_parquet}
