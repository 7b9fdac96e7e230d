"""Divide the audited records into attack-train and attack-eval."""

import numpy as np

from pipeline import cli
from pipeline.cache import arrays, kinds
from pipeline.cache.stamps import Job
from pipeline.config import Data, Split
from pipeline.data import selection, sources
from pipeline.errors import AuditError


def compute(job: Job) -> str:
    """Write which records are on which side of the attack, at every draw."""
    settings, data = job.section(Split), job.section(Data)
    records = arrays.upstream(job, "records", kinds.Records)
    train = sources.signals(data).train if data.source == "arrays" else None
    if train is not None and settings.repeats > 1:
        problem = f"is {settings.repeats}, but the array 'train' gives one division"
        raise AuditError("split.repeats", problem, "leave one of the two out")

    audited = ~records.population
    ids, member = records.id[audited], records.member[audited]
    draws = [
        selection.eval_side(
            member,
            records.label[audited],
            settings.eval_fraction,
            settings.seed,
            draw,
        )
        if train is None
        else ~train[ids]
        for draw in range(settings.repeats)
    ]
    split = kinds.Split(ids, np.stack(draws))
    held_out = split.evaluation[0]
    for name, side in (("attack-train", ~held_out), ("attack-eval", held_out)):
        if len(np.unique(member[side])) < 2:
            problem = f"leaves {name} without members or without non-members"
            raise AuditError("split", problem, "audit more records (data.members)")

    arrays.write(job.artifact("split"), split, key=job.key, origin=job.origin)
    drawn = f", drawn {settings.repeats} times" if settings.repeats > 1 else ""
    n_eval = int(held_out.sum())
    return f"{len(ids) - n_eval} attack-train, {n_eval} attack-eval{drawn}"


if __name__ == "__main__":
    cli.stage(compute, __doc__)
