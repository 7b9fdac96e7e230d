"""Choose the records: members, like records that are not, and a population."""

from typing import Any

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
from pipeline.statistics import units
from pipeline.statistics.units import Units


def compute(job: Job) -> str:
    """Write the ids, labels and sides of the records."""
    settings = job.section(Data)
    catalogue = sources.catalogue(settings)
    unit = sources.units(settings, len(catalogue.label))

    records = choose(settings, catalogue, unit)

    for name in catalogue.narrowed:
        cli.note(f"{name} holds float64, which the networks are given as float32")
    arrays.write(job.artifact("records"), records, key=job.key, origin=job.origin)
    sides = f"{records.member.sum()} members, {records.nonmember.sum()} non-members"
    if records.population.any():
        sides += f", {records.population.sum()} of a population"
    line = f"{sides}, {records.duplicates_dropped} duplicates dropped"
    if records.copies_dropped:
        line += f", {records.copies_dropped} copies within a side dropped"
    if unit is not None:
        line += f", {about_units(records, unit)}"
    for remark in remarks(settings, catalogue, records):
        line += f", {remark}"
    return line


def choose(
    settings: Data, catalogue: sources.Catalogue, unit: NDArray[Any] | None = None
) -> Records:
    """Choose records by the config; see there for the rules.

    Where the audit draws the sides, no unit stands on both. A population has no unit of
    an audited record, nor of any that the target was trained on.

    Args:
        settings: how many, and which.
        catalogue: of the source.
        unit: (n_source,) ids of units, or None.

    Raises:
        AuditError: if there are not enough, or of one class only.
    """
    label, canary = selection.canary_labels(
        catalogue.label, catalogue.n_classes, settings.canaries, settings.seed
    )
    ids = np.arange(len(label))
    codes = None if unit is None else np.unique(unit, return_inverse=True)[1].ravel()
    content, side = catalogue.content, catalogue.member
    pool = ids if side is None else ids[side]
    others = ids if side is None else ids[~side]
    if catalogue.population is not None:
        others = others[~catalogue.population[others]]
    check_sides(settings, catalogue, len(pool), len(others))
    n_members, n_others = counts(settings, len(pool), len(others), side is None)
    pool = selection.ordered(
        pool, settings.choose, settings.seed, "data.members", units.of(codes, pool)
    )
    members = selection.distinct(pool, content[pool], content[:0], n_members)
    if side is None:
        others = np.setdiff1d(others, np.concatenate((members.ids, members.copies)))
        others = apart(others, members.ids, codes)
    of_others = units.of(codes, others)
    others = selection.ordered(
        others, settings.choose, settings.seed, "data.nonmembers", of_others
    )
    # Where the target's training records are known, all of them count, audited or not.
    known = content[members.ids if side is None else pool]
    nonmembers = selection.distinct(others, content[others], known, n_others)
    n_differ = len(nonmembers.ids) + len(nonmembers.copies)
    if settings.nonmembers and n_differ < n_others:
        apart_from = "" if unit is None else " and are of other units"
        problem = f"is {n_others}, but {n_differ} differ from every member{apart_from}"
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
    trained_on = members.ids if side is None else ids[side]
    left = others[~np.isin(others, nonmembers.ids)]
    if catalogue.population is not None:
        left = np.flatnonzero(catalogue.population)
    left = apart(left, np.concatenate((trained_on, nonmembers.ids)), codes)
    population, n_copies = chosen_population(
        settings, catalogue, left, known, nonmembers.ids
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
        **of_units(unit, chosen, trained_on),
    )


def apart(
    ids: NDArray[np.int64], taken: NDArray[np.int64], unit: Units
) -> NDArray[np.int64]:
    """Return the ids, in order, that are of other units than those taken.

    Args:
        ids: (n_ids,) of records.
        taken: (n_taken,) ids of records.
        unit: (n_source,) or None, which leaves the ids as they are.
    """
    return ids if unit is None else ids[~np.isin(unit[ids], unit[taken])]


def of_units(
    unit: NDArray[Any] | None,
    chosen: NDArray[np.int64],
    trained_on: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Return what the artifact keeps of units, by field; nothing without any.

    Args:
        unit: (n_source,) ids of units, or None.
        chosen: (n_records,) records of the artifact.
        trained_on: (n_trained,) records of the source that the target knows.
    """
    if unit is None:
        return {}
    unit_id, code = np.unique(unit[chosen], return_inverse=True)
    return {
        "unit": code.ravel(),
        "unit_id": np.char.encode(unit_id.astype(str), "utf-8"),
        "unit_member": np.isin(unit_id, unit[trained_on]),
    }


def about_units(records: Records, unit: NDArray[Any]) -> str:
    """Return what to know of the units, as a phrase."""
    audited = ~records.population
    n_units = len(np.unique(records.unit[audited]))
    phrase = f"of {n_units:,} units"
    if n_both := len(records.on_both_sides):
        phrase += f" of which {n_both:,} have records on both sides"
    copy, original = records.copies.T
    if n_others := int((unit[copy] != unit[original]).sum()):
        phrase += f", {n_others:,} records equal one of another unit and were left out"
    return phrase


def chosen_population(
    settings: Data,
    catalogue: sources.Catalogue,
    left: NDArray[np.int64],
    known: NDArray[np.bytes_],
    nonmembers: NDArray[np.int64],
) -> tuple[NDArray[np.int64], int]:
    """Return the ids of records that equal no member and no audited non-member.

    Args:
        settings: how many.
        catalogue: of the source.
        left: (n_left,) ids that it may have, in order.
        known: (n_known,) contents of members.
        nonmembers: (n_nonmembers,) ids of those that are audited.

    Returns:
        (n_population,) ids, and the number of copies passed over.

    Raises:
        AuditError: if there are not enough.
    """
    content, count = catalogue.content, settings.population
    taken = np.concatenate((known, content[nonmembers]))
    if catalogue.population is not None:
        population = selection.distinct(left, content[left], taken, None)
        return population.ids, len(left) - len(population.ids)
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
