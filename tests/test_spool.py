import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import sources, spool
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from tests import stocks


@pytest.fixture(params=stocks.SOURCES)
def data(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Data:
    return stocks.data(request.param, tmp_path, monkeypatch)


def chosen(data: Data) -> tuple[NDArray[np.int64], NDArray[np.bytes_]]:
    content = sources.catalogue(data).content
    ids = np.arange(0, len(content), 2)
    return ids, content[ids]


def stored(data: Data, folder: Path) -> Inputs:
    return spool.stored(data, *chosen(data), folder)


@pytest.mark.parametrize("rows", [5, 1024])
def test_inputs_are_the_same_in_memory_and_on_disk(
    data: Data, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, content = chosen(data)
    (whole,) = sources.blocks(data, [ids], [content])
    monkeypatch.setattr(spool, "READ_ROWS", rows)
    folder = tmp_path / "run" / "target"
    in_memory = stored(data, folder)
    assert not folder.exists()
    size = sum(column.nbytes for column in whole)
    monkeypatch.setattr(spool, "IN_MEMORY", size - 1)
    on_disk = stored(data, folder)
    order = np.random.default_rng(1).permutation(len(ids))
    for expected, *found in zip(whole, in_memory, on_disk, strict=True):
        for column in found:
            assert (column.dtype, column.shape) == (expected.dtype, expected.shape)
            assert np.array_equal(column[order], expected[order])
    assert not any(isinstance(column, np.memmap) for column in in_memory)
    assert all(isinstance(column, np.memmap) for column in on_disk)
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(spool, "IN_MEMORY", size)
    assert not any(isinstance(column, np.memmap) for column in stored(data, folder))


@pytest.mark.parametrize("limit", [0, spool.IN_MEMORY])
def test_a_record_that_changed_is_refused(
    data: Data, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", limit)
    ids, content = chosen(data)
    content = content.copy()
    content[7] = content[8]
    with pytest.raises(AuditError, match="gives other records"):
        spool.stored(data, ids, content, tmp_path)


def test_a_full_disk_is_told_with_what_there_is_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(source="digits")

    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def write(self, _: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    monkeypatch.setattr(spool, "TemporaryFile", lambda **_: Full())
    with pytest.raises(AuditError) as caught:
        stored(data, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: cannot hold 57,536 bytes of inputs (No space left on device). "
        "Fix: free some space, and run make again."
    )
