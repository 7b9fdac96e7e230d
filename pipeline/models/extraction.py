"""Extraction: records in, the target's signals out, block by block."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.kinds import Records
from pipeline.config import Data
from pipeline.data import preprocessing, sources
from pipeline.models import devices, inference

Extractor = Callable[[sources.Inputs, NDArray[np.int32]], inference.Outputs]


def outputs(
    extractor: Extractor,
    data: Data,
    records: Records,
    blocks: Sequence[NDArray[np.int64]],
    views: Sequence[str],
    augmentation: preprocessing.Draw | None = None,
) -> Iterator[inference.Outputs]:
    """Yield what a model says of each view of each block of records.

    Args:
        extractor: from `inference.extractor`.
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
    ids = [records.id[rows] for rows in blocks]
    content = [records.content[rows] for rows in blocks]
    stored = sources.blocks(data, ids, content)
    for rows, block in zip(blocks, stored, strict=True):
        shown = []
        for name in views:
            draws = [] if augmentation is None else [augmentation[rows]]
            draws += [preprocessing.view(name, len(rows))] * (name != "identity")
            ready = preprocessing.inputs(block, data, devices.resize, draws)
            shown.append(extractor(ready, records.label[rows]))
        logits, margins = zip(*shown, strict=True)
        yield inference.Outputs(np.stack(logits, axis=1), np.stack(margins, axis=1))
