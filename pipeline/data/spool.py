"""Spool: the inputs of many records, any of which can be read at any time."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import sources
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.signals.stored import slices

# Bytes of inputs that are held in memory; more than these lie on disk.
IN_MEMORY = 1 << 26
READ_ROWS = 1024  # records that are read at once


def stored(
    data: Data,
    ids: NDArray[np.int64],
    content: NDArray[np.bytes_],
    folder: Path,
) -> Inputs:
    """Read the inputs of records once, in sequence, to read them in any order later.

    They are arrays in memory, or, where they are larger than `IN_MEMORY`, arrays in
    files that are mapped into memory, of which the system keeps what it has room for.

    Args:
        data: the source.
        ids: (n_records,) of the records, ascending.
        content: (n_records,) the hashes that they must have.
        folder: of the files, which have no names there and go with the process.

    Returns:
        Of each input of the network (n_records, ...), as `sources.blocks` has them.

    Raises:
        AuditError: if a record is not the one it was when the audit chose it, or there
            is no room for the files.
    """
    cuts = slices(len(ids), READ_ROWS)
    blocks = sources.blocks(data, [ids[c] for c in cuts], [content[c] for c in cuts])
    first = next(blocks)
    n_bytes = len(ids) * sum(column[0].nbytes for column in first)
    whole = chain([first], blocks)
    if n_bytes <= IN_MEMORY:
        return sources.together(list(whole))
    try:
        return _mapped(whole, first, len(ids), folder)
    except OSError as error:
        reason = error.strerror or error
        problem = f"cannot hold {n_bytes:,} bytes of inputs ({reason})"
        raise AuditError(
            folder, problem, "free some space, and run make again"
        ) from error


def _mapped(
    blocks: Iterator[Inputs], first: Inputs, n_records: int, folder: Path
) -> Inputs:
    """Write blocks to files, and return these as arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(dir=folder)) for _ in first]
        for block in blocks:
            for file, column in zip(files, block, strict=True):
                # Where a mapped file finds the disk full, the process is killed.
                file.write(np.ascontiguousarray(column).data)
        for file in files:
            file.flush()
        return tuple(
            np.memmap(file, column.dtype, "r", shape=(n_records, *column.shape[1:]))
            for file, column in zip(files, first, strict=True)
        )
