"""Divide the audited records into attack-train and attack-eval."""

import numpy as np

from pipeline import cli, datasets, plan, selection, store
from pipeline.config import Data, Split
from pipeline.errors import AuditError


def compute(job: plan.Job) -> str:
    """Write the record ids of both sides of the attack."""
    settings, data = job.section(Split), job.section(Data)
    records = store.upstream(job, "records", store.Records)
    given = datasets.signals(data).train if data.source == "arrays" else None

    audited = ~records.population
    ids, member = records.id[audited], records.member[audited]
    held_out = (
        selection.eval_side(
            member, records.label[audited], settings.eval_fraction, settings.seed
        )
        if given is None
        else ~given[ids]
    )
    split = store.Split(ids[~held_out], ids[held_out])
    for name, side in (("attack-train", ~held_out), ("attack-eval", held_out)):
        if len(np.unique(member[side])) < 2:
            problem = f"leaves {name} without members or without non-members"
            raise AuditError("split", problem, "audit more records (data.members)")

    store.write_arrays(job.artifact("split"), split, key=job.key)
    return (
        f"{len(split.attack_train)} attack-train, {len(split.attack_eval)} attack-eval"
    )


if __name__ == "__main__":
    cli.stage(compute, __doc__)
