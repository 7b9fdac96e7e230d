"""Compare members with non-members as data, the model unseen."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.cache import arrays, documents, shards
from pipeline.cache.kinds import Records
from pipeline.cache.stamps import Job
from pipeline.config import Blind as Settings
from pipeline.config import Data, Features
from pipeline.data import modules, preprocessing, sources
from pipeline.findings import blind
from pipeline.findings.schema import Blind
from pipeline.statistics import units

# Records held in memory at once.
BLOCK_ROWS = 256


def compute(job: Job) -> str:
    """Write whether members and non-members differ as data, and in what."""
    settings, data = job.section(Settings), job.section(Data)
    records = arrays.upstream(job, "records", Records)
    audited = np.flatnonzero(~records.population)
    blocks = [audited[rows] for rows in shards.row_blocks(len(audited), BLOCK_ROWS)]
    parts, looked_at = [], ""
    for block in shown(data, job.section(Features), records, blocks):
        parts.append(blind.of_inputs(data.inputs, block))
        looked_at = kinds(data, block)

    outcome = blind.baseline(
        blind.joined(parts) if parts else None,
        records.label[audited],
        records.member[audited],
        settings.seed,
        units.of(records.shared_unit, audited),
    )

    documents.write(job.artifact("blind"), outcome, key=job.key, origin=job.origin)
    return sentence(outcome) + looked_at


def kinds(data: Data, block: sources.Inputs) -> str:
    """Return as what a user's own inputs were compared, as an end of a sentence."""
    if not modules.is_function(data.source):
        return ""
    of_each = ", ".join(
        f"{name} as {blind.kind(column)}"
        for name, column in zip(data.inputs, block, strict=True)
    )
    return f"; looked at {of_each}"


def shown(
    data: Data,
    settings: Features,
    records: Records,
    blocks: list[NDArray[np.int64]],
) -> Iterator[sources.Inputs]:
    """Yield the inputs of each block of rows as the model sees them, if known.

    Steps that treat all records alike, such as normalisation, are left out.

    Raises:
        AuditError: if a record is not the one it was, or is not finite.
    """
    ids = [records.id[rows] for rows in blocks]
    if data.source == "arrays":
        inputs = sources.inputs(data, int(records.n_source))
        yield from () if inputs is None else ((inputs[block],) for block in ids)
        return
    augmentation = preprocessing.member_augmentation(settings, records.member)
    content = [records.content[rows] for rows in blocks]
    stored = sources.blocks(data, ids, content)
    for rows, block in zip(blocks, stored, strict=True):
        augmentations = [] if augmentation is None else [augmentation[rows]]
        seen = preprocessing.shown(block, data, augmentations)
        yield preprocessing.finite(seen, data)


def sentence(outcome: Blind) -> str:
    """Return the outcome in a line."""
    if outcome.passed is None:
        return f"nothing compared: {outcome.reason or 'no label is common enough'}"
    seen = "no AUC" if outcome.auc is None else f"AUC {outcome.auc:.4f}"
    names = ", ".join(differing.statistic for differing in outcome.differing)
    differ = "members look alike" if outcome.passed else f"members differ in {names}"
    return f"{seen} without the model: {differ}"


if __name__ == "__main__":
    cli.stage(compute, __doc__)
