import json
import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.cache import arrays, kinds
from pipeline.errors import AuditError

PROJECT = Path(__file__).parents[1]
FIX = "run `make features`"
ORIGIN = {"device": "CPU", "numpy": "1.26.4"}

RECORDS = kinds.Records(
    id=np.array([2, 5, 9]),
    label=np.array([0, 1, 1], dtype=np.int32),
    member=np.array([True, False, True]),
    population=np.array([False, False, False]),
    canary=np.array([False, False, True]),
    content=np.array([b"aa", b"bb", b"cc"]),
    duplicates_dropped=np.array(4),
    copies_dropped=np.array(1),
    copies=np.array([[3, 2]]),
    n_classes=np.array(2),
    n_source=np.array(12),
)
SPLIT = kinds.Split(
    id=np.array([2, 5, 9]),
    evaluation=np.array([[False, True, False], [True, False, False]]),
)
SHARD = kinds.Shard(
    id=np.array([2, 5]),
    label=np.array([0, 1], dtype=np.int32),
    logits=np.array([[[0.5, -1.5, 1e30]], [[3.0, 0.1, -0.0]]], dtype=np.float32),
    margin=np.array([[0.25], [-1e-300]]),
)
REFERENCES = kinds.References(
    id=np.array([2, 5, 9]), member=np.array([[True, False, True], [False, True, False]])
)
NO_REFERENCES = kinds.References(id=np.array([2]), member=np.zeros((0, 1), dtype=bool))
REFERENCE_SHARD = kinds.ReferenceShard(
    id=np.array([2, 5]),
    margin=np.array([[0.25, 1.5], [-3.0, 0.0]], dtype=np.float32),
    recalibrated=np.array([[0.5, 1.0], [-2.0, 0.5]], dtype=np.float32),
    correct=np.array([True, False]),
)
SCORES = kinds.Scores(
    id=np.array([5, 9]),
    label=np.array([1, 1], dtype=np.int32),
    member=np.array([False, True]),
    evaluation=np.array([True, True]),
    correct=np.array([False, True]),
    loss=np.array([1.5, 1e-300]),
    confidence=np.array([0.5, 1.0]),
    p_value=np.array([0.5, np.nan]),
    method=np.array([b"lr", b"knn"]),
    score=np.array([[0.1, 0.9], [0.5, 0.5]]),
    decision=np.array([[False, True], [True, False]]),
    reading_method=np.array([b"knn"]),
    reading=np.array([[0.5, 0.25]]),
    growth_method=np.array([b"rmia_online"]),
    growth_references=np.array([2]),
    growth_score=np.array([[0.25, -0.5]]),
)
NO_GROWTH = replace(
    SCORES,
    growth_method=np.array([], dtype="S"),
    growth_references=np.array([], dtype=np.int64),
    growth_score=np.empty((0, 2)),
)
ARTIFACTS = [
    RECORDS,
    SPLIT,
    REFERENCES,
    NO_REFERENCES,
    SHARD,
    REFERENCE_SHARD,
    SCORES,
    NO_GROWTH,
]

# A limit on the size of files makes the kernel refuse to write on, as a full disk does.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from pipeline.cache import arrays, kinds
from pipeline.errors import AuditError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
n, limit = int(sys.argv[2]), int(sys.argv[3])
column = np.arange(n)
shard = kinds.Shard(column, column, column[:, None] * np.ones(10), column)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    arrays.write(Path(sys.argv[1]), shard, key="k", origin={})
except AuditError as error:
    print(error)
