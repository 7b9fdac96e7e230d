"""Stored: arrays that may be too large for memory, and lie in a file."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


def slices(n_rows: int, most: int) -> list[slice]:
    """Return successive rows, so many at a time and one at least."""
    n_own = max(most, 1)
    return [slice(first, first + n_own) for first in range(0, n_rows, n_own)]


def parts(rows: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Return positions in parts of so many, of which there is one at least."""
    return np.split(rows, range(most, len(rows), most))


class Rows(Protocol):
    """Rows of floats, in memory or in a file; some are asked for by a slice."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.floating[Any]]:
        """Return some of them."""


class Stored(Protocol):
    """An array of floats, in memory or in a file.

    Whatever is asked for by an index is in memory, so few rows, or one model, should be
    asked for at a time.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extent along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type."""

    def __len__(self) -> int:
        """Return its extent along the first axis."""

    def __getitem__(self, key: Any, /) -> NDArray[np.floating[Any]]:
        """Return what NumPy does."""

    def __iter__(self) -> Iterator[NDArray[np.floating[Any]]]:
        """Yield what stands at each place of the first axis."""


class OfViews:
    """What a function makes of a stored array's last axis, when it is read.

    Args:
        whole: (n_models, n_records, n_views).
        function: of (..., n_views).
        shape: of the result.
    """

    def __init__(
        self,
        whole: Stored,
        function: Callable[[NDArray[np.floating[Any]]], NDArray[np.floating[Any]]],
        shape: tuple[int, ...],
    ) -> None:
        self.shape, self.dtype = shape, whole.dtype
        self._whole, self._function = whole, function

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> NDArray[np.floating[Any]]:
        return self._function(self._whole[key])

    def __iter__(self) -> Iterator[NDArray[np.floating[Any]]]:
        return map(self._function, self._whole)


class OfModels:
    """Some models of a stored array.

    It is read model by model, or of all of them some records.

    Args:
        whole: (n_models, ...).
        models: (n_chosen,) positions.
    """

    def __init__(self, whole: Stored, models: NDArray[np.int64]) -> None:
        self.shape, self.dtype = (len(models), *whole.shape[1:]), whole.dtype
        self._whole, self._models = whole, models

    def __len__(self) -> int:
        return len(self._models)

    def __getitem__(self, key: Any, /) -> NDArray[np.floating[Any]]:
        if not isinstance(key, tuple):
            return self._whole[self._models[key]]
        models, *rest = key
        return np.stack([self._whole[(m, *rest)] for m in self._models[models]])

    def __iter__(self) -> Iterator[NDArray[np.floating[Any]]]:
        return (self._whole[model] for model in self._models)
