"""Tables: one row per record, or per unit, for programs and for people."""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
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
BLOCK_ROWS = 65_536  # written at once


def write(
    folder: Path,
    name: str,
    columns: Mapping[str, NDArray[Any]],
    *,
    key: str,
    not_in_csv: Collection[str] = (),
) -> None:
    """Write a table as .parquet and .csv, one column per array, in order.

    NaN becomes null: an empty field in CSV. Byte strings become text. In CSV, text that
    a spreadsheet would compute or a terminal obey is made safe; see `texts.cell`.
    Parquet holds the `key` in the metadata of its schema; CSV has no place for it.
    Equal columns give equal bytes. Both are written block by block of rows.

    Args:
        folder: where the two files go.
        name: of the files, without suffix.
        columns: (n_rows,) each, by name.
        key: the digest of all that the columns were computed from.
        not_in_csv: names of columns that only Parquet has.

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
    in_csv = {k: column for k, column in columns.items() if k not in not_in_csv}
    metadata = {"key": key}
    # Written to a file of Python's, whose errors say what the system says.
    with files.replacing(folder / f"{name}.parquet") as path, path.open("wb") as file:
        blocks = _blocks(columns)
        first = next(blocks).replace_schema_metadata(metadata)
        with pa.parquet.ParquetWriter(
            file, first.schema, compression="zstd"
        ) as parquet:
            for table in chain([first], blocks):
                parquet.write_table(table.replace_schema_metadata(metadata))
    with files.replacing(folder / f"{name}.csv") as path, path.open("wb") as file:
        blocks = _blocks(in_csv)
        first = next(blocks)
        with pa.csv.CSVWriter(file, first.schema) as csv:
            for table in chain([first], blocks):
                csv.write_table(_safe(table))


def remove(folder: Path, name: str) -> None:
    """Remove a table that an earlier run has left, if it has."""
    for suffix in SUFFIXES:
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def read(
    folder: Path,
    name: str,
    *,
    key: str,
    fix: str,
    wanted: Callable[[str], bool] = lambda _: True,
) -> dict[str, NDArray[Any]]:
    """Read the columns of a table's .parquet, null as NaN.

    Args:
        folder: where it lies.
        name: of the file, without suffix.
        wanted: whether a column is read, by its name.
        key: of the inputs it must have been made from.
        fix: what mends it, for the error.

    Raises:
        AuditError: if it is missing, corrupt, or made from other inputs.
    """
    path = folder / f"{name}.parquet"
    try:
        names = pa.parquet.read_schema(path).names
        table = pa.parquet.read_table(path, columns=[*filter(wanted, names)])
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


def _blocks(columns: Mapping[str, NDArray[Any]]) -> Iterator[pa.Table]:
    """Yield the rows of columns in blocks; one of no rows if there are none."""
    n_rows = len(next(iter(columns.values())))
    for start in range(0, max(n_rows, 1), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield pa.table({name: _column(whole[rows]) for name, whole in columns.items()})


def _column(values: NDArray[Any]) -> pa.Array:
    text = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    # NaN is null there.
    return pa.array(text, from_pandas=True)


def _safe(table: pa.Table) -> pa.Table:
    """Return a table whose text is made safe to show."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            shown = [cell(text) for text in table.column(place).to_pylist()]
            table = table.set_column(place, field, pa.array(shown))
    return table
