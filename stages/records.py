"""Choose the records: members, like records that are not, and a population."""

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.cache import arrays
from pipeline.cache.kinds import Records
from pipeline.cache.stamps import Job
from pipeline.config import Data
from pipeline.data import selection, sources
from pipeline.errors import AuditError


def compute(job: Job) -> str:
    """Write the ids, labels and sides of the records."""
    settings = job.section(Data)
    catalogue = sources.catalogue(settings)

    records = choose(settings, catalogue)

    arrays.write(job.artifact("records"), records, key=job.key, origin=job.origin)
    sides = f"{records.member.sum()} members, {records.nonmember.sum()} non-members"
    if records.population.any():
        sides += f", {records.population.sum()} of a population"
    return f"{sides}, {records.duplicates_dropped} duplicates dropped"


def choose(settings: Data, catalogue: sources.Catalogue) -> Records:
    """Choose records by the config; see there for the rules.

    Raises:
        AuditError: if there are not enough, or of one class only.
    """
    label, canary = selection.canary_labels(
        catalogue.label, catalogue.n_classes, settings.canaries, settings.seed
    )
    ids = np.arange(len(label))
    content, side = catalogue.content, catalogue.member
    pool = ids if side is None else ids[side]
    others = ids if side is None else ids[~side]
    if catalogue.population is not None:
        others = others[~catalogue.population[others]]
    n_members, n_others = counts(settings, len(pool), len(others), side is None)
    members = selection.ordered(pool, settings.choose, settings.seed, "data.members")[
        :n_members
    ]
    if side is None:
        others = np.setdiff1d(others, members)
    others = selection.ordered(
        others, settings.choose, settings.seed, "data.nonmembers"
    )
    # Where the target's training records are known, all of them count, audited or not.
    trained_on = members if side is None else pool
    known = content[trained_on] if content[0] else content[:0]
    nonmembers, n_dropped = selection.first_distinct(
        others, content[others], known, n_others
    )
    if len(nonmembers) < n_others:
        if settings.members or settings.nonmembers:
            problem = f"is {n_others}, but {len(nonmembers)} differ from every member"
            raise AuditError("data.nonmembers", problem, "lower it")
        members = members[: len(nonmembers)]
    population = (
        drawn_population(settings, content, others, known, nonmembers)
        if catalogue.population is None
        else np.flatnonzero(catalogue.population)
    )
    chosen = np.sort(np.concatenate((members, nonmembers, population)))
    if len(np.unique(catalogue.label[chosen])) < 2:
        problem = "has records of one class only"
        raise AuditError(f"data ({settings.source})", problem, "add other classes")
    return Records(
        id=chosen,
        label=label[chosen],
        member=np.isin(chosen, members),
        population=np.isin(chosen, population),
        canary=canary[chosen],
        content=content[chosen],
        duplicates_dropped=np.array(n_dropped),
        n_classes=np.array(catalogue.n_classes),
        n_source=np.array(len(label)),
    )


def drawn_population(
    settings: Data,
    content: NDArray[np.bytes_],
    others: NDArray[np.int64],
    known: NDArray[np.bytes_],
    nonmembers: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the ids of records that equal no member and no audited non-member.

    Raises:
        AuditError: if there are not enough.
    """
    left = others[~np.isin(others, nonmembers)]
    audited = content[nonmembers] if content[0] else content[:0]
    taken = np.concatenate((known, audited))
    count = settings.population
    population, _ = selection.first_distinct(left, content[left], taken, count)
    if len(population) < count:
        problem = f"is {count}, but {len(population)} records are left for it"
        raise AuditError("data.population", problem, "lower it, or give more data")
    return population


def counts(
    settings: Data, n_pool: int, n_others: int, one_pool: bool
) -> tuple[int, int]:
    """Return how many members and non-members to audit.

    One number given holds for both sides; none given, the sides are made equal.

    Raises:
        AuditError: if the source holds fewer.
    """
    left = n_others - settings.population
    most = left // 2 if one_pool else min(n_pool, left)
    n_members = settings.members or settings.nonmembers or most
    n_nonmembers = settings.nonmembers or settings.members or most
    available = {
        "members": (n_members, n_pool),
        "nonmembers": (n_nonmembers, n_others - (n_members if one_pool else 0)),
    }
    for name, (wanted, there) in available.items():
        if wanted > there or not wanted:
            problem = f"is {wanted}, but {settings.source} has {there} left for it"
            raise AuditError(f"data.{name}", problem, "lower it, or give more data")
    return n_members, n_nonmembers


if __name__ == "__main__":
    cli.stage(compute, __doc__)
