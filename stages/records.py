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
    line = f"{sides}, {records.duplicates_dropped} duplicates dropped"
    if records.copies_dropped:
        line += f", {records.copies_dropped} copies within a side dropped"
    return line


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
    pool = selection.ordered(pool, settings.choose, settings.seed, "data.members")
    members = selection.distinct(pool, content[pool], content[:0], n_members)
    if side is None:
        others = np.setdiff1d(others, np.concatenate((members.ids, members.copies)))
    others = selection.ordered(
        others, settings.choose, settings.seed, "data.nonmembers"
    )
    # Where the target's training records are known, all of them count, audited or not.
    known = content[members.ids if side is None else pool]
    nonmembers = selection.distinct(others, content[others], known, n_others)
    if settings.members or settings.nonmembers:
        n_differ = len(nonmembers.ids) + len(nonmembers.copies)
        if n_differ < n_others:
            problem = f"is {n_others}, but {n_differ} differ from every member"
            raise AuditError("data.nonmembers", problem, "lower it")
    else:
        n_each = min(len(members.ids), len(nonmembers.ids))
        if n_each < len(members.ids):
            members = selection.distinct(pool, content[pool], content[:0], n_each)
        if n_each < len(nonmembers.ids):
            nonmembers = selection.distinct(others, content[others], known, n_each)
    population, n_copies = chosen_population(
        settings, catalogue, others, known, nonmembers.ids
    )
    chosen = np.sort(np.concatenate((members.ids, nonmembers.ids, population)))
    if len(np.unique(catalogue.label[chosen])) < 2:
        problem = "has records of one class only"
        raise AuditError(f"data ({settings.source})", problem, "add other classes")
    return Records(
        id=chosen,
        label=label[chosen],
        member=np.isin(chosen, members.ids),
        population=np.isin(chosen, population),
        canary=canary[chosen],
        content=content[chosen],
        duplicates_dropped=np.array(len(nonmembers.duplicates)),
        copies_dropped=np.array(
            len(members.copies) + len(nonmembers.copies) + n_copies
        ),
        copies=selection.copies(content, chosen),
        n_classes=np.array(catalogue.n_classes),
        n_source=np.array(len(label)),
    )


def chosen_population(
    settings: Data,
    catalogue: sources.Catalogue,
    others: NDArray[np.int64],
    known: NDArray[np.bytes_],
    nonmembers: NDArray[np.int64],
) -> tuple[NDArray[np.int64], int]:
    """Return the ids of records that equal no member and no audited non-member.

    Returns:
        (n_population,) ids, and the number of copies passed over.

    Raises:
        AuditError: if there are not enough.
    """
    content, count = catalogue.content, settings.population
    taken = np.concatenate((known, content[nonmembers]))
    if catalogue.population is not None:
        whole = np.flatnonzero(catalogue.population)
        population = selection.distinct(whole, content[whole], taken, None)
        return population.ids, len(whole) - len(population.ids)
    left = others[~np.isin(others, nonmembers)]
    population = selection.distinct(left, content[left], taken, count)
    n_differ = len(population.ids) + len(population.copies)
    if n_differ < count:
        problem = f"is {count}, but {n_differ} records are left for it"
        raise AuditError("data.population", problem, "lower it, or give more data")
    return population.ids, len(population.copies)


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
