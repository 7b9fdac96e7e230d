"""Tables: one row per record, or per unit, for programs and for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.cache import files
from pipeline.errors import AuditError
from pipeline.texts import cell

RECORDS, UNITS = "records", "units"
SUFFIXES = ("parquet", "csv")


def write(
    folder: Path, name: str, columns: Mapping[str, NDArray[Any]], *, key: str
) -> None:
    """Write a table as .parquet and .csv, one column per array, in order.

    NaN becomes null: an empty field in CSV. Byte strings become text. In CSV, text that
    a spreadsheet would compute or a terminal obey is made safe; see `texts.cell`.
    Parquet holds the `key` in the metadata of its schema; CSV has no place for it.
    Equal columns give equal bytes.

    Args:
        folder: where the two files go.
        name: of the files, without suffix.
        columns: (n_rows,) each, by name.
        key: the digest of all that the columns were computed from.

    Raises:
        AuditError: if the disk is full or cannot be written.
        ValueError: if a column has several axes or none, or lengths differ.
    """
    shapes = {name: np.shape(column) for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(
        len(shape) != 1 for shape in shapes.values()
    ):
        msg = f"columns must have one axis of one length, got {shapes}"
        raise ValueError(msg)
    table = pa.table({name: _column(column) for name, column in columns.items()})
    table = table.replace_schema_metadata({"key": key})
    # Made in memory, so that only `files.write` meets a full disk.
    for suffix, to_bytes in zip(SUFFIXES, (_parquet, _csv), strict=True):
        files.write(folder / f"{name}.{suffix}", to_bytes(table))


def remove(folder: Path, name: str) -> None:
    """Remove a table that an earlier run has left, if it has."""
    for suffix in SUFFIXES:
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def read(folder: Path, name: str, *, key: str, fix: str) -> dict[str, NDArray[Any]]:
    """Read the columns of a table's .parquet, null as NaN.

    Args:
        folder: where it lies.
        name: of the file, without suffix.
        key: of the inputs it must have been made from.
        fix: what mends it, for the error.

    Raises:
        AuditError: if it is missing, corrupt, or made from other inputs.
    """
    path = folder / f"{name}.parquet"
    try:
        table = pa.parquet.read_table(path)
    except FileNotFoundError:
        raise AuditError(path, "is missing", fix) from None
    except (OSError, pa.ArrowException):
        raise AuditError(path, "is corrupt", fix) from None
    metadata = table.schema.metadata or {}
    files.check_key(path, metadata.get(b"key", b"").decode(), key, fix)
    return {
        column: table.column(column).to_numpy(zero_copy_only=False)
        for column in table.column_names
    }


def _column(values: NDArray[Any]) -> pa.Array:
    text = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    # NaN is null there.
    return pa.array(text, from_pandas=True)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _csv(table: pa.Table) -> bytes:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            shown = [cell(text) for text in table.column(place).to_pylist()]
            table = table.set_column(place, field, pa.array(shown))
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(table, sink)
    return bytes(sink.getvalue())