"""


def kind_of(artifact: Any) -> str:
    return type(artifact).__name__.lower()


def written(folder: Path, artifact: Any, key: str = "k") -> Path:
    path = folder / "artifact.h5"
    arrays.write(path, artifact, key=key, origin=ORIGIN)
    return path


def refusal(path: Path, kind: Any = kinds.Shard, key: str = "k") -> str:
    """Return the message of the refusal, without path and fix."""
    with pytest.raises(AuditError) as caught:
        arrays.read(path, kind, key=key, fix=FIX)
    where, problem, fix = caught.value.args
    assert (where, fix) == (path, FIX)
    return str(problem)


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=kind_of)
def test_an_artifact_comes_back_as_it_was_written(
    artifact: Any, tmp_path: Path
) -> None:
    path = written(tmp_path, artifact)
    found = arrays.read(path, type(artifact), key="k", fix=FIX)
    for field in fields(artifact):
        one, other = getattr(artifact, field.name), getattr(found, field.name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def test_an_artifact_of_several_chunks_comes_back(tmp_path: Path) -> None:
    ids = np.arange(2 * arrays.CHUNK_ROWS + 3)
    path = written(tmp_path, kinds.Split(ids, ids[::-1]))
    found = arrays.read(path, kinds.Split, key="k", fix=FIX)
    assert np.array_equal(found.evaluation, ids[::-1])


def test_an_empty_artifact_comes_back(tmp_path: Path) -> None:
    empty = np.empty(0, dtype=np.int64)
    path = written(tmp_path, kinds.Split(empty, empty))
    found = arrays.read(path, kinds.Split, key="k", fix=FIX)
    assert found.evaluation.shape == (0,)


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=kind_of)
def test_equal_artifacts_give_equal_bytes(artifact: Any, tmp_path: Path) -> None:
    one = written(tmp_path / "one", artifact).read_bytes()
    other = written(tmp_path / "other", artifact).read_bytes()
    assert one == other


def test_the_time_of_writing_changes_no_byte(tmp_path: Path) -> None:
    one = written(tmp_path / "one", RECORDS).read_bytes()
    time.sleep(1.1)  # HDF5 notes times in whole seconds
    other = written(tmp_path / "other", RECORDS).read_bytes()
    assert one == other


def test_writing_leaves_read_only_arrays_as_they_are(tmp_path: Path) -> None:
    ids = np.arange(5)
    ids.flags.writeable = False
    written(tmp_path, kinds.Split(ids, ids))
    assert ids.tolist() == [0, 1, 2, 3, 4]


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path, SHARD)) as file:
        attributes = dict(file.attrs)
    assert len(attributes.pop("sha256")) == 64
    assert json.loads(attributes.pop("origin")) == ORIGIN
    assert attributes == {
        "format": "membership-audit/shard",
        "version": arrays.VERSIONS[kinds.Shard],
        "key": "k",
    }


def test_a_file_tells_what_its_numbers_ran_on(tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    _, origin = arrays.read_with_origin(path, kinds.Shard, key="k", fix=FIX)
    assert origin == ORIGIN


def test_a_crash_in_mid_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, SHARD, key="old")
    monkeypatch.setattr(h5py.Group, "create_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        arrays.write(path, SHARD, key="new", origin=ORIGIN)
    assert os.listdir(tmp_path) == ["artifact.h5"]
    found = arrays.read(path, kinds.Shard, key="old", fix=FIX)
    assert np.array_equal(found.logits, SHARD.logits)


@pytest.mark.parametrize(
    ("n_rows", "limit"),
    [
        (1, 100),  # not even the head of the file fits
        (1, 3_000),
        (1_000, 20_000),
        (100_000, 50_000),  # the first chunks do not
        (100_000, 5_000_000),
    ],
)
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(
    n_rows: int, limit: int, tmp_path: Path
) -> None:
    path = tmp_path / "00000.h5"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(n_rows), str(limit)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == (
        f"{path}: cannot be written (File too large). Fix: free some space, or make "
        "the folder writable, and run make again.\n"
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(AuditError, match=r"cannot be written \(File exists\)"):
        arrays.write(tmp_path / "file" / "00000.h5", SHARD, key="k", origin=ORIGIN)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "artifact.h5") == "is missing"


def test_a_file_made_from_other_inputs_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, SHARD, key="0123456789")
    expected = "was made from other inputs (01234567, not abcdefgh)"
    assert refusal(path, key="abcdefghij") == expected


def test_an_artifact_of_another_stage_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, SPLIT)
    expected = "has format membership-audit/split, not membership-audit/shard"
    assert refusal(path) == expected


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["id"] = np.arange(3)
    assert refusal(path) == "has format None, not membership-audit/shard"


def test_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1
    assert refusal(path) == f"has version 1, not {arrays.VERSIONS[kinds.Shard]}"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert refusal(path) == "is corrupt"


def test_a_file_without_one_of_its_arrays_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    with h5py.File(path, "r+") as file:
        del file["margin"]
    assert refusal(path) == "is corrupt"


@pytest.mark.parametrize("name", [field.name for field in fields(kinds.Shard)])
def test_a_flipped_bit_in_any_array_is_noticed(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert refusal(path) == "is corrupt"


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=kind_of)
def test_a_changed_value_is_noticed_though_its_checksum_fits(
    artifact: Any, tmp_path: Path
) -> None:
    # HDF5 makes the checksum of a chunk anew, and scalars have none.
    for field in fields(artifact):
        path = written(tmp_path, artifact)
        array = np.atleast_1d(getattr(artifact, field.name)).copy()
        if not array.size:
            continue
        first = array.ravel()[0]
        changed = b"zz" if array.dtype.kind == "S" else not first
        with h5py.File(path, "r+") as file:
            place = (0,) * file[field.name].ndim
            file[field.name][place] = changed
        assert refusal(path, type(artifact)) == "is corrupt", field.name


def test_a_changed_origin_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    with h5py.File(path, "r+") as file:
        file.attrs["origin"] = json.dumps({"device": "Ascend"})
    assert refusal(path) == "is corrupt"


def test_a_file_is_whole_if_it_can_be_read_with_its_key(tmp_path: Path) -> None:
    path = written(tmp_path, SHARD)
    assert arrays.is_whole(path, kinds.Shard, key="k")
    assert not arrays.is_whole(path, kinds.Shard, key="other")
    assert not arrays.is_whole(tmp_path / "missing.h5", kinds.Shard, key="k")
