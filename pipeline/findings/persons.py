"""Persons: how exposed each unit is, by the scores and p-values of its records."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from pipeline.findings import exposure
from pipeline.findings.schema import Sizes
from pipeline.findings.schema import Units as Counts


def table(
    unit: NDArray[np.integer[Any]],
    score: NDArray[np.floating[Any]],
    p_value: NDArray[np.float64],
    member: NDArray[np.bool_],
    evaluation: NDArray[np.bool_],
    known: NDArray[np.bool_],
    rate: float,
) -> dict[str, NDArray[Any]]:
    """Return the table of the units, one row each, in order of their numbers.

    A unit's score is summed up as the maximum, the mean and the log-sum-exp over its
    records; its rank is that of the maximum.

    Args:
        unit: (n_records,) a number for each unit, from 0.
        score: (n_records,) of the chosen attack, higher for a likelier member.
        p_value: (n_records,) as `exposure.reference_p_values`; NaN if unknown.
        member: (n_records,) whether a record is a member.
        evaluation: (n_records,) whether it is on the attack-eval side.
        known: (n_units,) whether the target was trained on some record of a unit,
            audited or not.
        rate: the false-discovery rate of the flags, in (0, 1).

    Returns:
        (n_units,) each column, by name; of the audited units alone.
    """
    own, place, size = np.unique(unit, return_inverse=True, return_counts=True)
    place, n_units = place.ravel(), len(own)
    inside, outside = (
        np.bincount(place, side, minlength=n_units) > 0 for side in (member, ~member)
    )
    inside |= known[own]
    stranger = ~inside[place]
    highest = np.full(n_units, -np.inf)
    np.maximum.at(highest, place, score)
    spread = np.bincount(place, np.exp(score - highest[place]), minlength=n_units)
    return {
        "unit": own,
        "records": size,
        "side": np.select(
            [inside & outside, inside], ["both", "member"], default="nonmember"
        ),
        "maximum": highest,
        "mean": np.bincount(place, score, minlength=n_units) / size,
        "log_sum_exp": highest + np.log(spread),
        "rank": exposure.rank(highest),
        "p_value": together(p_value, place),
        "flagged": flags(score, place, stranger, evaluation, rate),
    }


def together(
    p_value: NDArray[np.float64], place: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the p-value of each unit that the target knows none of its records.

    It is the smallest of its records', times their number. So it is valid however the
    records depend on one another, and the more conservative the more they are alike.

    Args:
        p_value: (n_records,) of each record; NaN if unknown.
        place: (n_records,) its unit, from 0.

    Returns:
        (n_units,) p-values; NaN where no record has one.

    Source: Bonferroni; Dunn 1961, Journal of the American Statistical Association 56.
    """
    is_known = ~np.isnan(p_value)
    count = np.bincount(place, is_known)
    smallest = np.full(len(count), np.inf)
    np.minimum.at(smallest, place[is_known], p_value[is_known])
    corrected = np.minimum(smallest * np.maximum(count, 1), 1.0)
    return np.where(count > 0, corrected, np.nan)


def flags(
    score: NDArray[np.floating[Any]],
    place: NDArray[np.int64],
    stranger: NDArray[np.bool_],
    evaluation: NDArray[np.bool_],
    rate: float,
) -> NDArray[np.bool_]:
    """Return which units are claimed to be known to the target.

    A record is compared with the records of units that the target does not know, on the
    other side of the division; none of them is of its unit. The p-values of a unit's
    records become one by `together`, and those of all units are judged by the procedure
    of Benjamini and Hochberg.

    Args:
        score: (n_records,) higher for a likelier member.
        place: (n_records,) the unit of each, from 0.
        stranger: (n_records,) whether the target knows no record of its unit.
        evaluation: (n_records,) whether it is on the attack-eval side.
        rate: the false-discovery rate over units, in (0, 1).

    Source: Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B
    57(1); Bates et al. 2023, arXiv:2104.08279, on conformal p-values.
    """
    p = np.empty(len(score))
    for side in (evaluation, ~evaluation):
        p[side] = exposure.conformal_p_values(score[side], score[~side & stranger])
    return np.asarray(false_discovery_control(together(p, place)) <= rate)


def counts(columns: dict[str, NDArray[Any]]) -> Counts:
    """Return how many units there are, of how many records, and how many are flagged.

    Args:
        columns: as `table` returns them.
    """
    side, size, flagged = (columns[name] for name in ("side", "records", "flagged"))
    return Counts(
        units=len(side),
        members=int((side == "member").sum()),
        nonmembers=int((side == "nonmember").sum()),
        both=int((side == "both").sum()),
        records_per_unit=Sizes(
            lowest=float(size.min()),
            highest=float(size.max()),
            median=float(np.median(size)),
        ),
        flagged=int(flagged.sum()),
        flagged_nonmembers=int((flagged & (side == "nonmember")).sum()),
    )
