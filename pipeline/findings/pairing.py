"""Pairing: whether references fit the records that they are said to be trained on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

# At most this share of sound sets of references is refused by either test.
LEVEL = 1e-4
# Of those references, the share that a chance surplus refuses at most.
SURPLUS_LEVEL = 1e-3
# Records on either side of a comparison, fewer than which show nothing.
FEWEST = 30
# Other references that must agree before one is measured by them.
SISTERS = 3
# Standard errors within which a difference of zero cannot be told from none.
NEAR = 2.0
# Part of what sisters know their own records better, by which a reference of other
# records of the audit knows the rest better at least.
LEAST_SURPLUS = 0.35
# Median absolute deviations of a normal law in a standard deviation.
MAD_SCALE = 1.4826
BLOCK_RECORDS = 8192  # held in memory as floats at once


class Mispaired(NamedTuple):
    """A reference that does not fit the records it is said to be trained on."""

    model: int
    fits: int | None  # the reference whose records it fits better; None: no other


class Pairing(NamedTuple):
    """What the references' accuracies say of the records they were trained on."""

    mispaired: Mispaired | None  # the clearest
    # Those that seem to have learned none of the records, their own or others, where
    # the other references clearly have. They may be weak, and rightly paired.
    unlearned: tuple[int, ...]


class _Comparison(NamedTuple):
    """Differences of means, with their standard errors; NaN of too few records."""

    difference: NDArray[np.float64]
    error: NDArray[np.float64]


def pairing(correct: NDArray[np.bool_], member: NDArray[np.bool_]) -> Pairing:
    """Find a reference that certainly has not the memberships that it is said to have.

    A model is right more often on the records that it was trained on. How often it is
    right on a record is measured relative to the other references that were not
    trained on it, so that records that are easy for all count for nothing. Two findings
    are certain enough: a reference does better on the records of another one than on
    its own, on those that only one of the two has; or it does no better on its own than
    on the rest, where the other references clearly do, and it knows the rest better
    than they do. One that does not know the rest either may have learned little of its
    own. Models that learn nothing by heart show neither.

    Args:
        correct: (n_models, n_records) whether a reference is right on a record.
        member: (n_models, n_records) whether it is said to be trained on it.
    """
    n_models = len(correct)
    if n_models < 2:
        return Pairing(None, ())
    own, rest, exchanged = _compared(correct, member)
    with np.errstate(invalid="ignore"):
        clearness = np.nan_to_num(exchanged.difference / exchanged.error, nan=-np.inf)
    np.fill_diagonal(clearness, -np.inf)
    model, fits = np.unravel_index(clearness.argmax(), clearness.shape)
    if clearness[model, fits] > -special.ndtri(LEVEL / (n_models * (n_models - 1))):
        return Pairing(Mispaired(int(model), int(fits)), ())
    fitting = np.array([_fits(*each) for each in zip(correct, member, strict=True)])
    shortfall = _shortfalls(own, fitting)
    surplus = _surpluses(rest, own, list(shortfall))
    unlearned = tuple(model for model in shortfall if model not in surplus)
    if not surplus:
        return Pairing(None, unlearned)
    clearest = max(surplus, key=lambda model: shortfall[model])
    return Pairing(Mispaired(clearest, None), unlearned)


def _fits(right: NDArray[np.bool_], own: NDArray[np.bool_]) -> bool:
    """Return whether a model is right more often on its records than on the rest."""
    n = own.sum(), (~own).sum()
    if min(n) < FEWEST:
        return True
    rates = right[own].mean(), right[~own].mean()
    variances = [rate * (1 - rate) / many for rate, many in zip(rates, n, strict=True)]
    return bool(rates[0] - rates[1] >= NEAR * np.sqrt(sum(variances)))


def _shortfalls(own: _Comparison, fitting: NDArray[np.bool_]) -> dict[int, float]:
    """Return the references that lack the difference which their sisters clearly show.

    Args:
        own: of each reference on its records and on the rest.
        fitting: (n_models,) those that are right more often on their records. That is
            not asked relative to others: a twin is right on just the rest.

    Returns:
        By reference, how far it falls short, in standard deviations.
    """
    there = np.flatnonzero(np.isfinite(own.difference))
    far = -special.ndtri(LEVEL / max(len(there), 1))
    shortfall: dict[int, float] = {}
    for model in there:
        sisters = np.setdiff1d(there, [model])
        if len(sisters) < SISTERS:
            continue
        are_clear = np.median(own.difference[sisters]) > far * np.median(
            own.error[sisters]
        )
        distance = -_away(own, model, sisters)
        if are_clear and not fitting[model] and distance > far:
            shortfall[int(model)] = distance
    return shortfall


