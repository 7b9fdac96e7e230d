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
from pipeline.signals.margins import UNLABELLED


def compute(job: Job) -> str:
    """Write the ids, labels and sides of the records."""
    settings = job.section(Data)
    catalogue = sources.catalogue(settings)

    records = choose(settings, catalogue)

    for name in catalogue.narrowed:
        cli.note(f"{name} holds float64, which the networks are given as float32")
    arrays.write(job.artifact("records"), records, key=job.key, origin=job.origin)
    sides = f"{records.member.sum()} members, {records.nonmember.sum()} non-members"
    if records.population.any():
        sides += f", {records.population.sum()} of a population"
    line = f"{sides}, {records.duplicates_dropped} duplicates dropped"
    if records.copies_dropped:
        line += f", {records.copies_dropped} copies within a side dropped"
    for remark in remarks(settings, catalogue, records):
        line += f", {remark}"
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
    check_sides(settings, catalogue, len(pool), len(others))
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
    n_differ = len(nonmembers.ids) + len(nonmembers.copies)
    if settings.nonmembers and n_differ < n_others:
        problem = f"is {n_others}, but {n_differ} differ from every member"
        raise AuditError("data.nonmembers", problem, "lower it")
    if not len(nonmembers.ids):
        problem = "has no non-member that differs from every member"
        fix = "add records that the target was not trained on"
        raise AuditError(f"data ({settings.source})", problem, fix)
    if not (settings.members or settings.nonmembers):
        n_each = min(len(members.ids), len(nonmembers.ids))
        if n_each < len(members.ids):
            members = selection.distinct(pool, content[pool], content[:0], n_each)
        if n_each < len(nonmembers.ids):
            nonmembers = selection.distinct(others, content[others], known, n_each)
    population, n_copies = chosen_population(
        settings, catalogue, others, known, nonmembers.ids
    )
    chosen = np.sort(np.concatenate((members.ids, nonmembers.ids, population)))
    classes = np.unique(catalogue.label[chosen])
    if len(classes) < 2 and UNLABELLED not in classes:
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


def check_sides(
    settings: Data, catalogue: sources.Catalogue, n_members: int, n_nonmembers: int
) -> None:
    """Refuse a source that has one side only, the population left aside."""
    where, n = f"data ({settings.source})", len(catalogue.label)
    if not n_members:
        problem = f"has no members: none of its {n:,} records is marked as one"
        raise AuditError(where, problem, "add records that the target was trained on")
    if not n_nonmembers:
        population = catalogue.population
        beside = population is not None and population.any()
        others = "members or of the population" if beside else "members"
        problem = f"has no non-members: all of its {n:,} records are {others}"
        fix = "add records that the target was not trained on"
        raise AuditError(where, problem, fix)


def counts(
    settings: Data, n_pool: int, n_others: int, one_pool: bool
) -> tuple[int, int]:
    """Return how many members and non-members to audit.

    A number of one side holds for the other too, as far as that has so many records;
    without any number, the sides are made equal.

    Raises:
        AuditError: if the source holds fewer of what a number asks for.
    """
    left = n_others - settings.population
    if left < 1:
        problem = f"is {settings.population}, but there are {n_others:,} non-members"
        raise AuditError("data.population", problem, "lower it, or give more data")
    most = left // 2 if one_pool else min(n_pool, left)

    def as_many(wanted: int, there: int, population: int) -> int:
        return wanted if wanted <= there else max(there - population, 0)

    n_members, n_nonmembers = settings.members, settings.nonmembers
    if n_members is None:
        there = n_pool - (n_nonmembers or 0 if one_pool else 0)
        population = settings.population if one_pool else 0
        n_members = as_many(n_nonmembers or most, there, population)
    there = n_others - (n_members if one_pool else 0)
    if n_nonmembers is None:
        n_nonmembers = as_many(settings.members or most, there, settings.population)
    available = {"members": (n_members, n_pool), "nonmembers": (n_nonmembers, there)}
    for name, (wanted, has) in available.items():
        if getattr(settings, name) is not None and wanted > has:
            problem = f"is {wanted}, but {settings.source} has {has} left for it"
            raise AuditError(f"data.{name}", problem, "lower it, or give more data")
    if not n_members or not n_nonmembers:
        side = "non-members" if n_members else "members"
        problem = f"leaves no {side} to audit of {settings.source}"
        names = [name for name in (*available, "population") if getattr(settings, name)]
        where = f"data.{names[0]}" if names else f"data ({settings.source})"
        raise AuditError(where, problem, "lower it, or give more data")
    return n_members, n_nonmembers


def remarks(
    settings: Data, catalogue: sources.Catalogue, records: Records
) -> list[str]:
    """Return what the user might not expect of the number of records, as phrases."""
    n_members, n_others = int(records.member.sum()), int(records.nonmember.sum())
    if (settings.members is None) != (settings.nonmembers is None):
        if n_members == n_others:
            return []
        fewer, more = "members", "non-members"
        if n_others < n_members:
            fewer, more = more, fewer
        return [f"fewer {fewer} than {more} as there are no more"]
    if settings.members is not None or catalogue.member is None:
        return []
    content, ids = catalogue.content, np.arange(len(catalogue.label))
    in_population = np.isin(ids, records.id[records.population])
    if catalogue.population is not None:
        in_population |= catalogue.population
    known = content[catalogue.member]
    duplicate = (content != b"") & np.isin(content, known)
    others = content[~catalogue.member & ~in_population & ~duplicate]
    left_out = {
        "members": selection.count_distinct(known) - n_members,
        "non-members": selection.count_distinct(others) - n_others,
    }
    return [
        f"{count:,} {side} left out to make the sides equal"
        for side, count in left_out.items()
        if count > 0
    ]


if __name__ == "__main__":
    cli.stage(compute, __doc__)
