"""Divide the audited records into attack-train and attack-eval."""

import numpy as np

from pipeline import cli
from pipeline.cache import plan, store
from pipeline.config import Data, Split
from pipeline.data import selection, sources
from pipeline.errors import AuditError


def compute(job: plan.Job) -> str:
    """Write which records are on which side of the attack, at every draw."""
    settings, data = job.section(Split), job.section(Data)
    records = store.upstream(job, "records", store.Records)
    given = sources.signals(data).train if data.source == "arrays" else None
    if given is not None and settings.repeats > 1:
        problem = f"is {settings.repeats}, but the array 'train' gives one division"
        raise AuditError("split.repeats", problem, "leave one of the two out")

    audited = ~records.population
    ids, member = records.id[audited], records.member[audited]
    draws = [
        selection.eval_side(
            member,
            records.label[audited],
            settings.eval_fraction,
            selection.draw_seed(settings.seed, draw),
        )
        if given is None
        else ~given[ids]
        for draw in range(settings.repeats)
    ]
    split = store.Split(ids, np.stack(draws))
    held_out = split.evaluation[0]
    for name, side in (("attack-train", ~held_out), ("attack-eval", held_out)):
        if len(np.unique(member[side])) < 2:
            problem = f"leaves {name} without members or without non-members"
            raise AuditError("split", problem, "audit more records (data.members)")

    store.write_arrays(job.artifact("split"), split, key=job.key)
    drawn = f", drawn {settings.repeats} times" if settings.repeats > 1 else ""
    n_eval = int(held_out.sum())
    return f"{len(ids) - n_eval} attack-train, {n_eval} attack-eval{drawn}"


if __name__ == "__main__":
    cli.stage(compute, __doc__)
