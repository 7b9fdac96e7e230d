from pathlib import Path

import numpy as np
import pytest

from pipeline.cache import scratch
from pipeline.cache.scratch import Scratch
from pipeline.signals.stored import OfModels, OfViews

WHOLE = np.arange(24.0).reshape(2, 4, 3)
ROWS = np.array([0, 3])


@pytest.fixture
def stored(tmp_path: Path) -> Scratch:
    made = Scratch(tmp_path / "whole", WHOLE.shape, WHOLE.dtype)
    for model in (1, 0):
        for row in (2, 0):
            made.put(WHOLE[model, row : row + 2], model, row)
    return made


@pytest.mark.parametrize(
    "key",
    [
        1,
        (slice(None), slice(1, 3)),
        (slice(None), ROWS),
        (1, ROWS),
        (slice(None), ROWS, 0),
        slice(1),
        np.array([True, False]),
        np.array([1, 0]),
        (np.array([1, 0]), 2),
        (slice(None), np.array([True, False, False, True])),
    ],
    ids=str,
)
def test_an_array_in_a_file_is_read_as_one_in_memory(
    key: object, stored: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "PLACES", 1)
    assert np.array_equal(stored[key], WHOLE[key])  # type: ignore[call-overload]
    assert type(stored[key]) is np.ndarray
    assert (stored.shape, stored.dtype, len(stored)) == (WHOLE.shape, WHOLE.dtype, 2)
    assert [model.tolist() for model in stored] == WHOLE.tolist()


def test_what_was_read_is_no_part_of_the_file(stored: Scratch) -> None:
    stored[0][:] = -1
    assert np.array_equal(stored[0], WHOLE[0])


def test_an_array_of_nothing_is_read(tmp_path: Path) -> None:
    empty = Scratch(tmp_path / "empty", (0, 4, 3), np.dtype(np.float32))
    assert empty[:, ROWS].shape == (0, 2, 3)
    assert [*empty] == []


def test_some_models_are_read_as_if_they_were_all(stored: Scratch) -> None:
    part = OfModels(stored, np.array([1]))
    assert (part.shape, len(part)) == ((1, 4, 3), 1)
    assert np.array_equal(part[0], WHOLE[1])
    assert np.array_equal(part[:, ROWS], WHOLE[1:][:, ROWS])
    assert [model.tolist() for model in part] == WHOLE[1:].tolist()


def test_the_mean_over_views_is_taken_of_what_is_read(stored: Scratch) -> None:
    mean = OfViews(stored, lambda views: views.mean(axis=-1), WHOLE.shape[:2])
    assert np.array_equal(mean[1], WHOLE[1].mean(axis=1))
    assert np.array_equal(mean[:, ROWS], WHOLE[:, ROWS].mean(axis=2))
    assert [model.tolist() for model in mean] == WHOLE.mean(axis=2).tolist()
