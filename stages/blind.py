"""Tell members from non-members by their inputs alone, the model unseen."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from pipeline import cli
from pipeline.cache import arrays, documents, keys, shards
from pipeline.cache.kinds import Records
from pipeline.cache.stamps import Job
from pipeline.config import Blind, Data, Features
from pipeline.data import preprocessing, sources
from pipeline.findings import blind
from pipeline.record import Record


class Loose(Record):
    """To be replaced by records with fields."""

    model_config = ConfigDict(extra="allow")


# Records held in memory at once.
BLOCK_ROWS = 256


def compute(job: Job) -> str:
    """Write whether members and non-members differ as data, and in what."""
    settings, data = job.section(Blind), job.section(Data)
    records = arrays.upstream(job, "records", Records)
    audited = np.flatnonzero(~records.population)
    blocks = [audited[rows] for rows in shards.row_blocks(len(audited), BLOCK_ROWS)]
    parts = [
        blind.description(block)
        for block in shown(data, job.section(Features), records, blocks)
    ]

    found = blind.baseline(
        blind.joined(parts) if parts else None,
        records.label[audited],
        records.member[audited],
        settings.seed,
    )

    documents.write(
        job.artifact("blind"),
        Loose.model_validate(found.summary()),
        key=job.key,
        origin=keys.origin("blind"),
    )
    return sentence(found)


def shown(
    data: Data,
    settings: Features,
    records: Records,
    blocks: list[NDArray[np.int64]],
) -> Iterator[NDArray[np.generic]]:
    """Yield the inputs of each block of rows as the model sees them, if known.

    What treats all records alike, as normalisation does, is left out.

    Raises:
        AuditError: if a record is not the one it was, or is not finite.
    """
    ids = [records.id[rows] for rows in blocks]
    if data.source == "arrays":
        given = sources.inputs(data, int(records.n_source))
        yield from () if given is None else (given[block] for block in ids)
        return
    how = preprocessing.member_augmentation(settings, records.member)
    content = [records.content[rows] for rows in blocks]
    images = sources.blocks(data, ids, content)
    for rows, found in zip(blocks, images, strict=True):
        draws = [] if how is None else [how[rows]]
        seen = preprocessing.shown(found, data, draws)
        yield preprocessing.finite(seen, data.source)


def sentence(found: blind.Blind) -> str:
    """Return the outcome in a line."""
    names = ", ".join(one.statistic for one in found.differing)
    if found.tripped is None:
        return f"nothing compared: {found.reason or 'no label is common enough'}"
    seen = "no AUC" if found.auc is None else f"AUC {found.auc:.4f}"
    differ = f"members differ in {names}" if found.tripped else "members look alike"
    return f"{seen} without the model: {differ}"


if __name__ == "__main__":
    cli.stage(compute, __doc__)
