"""Scratch: arrays in files of their own, for as long as a stage runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.signals.stored import parts

PLACES = 8192  # read at once, if they are not one after another


class Scratch:
    """An array in a file, to be read as `signals.stored` tells.

    What was read does not stay in the process.

    Args:
        path: of the file, which is made anew.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._path = path
        with path.open("wb") as file:
            file.truncate(int(np.prod(shape)) * self.dtype.itemsize)

    def put(self, values: NDArray[Any], *place: int) -> None:
        """Write successive values from a place on, whose last axes are left out.

        Raises:
            OSError: if the disk is full. A mapped file would end the process then.
        """
        whole = (*place, *[0] * (len(self.shape) - len(place)))
        before = sum(
            at * int(np.prod(self.shape[axis + 1 :])) for axis, at in enumerate(whole)
        )
        with self._path.open("r+b") as file:
            file.seek(before * self.dtype.itemsize)
            file.write(np.ascontiguousarray(values, self.dtype).tobytes())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        if not np.prod(self.shape):  # no file so small is mapped
            nothing: NDArray[Any] = np.empty(self.shape, self.dtype)[key]
            return nothing
        first, *rest = key if isinstance(key, tuple) else (key,)
        # Places far apart take many pages of a file: few of them at a time.
        if isinstance(first, np.ndarray):
            places = np.flatnonzero(first) if first.dtype == bool else first
            few = parts(places, PLACES)
            return np.concatenate([self._read((part, *rest)) for part in few])
        if isinstance(first, slice) and rest and isinstance(rest[0], np.ndarray):
            along = range(*first.indices(len(self)))
            return np.stack([self._read((place, *rest)) for place in along])
        return self._read(key)

    def _read(self, key: Any) -> NDArray[Any]:
        """Read what stands at a key, by a mapping that ends with it."""
        whole = np.memmap(self._path, self.dtype, "r", shape=self.shape)
        read: NDArray[Any] = np.array(whole[key])
        return read

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[place] for place in range(len(self)))