def _surpluses(rest: _Comparison, own: _Comparison, models: list[int]) -> set[int]:
    """Return which of the models know the rest of the records better than sisters do.

    That is what a reference of the same recipe shows if it was trained on other records
    of the audit: on a half of the rest, by about half of what its sisters know their
    own records better. A weak one does not.
    """
    there = np.flatnonzero(np.isfinite(rest.difference))
    far = -special.ndtri(SURPLUS_LEVEL)
    surplus = set()
    for model in models:
        sisters = np.setdiff1d(there, [model])
        usual, learned = (np.median(each.difference[sisters]) for each in (rest, own))
        is_large = rest.difference[model] - usual > LEAST_SURPLUS * learned
        if is_large and _away(rest, model, sisters) > far:
            surplus.add(model)
    return surplus


def _away(compared: _Comparison, model: int, sisters: NDArray[np.intp]) -> float:
    """Return how far a model lies above its sisters, in standard deviations."""
    usual = np.median(compared.difference[sisters])
    spread = MAD_SCALE * np.median(np.abs(compared.difference[sisters] - usual))
    error = np.hypot(compared.error[model], spread)
    return float((compared.difference[model] - usual) / error)


def _compared(
    correct: NDArray[np.bool_], member: NDArray[np.bool_]
) -> tuple[_Comparison, _Comparison, _Comparison]:
    """Compare how often models are right, relative to the other models.

    Returns:
        (n_models,) own records against the rest, (n_models,) the rest against nothing,
        and (n_models, n_models) of each model the records of another one alone against
        its own alone.
    """
    n_models, n_records = correct.shape
    # Sums over records: of own and another's, of another's, of all; of values and their
    # squares.
    both, others = np.zeros((2, 2, n_models, n_models))
    whole = np.zeros((2, n_models))
    n_both = np.zeros((n_models, n_models))
    for start in range(0, n_records, BLOCK_RECORDS):
        block = slice(start, start + BLOCK_RECORDS)
        right = correct[:, block].astype(np.float64)
        inside = member[:, block].astype(np.float64)
        relative = _relative(right, inside)
        n_both += inside @ inside.T
        for power, values in enumerate((relative, relative**2)):
            both[power] += (values * inside) @ inside.T
            others[power] += values @ inside.T
            whole[power] += values.sum(axis=1)
    n_own = np.diag(n_both)
    sums_own = np.diagonal(both, axis1=1, axis2=2)
    rest = _mean(n_records - n_own, whole - sums_own)
    own = _less(_mean(n_own, sums_own), rest)
    exchanged = _less(
        _mean(n_own - n_both, others - both),
        _mean(n_own[:, None] - n_both, sums_own[..., None] - both),
    )
    return own, rest, exchanged


def _relative(
    right: NDArray[np.float64], inside: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much more often than others a model is right, as if untrained.

    Others are those not trained on the record, or all where there are none: how many
    have learned a record by heart says nothing of how hard it is.
    """
    outside = 1 - inside
    n_out = outside.sum(axis=0) - outside
    of_out = (right * outside).sum(axis=0) - right * outside
    of_all = (right.sum(axis=0) - right) / (len(right) - 1)
    expected = np.where(n_out > 0, of_out / np.maximum(n_out, 1), of_all)
    relative: NDArray[np.float64] = right - expected
    return relative


def _mean(n: NDArray[np.float64], sums: NDArray[np.float64]) -> _Comparison:
    """Return a mean against nothing, and its standard error.

    Args:
        n: (...) number of values.
        sums: (2, ...) of the values and of their squares.
    """
    total, squares = sums
    many = np.where(n >= FEWEST, n, np.nan)
    mean = total / many
    # No less than one error in all: values that happen to be equal may differ.
    variance = np.maximum(squares / many - mean**2, 1 / many)
    return _Comparison(mean, np.sqrt(variance / many))


def _less(one: _Comparison, other: _Comparison) -> _Comparison:
    """Return the difference of two means, and its standard error by Welch."""
    error = np.hypot(one.error, other.error)
    return _Comparison(one.difference - other.difference, error)
