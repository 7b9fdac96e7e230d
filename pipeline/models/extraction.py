"""Extraction: records in, a model's signals out, block by block."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.kinds import Records
from pipeline.config import Data
from pipeline.data import preprocessing, readahead, sources
from pipeline.data.sources import Inputs
from pipeline.models import devices
from pipeline.models.inference import Batch, Extractor, Outputs


def outputs(
    extractor: Extractor,
    data: Data,
    records: Records,
    blocks: Sequence[NDArray[np.int64]],
    views: Sequence[str],
    augmentation: preprocessing.Draw | None = None,
) -> Iterator[Outputs]:
    """Yield what a model says of each view of each block of records.

    The next batch is read, checked and normalised while the device runs one, if that
    is no CPU of few processors. The inputs of a few batches are in memory at once,
    however large a block is.

    Args:
        extractor: of the model.
        data: where the records come from.
        records: all audited records.
        blocks: rows of `records`, ascending within and over the blocks.
        views: by which every record is shown, as `preprocessing.view` knows them.
        augmentation: of every audited record, if any, before the views.

    Yields:
        (n_rows, n_views, n_classes) logits and (n_rows, n_views) margins.

    Raises:
        AuditError: if a record is not the one it was, or is not finite.
    """
    size = extractor.batch_size
    made = batches(data, records, blocks, views, size, augmentation)
    with closing(readahead.ahead(made, devices.batches_ahead())) as ready:
        for rows in blocks:
            n_batches = -(-len(rows) // size)
            yield extractor.read(islice(ready, n_batches), len(rows))


def batches(
    data: Data,
    records: Records,
    blocks: Sequence[NDArray[np.int64]],
    views: Sequence[str],
    size: int,
    augmentation: preprocessing.Draw | None = None,
) -> Iterator[Batch]:
    """Return the batches of each block, the last one filled up by the block's first.

    Args:
        data: where the records come from.
        records: all audited records.
        blocks: rows of `records`, ascending within and over the blocks.
        views: by which every record is shown.
        size: of a batch, in records.
        augmentation: of every audited record, if any, before the views.
    """
    cuts = [(rows, first) for rows in blocks for first in range(0, len(rows), size)]
    own = [rows[first : first + size] for rows, first in cuts]
    # A user's own function is called here, not by a thread that reads ahead.
    stored = sources.blocks(
        data,
        [records.id[rows] for rows in own],
        [records.content[rows] for rows in own],
    )

    def shown(view: str, rows: NDArray[np.int64], inputs: Inputs) -> Inputs:
        draws = [] if augmentation is None else [augmentation[rows]]
        draws += [preprocessing.view(view, len(rows))] * (view != "identity")
        return preprocessing.inputs(inputs, data, devices.resize, draws)

    def made() -> Iterator[Batch]:
        begin: Inputs = ()  # of the block, to fill up its last batch
        for (rows, first), inputs in zip(cuts, stored, strict=True):
            begin = begin if first else inputs
            n_own = len(rows[first : first + size])
            if n_own < size:
                others = sources.at(begin, np.arange(size - n_own) % len(begin[0]))
                inputs = sources.together([inputs, others])
            batch = rows[np.arange(first, first + size) % len(rows)]
            views_of = tuple(shown(view, batch, inputs) for view in views)
            yield Batch(views_of, records.label[batch], n_own)

    return made()
