import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline.cache import tables
from pipeline.errors import AuditError

PROJECT = Path(__file__).parents[1]
COLUMNS: dict[str, NDArray[Any]] = {
    "id": np.array([3, 2**53 + 1, -7]),
    "label": np.array([0, 1, 2], dtype=np.int32),
    "member": np.array([True, False, True]),
    "score": np.array([1 / 3, np.nan, 1e-300]),
    "margin": np.array([0.1, np.nan, -2.5], dtype=np.float32),
    "name": np.array([b"a,b", b"", "½".encode()]),
    "word": np.array(['say "x"', "", "c"]),
}
# A limit on the size of files makes the kernel refuse to write on, as a full disk does.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from pipeline.cache import tables
from pipeline.errors import AuditError
from pipeline.errors import AuditError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    score = np.random.default_rng(0).random(999)
    tables.write(Path(sys.argv[1]), "records", {"score": score}, key="k")
except AuditError as error:
    print(error)
"""


def test_parquet_gives_back_what_was_written(tmp_path: Path) -> None:
    tables.write(tmp_path, "records", COLUMNS, key="k")
    found = pq.read_table(tmp_path / "records.parquet")
    assert found.column_names == list(COLUMNS)
    assert found.to_pydict() == {
        "id": [3, 2**53 + 1, -7],
        "label": [0, 1, 2],
        "member": [True, False, True],
        "score": [1 / 3, None, 1e-300],
        "margin": [float(np.float32(0.1)), None, -2.5],
        "name": ["a,b", "", "½"],
        "word": ['say "x"', "", "c"],
    }
    kinds = [pa.int64(), pa.int32(), pa.bool_(), pa.float64(), pa.float32()]
    assert found.schema.types == [*kinds, pa.string(), pa.string()]


def test_csv_gives_back_what_was_written(tmp_path: Path) -> None:
    tables.write(tmp_path, "records", COLUMNS, key="k")
    with (tmp_path / "records.csv").open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    assert names == list(COLUMNS)
    assert rows == [
        ["3", "0", "true", repr(1 / 3), "0.1", "a,b", 'say "x"'],
        [str(2**53 + 1), "1", "false", "", "", "", ""],
        ["-7", "2", "true", "1e-300", "-2.5", "½", "c"],
    ]


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    score = np.random.default_rng(0).normal(size=500) * 10.0 ** np.arange(-250, 250)
    tables.write(tmp_path, "records", {"score": score}, key="")
    lines = (tmp_path / "records.csv").read_text(encoding="utf-8").split()[1:]
    assert np.array_equal(np.array(lines, dtype=float), score)


def test_a_reader_can_tell_of_which_audit_the_table_is(tmp_path: Path) -> None:
    tables.write(tmp_path, "records", COLUMNS, key="0123abcd")
    metadata = pq.read_schema(tmp_path / "records.parquet").metadata
    assert metadata == {b"key": b"0123abcd"}


def test_equal_columns_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        copies = {name: column.copy() for name, column in COLUMNS.items()}
        tables.write(tmp_path / folder, "records", copies, key="k")
    for name in ("records.parquet", "records.csv"):
        one, other = ((tmp_path / at / name).read_bytes() for at in ("one", "other"))
        assert one == other


def test_arrays_may_be_read_only_and_in_pieces(tmp_path: Path) -> None:
    wide = np.arange(6.0).reshape(3, 2)
    wide.flags.writeable = False
    tables.write(tmp_path, "records", {"first": wide[:, 0]}, key="k")
    found = pq.read_table(tmp_path / "records.parquet").to_pydict()
    assert found == {"first": [0.0, 2.0, 4.0]}


def test_no_records_make_a_table_of_names(tmp_path: Path) -> None:
    tables.write(
        tmp_path, "records", {"id": np.empty(0, int), "p": np.empty(0)}, key="k"
    )
    assert (tmp_path / "records.csv").read_text(encoding="utf-8") == '"id","p"\n'
    assert pq.read_table(tmp_path / "records.parquet").num_rows == 0


@pytest.mark.parametrize("other", [np.zeros(2), np.zeros((3, 1)), np.array(1.0)])
def test_columns_of_another_shape_are_refused(
    other: NDArray[np.float64], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="one axis of one length, got"):
        tables.write(tmp_path, "records", {"id": np.arange(3), "other": other}, key="k")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"{tmp_path / 'records.parquet'}: cannot be written (File too large). Fix: "
        "free some space, or make the folder writable, and run make again.\n"
    )
    assert os.listdir(tmp_path) == []


def test_a_table_that_is_there_no_more_is_removed_and_no_other(tmp_path: Path) -> None:
    for name in (tables.RECORDS, tables.UNITS):
        tables.write(tmp_path, name, COLUMNS, key="k")
    tables.remove(tmp_path, tables.UNITS)
    tables.remove(tmp_path, tables.UNITS)
    assert {path.name for path in tmp_path.iterdir()} == {
        "records.csv",
        "records.parquet",
    }


def test_what_is_written_is_read_and_null_is_nan(tmp_path: Path) -> None:
    columns = {
        "id": np.arange(3),
        "p_value": np.array([0.5, np.nan, 1.0]),
        "member": np.array([True, False, True]),
        "group": np.array(["a", "b", "c"]),
    }
    tables.write(tmp_path, tables.RECORDS, columns, key="k")
    made = tables.read(tmp_path, tables.RECORDS, key="k", fix="")
    assert [*made] == [*columns]
    for name, column in columns.items():
        np.testing.assert_array_equal(made[name], column)


def test_a_table_that_is_missing_foreign_or_corrupt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"records.parquet: is missing. Fix: make it"):
        tables.read(tmp_path, tables.RECORDS, key="k", fix="make it")
    tables.write(tmp_path, tables.RECORDS, {"id": np.arange(3)}, key="k")
    with pytest.raises(AuditError, match=r"was made from other inputs"):
        tables.read(tmp_path, tables.RECORDS, key="other", fix="make it")
    (tmp_path / "records.parquet").write_bytes(b"PAR1")
    with pytest.raises(AuditError, match=r"is corrupt. Fix: make it"):
        tables.read(tmp_path, tables.RECORDS, key="k", fix="make it")


def test_no_text_reaches_csv_as_a_formula_or_an_escape(tmp_path: Path) -> None:
    groups = ["=cmd|'/c calc'!A0", "\x1b[31mred", 'a,b\n"c"', "plain"]
    tables.write(tmp_path, tables.RECORDS, {"group": np.array(groups)}, key="k")
    with (tmp_path / "records.csv").open(newline="", encoding="utf-8") as file:
        rows = [row["group"] for row in csv.DictReader(file)]
    assert rows == ["'=cmd|'/c calc'!A0", "\ufffd[31mred", 'a,b\n"c"', "plain"]
    assert (
        tables.read(tmp_path, tables.RECORDS, key="k", fix="")["group"].tolist()
        == groups
    )


def test_a_table_is_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.write(tmp_path, "whole", COLUMNS, key="k")
    monkeypatch.setattr(tables, "BLOCK_ROWS", 2)
    tables.write(tmp_path, "parts", COLUMNS, key="k")
    one, other = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("whole", "parts")
    )
    assert one.equals(other)
    assert one.schema.metadata == other.schema.metadata
    csvs = [(tmp_path / f"{name}.csv").read_bytes() for name in ("whole", "parts")]
    assert csvs[0] == csvs[1]


def test_columns_may_be_left_to_parquet_and_unread(tmp_path: Path) -> None:
    tables.write(tmp_path, "records", COLUMNS, key="k", not_in_csv=("score", "margin"))
    with (tmp_path / "records.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["id", "label", "member", "name", "word"]
    assert pq.read_table(tmp_path / "records.parquet").column_names == [*COLUMNS]
    read = tables.read(
        tmp_path, "records", key="k", fix="", wanted=lambda name: name != "score"
    )
    assert [*read] == [name for name in COLUMNS if name != "score"]
