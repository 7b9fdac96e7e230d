"""Divide the audited records into attack-train and attack-eval."""

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.cache import arrays, kinds
from pipeline.cache.stamps import Job
from pipeline.config import Data, Split
from pipeline.data import selection, sources
from pipeline.errors import AuditError
from pipeline.statistics import units
from pipeline.statistics.units import Units


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
            units.of(records.shared_unit, audited),
        )
        if train is None
        else ~train[ids]
        for draw in range(settings.repeats)
    ]
    if train is not None:
        check_units(draws[0], units.of(records.shared_unit, audited))
    split = kinds.Split(ids, np.stack(draws))
    held_out = split.evaluation[0]
    own = units.one_of_each(units.of(records.shared_unit, audited), len(ids))
    counted = np.isin(np.arange(len(ids)), own)
    for name, side in (("attack-train", ~held_out), ("attack-eval", held_out)):
        if len(np.unique(member[side & counted])) < 2:
            problem = f"leaves {name} without members or without non-members"
            raise AuditError("split", problem, "audit more records (data.members)")

    arrays.write(job.artifact("split"), split, key=job.key, origin=job.origin)
    drawn = f", drawn {settings.repeats} times" if settings.repeats > 1 else ""
    n_eval = int(held_out.sum())
    return f"{len(ids) - n_eval} attack-train, {n_eval} attack-eval{drawn}"


def check_units(evaluation: NDArray[np.bool_], unit: Units) -> None:
    """Refuse a division of one's own that has records of a unit on both sides.

    Args:
        evaluation: (n_audited,) whether a record is held out.
        unit: (n_audited,) or None.
    """
    if unit is None:
        return
    both = np.intersect1d(unit[evaluation], unit[~evaluation])
    if len(both):
        problem = f"divides the records of {len(both)} units"
        fix = "put all records of a unit on one side, or leave train out"
        raise AuditError("array train", problem, fix)


if __name__ == "__main__":
    cli.stage(compute, __doc__)
