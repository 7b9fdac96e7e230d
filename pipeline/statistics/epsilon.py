"""Epsilon: how small a differential-privacy parameter an attack's success allows.

A training algorithm that is (ε, δ)-private bounds what any attack can reach; an attack
that reached more refutes ε. Each estimator here returns the largest ε that it refutes
with the given confidence, a lower bound, from the counts of one attack on one model.

What is measured on the records of one model is empirical. It speaks of this model and
this attack, proves nothing about other runs, and is no guarantee of privacy: another
attack may refute more.

Conventions: ε is in nats and never below 0; δ and the confidence are probabilities.
"""

import math
from collections.abc import Callable, Mapping
from itertools import product
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from pipeline import draws
from pipeline.statistics.intervals import lower_limit

# Shares of the records that the one-run estimators may guess to be members, and shares
# that they may guess to be non-members: few sure guesses or many doubtful ones.
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
# Halvings of the interval that holds μ, which is a few units wide: to some 1e-12.
HALVINGS = 40
SQRT_2 = math.sqrt(2)

MEANING = "Empirical, of one model and one attack: no guarantee of privacy."
ONE_MECHANISM = "the records' scores are independent draws, given their sides"
ASSUMES = {
    "clopper_pearson": (
        f"that {ONE_MECHANISM}: one model stands for the runs that the definition of "
        "privacy speaks of"
    ),
    "one_run": (
        "that each record was put in or left out by a fair coin of its own; of the "
        "larger side records were dropped at random, down to equal sides"
    ),
    "f_dp_one_run": (
        "that each record was put in or left out by a fair coin of its own, as for "
        "one_run, and that the model's trade-off of errors is that of a Gaussian "
        "mechanism; where it is not, the figure may exceed the true epsilon"
    ),
    "gaussian": (
        f"that {ONE_MECHANISM}, as for clopper_pearson, and that the model's trade-off "
        "of errors is that of a Gaussian mechanism; where it is not, the figure may "
        "exceed the true epsilon"
    ),
}


class Bound(NamedTuple):
    """A lower bound of ε, and what it rests on."""

    name: str  # of the estimator, that of its function here
    epsilon: float  # nats, ≥ 0
    chosen: Mapping[str, float | str]  # on attack-train
    assumes: str  # "that ...", for a report
    counts: Mapping[str, int]  # on attack-eval: the arguments of its function


class _Sides(NamedTuple):
    """Scores of the records of one role, ascending."""

    members: NDArray[np.float64]
    nonmembers: NDArray[np.float64]


def clopper_pearson(
    hits: int,
    n_members: int,
    alarms: int,
    n_nonmembers: int,
    delta: float,
    confidence: float,
) -> float:
    """Bound ε by the rates of one decision: log((TPR_lo − δ) / FPR_hi).

    The two one-sided Clopper–Pearson limits hold jointly: each may fail with half of
    what the confidence leaves. The decision must not depend on the records counted.
    As privacy treats both sides alike, the roles of members and non-members may be
    exchanged: with rightly and wrongly flagged non-members it is
    log((TNR_lo − δ) / FNR_hi).

    Args:
        hits: members that were flagged.
        n_members: all members.
        alarms: non-members that were flagged.
        n_nonmembers: all non-members.
        delta: in [0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: if the counts or probabilities are out of range.

    Source: Jagielski, Ullman and Oprea 2020, arXiv:2006.07709, section 3.
    """
    _check_rates(hits, n_members, alarms, n_nonmembers)
    _check_probabilities(delta, confidence)
    limits = _limits(hits, n_members, alarms, n_nonmembers, confidence)
    return max(0.0, float(_log_ratio(*limits, delta)))


def gaussian(
    hits: int,
    n_members: int,
    alarms: int,
    n_nonmembers: int,
    delta: float,
    confidence: float,
) -> float:
    """Bound ε by the rates of one decision, were the mechanism a Gaussian one.

    μ is at least Φ⁻¹(TPR_lo) − Φ⁻¹(FPR_hi), with the limits of `clopper_pearson`, and
    μ and δ give ε. A single point of the trade-off of errors thus stands for all of it.
    Exchanging the roles of the sides changes nothing.

    Args:
        hits: members that were flagged.
        n_members: all members.
        alarms: non-members that were flagged.
        n_nonmembers: all non-members.
        delta: in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: if the counts or probabilities are out of range.

    Source: Nasr et al. 2023, arXiv:2302.07956, section 4; there the limits are those of
    Zanella-Béguelin et al. too.
    """
    _check_rates(hits, n_members, alarms, n_nonmembers)
    limits = _limits(hits, n_members, alarms, n_nonmembers, confidence)
    return gaussian_epsilon(max(0.0, float(_shift(*limits))), delta)


def one_run(
    n_right: int, n_guesses: int, n_records: int, delta: float, confidence: float
) -> float:
    """Bound ε by the number of right guesses of the sides of one run's records.

    Each record was in or out by a fair coin of its own. The number of guesses must be
    fixed before the coins are seen.

    Args:
        n_right: right guesses.
        n_guesses: all guesses, in or out.
        n_records: all records, guessed or not.
        delta: in [0, 1).
        confidence: in (0, 1).

    Returns:
        The largest ε whose p-value is below 1 − confidence.

    Raises:
        ValueError: if the counts or probabilities are out of range.

    Source: Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, Theorem 5.2 and
    Algorithm 1.
    """
    _check_guesses(n_right, n_guesses, n_records)
    _check_probabilities(delta, confidence)
    return _largest_epsilon(n_right, n_guesses, n_records, delta, 1 - confidence)


def f_dp_one_run(
    n_right: int, n_guesses: int, n_records: int, delta: float, confidence: float
) -> float:
    """Bound ε by the number of right guesses of one run, for a Gaussian mechanism.

    The largest μ whose trade-off of errors could not have given so many right guesses
    is converted to ε at δ. The assumptions on coins and guesses are those of `one_run`.

    Args:
        n_right: right guesses.
        n_guesses: all guesses, in or out.
        n_records: all records, guessed or not.
        delta: in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: if the counts or probabilities are out of range.

    Source: Mahloujifar, Melis and Chaudhuri 2024, arXiv:2410.22235, Algorithm 3, with
    the trade-off functions G_μ of Dong, Roth and Su 2019, arXiv:1905.02383.
    """
    _check_guesses(n_right, n_guesses, n_records)
    _check_probabilities(delta, confidence)
    mu = _largest_mu(n_right, n_guesses, n_records, 1 - confidence)
    return gaussian_epsilon(mu, delta)


def refuted_curve(
    inverse: Callable[[float], float],
    n_right: int,
    n_guesses: int,
    n_records: int,
    significance: float,
) -> bool:
    """Return whether a trade-off function makes so many right guesses too improbable.

    Let T be the number of right guesses, r_i the probability that T ≥ i and a record
    drawn at random is guessed rightly, and h_i that T ≥ i and it is guessed wrongly.
    Two facts link them. If the record's coin is turned over, a right guess becomes a
    wrong one, and the other guesses stay; f bounds how well the coin can be guessed, so
    r_{i+1} ≤ (1 − f)(h_i). And P[T = i] enters r_i with weight i and h_i with weight
    n_guesses − i. Suppose that P[T ≥ n_right] were the significance. Then r and h would
    be no less than in the recursion below, where all of that probability lies at
    n_right and each h_i is the least that is allowed; but r_0 + h_0 is no more than the
    share of records guessed.

    Args:
        inverse: of 1 − f, increasing and convex, from (0, 1) to [0, 1].
        n_right: right guesses.
        n_guesses: all guesses.
        n_records: all records.
        significance: in (0, 1).

    Returns:
        Whether P[T ≥ n_right] is at most the significance. If a curve is refuted, so is
        that of every more private mechanism, which allows a search by halving.

    Source: Mahloujifar, Melis and Chaudhuri 2024, arXiv:2410.22235, Algorithm 3, for
    guesses of two values.
    """
    # In units of 1 / n_records, so that r + h is the expected number of guesses.
    right = significance * n_right
    wrong = significance * (n_guesses - n_right)
    for i in range(n_right - 1, -1, -1):
        more = inverse(right / n_records) * n_records - wrong
        # Then nothing changes any more.
        if more <= 0:
            return False
        wrong += more
        right += i / (n_guesses - i) * more
        if right + wrong >= n_guesses:
            return True
    return False


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the ε at δ of a mechanism whose trade-off of errors is that of N(μ, 1).

    It solves δ = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2), or is 0 if the right side is at
    most δ already at ε = 0.

    Args:
        mu: ≥ 0, in standard deviations.
        delta: in (0, 1); no ε suffices at 0.

    Raises:
        ValueError: if δ is out of range.

    Source: Dong, Roth and Su 2019, arXiv:1905.02383, Corollary 2.13.
    """
    if not 0 < delta < 1:
        msg = f"delta must be in (0, 1) for a Gaussian trade-off, got {delta}"
        raise ValueError(msg)

    def excess(epsilon: float) -> float:
        first = special.ndtr(-epsilon / mu + mu / 2)
        second = np.exp(epsilon + special.log_ndtr(-epsilon / mu - mu / 2))
        return float(first - second - delta)

    if mu == 0 or excess(0.0) <= 0:
        return 0.0
    # Here the first term alone is δ.
    highest = mu * (mu / 2 - float(special.ndtri(delta)))
    return float(optimize.brentq(excess, 0.0, highest, xtol=1e-12))


def bounds(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    known: NDArray[np.bool_],
    *,
    delta: float,
    confidence: float,
    seed: int,
) -> tuple[Bound, ...]:
    """Bound ε by each estimator, from the scores of one attack on one model.

    A threshold, or a number of guesses, is chosen on attack-train: that of the highest
    bound, if the same rates were reached on as few records as attack-eval has. This
    decision alone is then counted on attack-eval. Records of equal scores are on the
    same side of a threshold; where guesses must be counted off, they are put in a
    random order.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        known: (n_records,) whether a record is of attack-train; the others are of
            attack-eval.
        delta: in (0, 1); below 1 / n_records to mean much.
        confidence: in (0, 1), of each bound by itself.
        seed: of the random order of equals, and of which records are dropped where
            sides are unequal.

    Returns:
        Bounds by clopper_pearson, one_run, f_dp_one_run and gaussian.

    Raises:
        ValueError: if δ or the confidence is out of range, a score is not a number, or
            attack-train or attack-eval lacks members or non-members.
    """
    _check_probabilities(delta, confidence)
    if not delta:
        msg = "delta must be above 0: no Gaussian trade-off holds at 0"
        raise ValueError(msg)
    if np.isnan(score).any():
        msg = f"scores must be numbers, {np.isnan(score).sum()} are NaN"
        raise ValueError(msg)
    for role, rows in (("attack-train", known), ("attack-eval", ~known)):
        n_members, n_records = int(member[rows].sum()), int(rows.sum())
        if not 0 < n_members < n_records:
            msg = (
                f"{role} needs members and non-members, got {n_members} members of "
                f"{n_records} records; audit more, or change split.eval_fraction"
            )
            raise ValueError(msg)

    train = _sides(score[known], member[known])
    test = _sides(score[~known], member[~known])
    of_train, of_test = (draws.rng(seed, "report.ties", side) for side in (0, 1))
    orders = (
        _ranked(score[known], member[known], of_train),
        _ranked(score[~known], member[~known], of_test),
    )
    return (
        _by_clopper_pearson(train, test, delta, confidence),
        _by_one_run(*orders, delta=delta, confidence=confidence),
        _by_f_dp_one_run(*orders, delta=delta, confidence=confidence),
        _by_gaussian(train, test, delta, confidence),
    )


def _by_clopper_pearson(
    train: _Sides, test: _Sides, delta: float, confidence: float
) -> Bound:
    options = []
    for side in ("member", "non-member"):
        threshold, ratio = _best_threshold(
            _flagging(train, side),
            _flagging(test, side),
            confidence,
            lambda tpr, fpr: _log_ratio(tpr, fpr, delta),
        )
        options.append((ratio, side, threshold))
    _, side, threshold = max(options, key=lambda option: option[0])
    counts = _counts(_flagging(test, side), threshold)
    return Bound(
        "clopper_pearson",
        clopper_pearson(**counts, delta=delta, confidence=confidence),
        {"side": side, "threshold": threshold if side == "member" else -threshold},
        ASSUMES["clopper_pearson"],
        counts,
    )


def _by_gaussian(train: _Sides, test: _Sides, delta: float, confidence: float) -> Bound:
    threshold, _ = _best_threshold(train, test, confidence, _shift)
    counts = _counts(test, threshold)
    return Bound(
        "gaussian",
        gaussian(**counts, delta=delta, confidence=confidence),
        {"side": "member", "threshold": threshold},
        ASSUMES["gaussian"],
        counts,
    )


def _by_one_run(
    train: NDArray[np.bool_], test: NDArray[np.bool_], delta: float, confidence: float
) -> Bound:
    def largest(n_right: int, n_guesses: int, n_records: int, least: float) -> float:
        return _largest_epsilon(
            n_right, n_guesses, n_records, delta, 1 - confidence, least
        )

    chosen, counts = _guessed(train, test, largest)
    bound = one_run(**counts, delta=delta, confidence=confidence)
    return Bound("one_run", bound, chosen, ASSUMES["one_run"], counts)


def _by_f_dp_one_run(
    train: NDArray[np.bool_], test: NDArray[np.bool_], delta: float, confidence: float
) -> Bound:
    def largest(n_right: int, n_guesses: int, n_records: int, least: float) -> float:
        return _largest_mu(n_right, n_guesses, n_records, 1 - confidence, least)

    chosen, counts = _guessed(train, test, largest)
    bound = f_dp_one_run(**counts, delta=delta, confidence=confidence)
    return Bound("f_dp_one_run", bound, chosen, ASSUMES["f_dp_one_run"], counts)


def _sides(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> _Sides:
    wide = np.asarray(score, dtype=np.float64)
    return _Sides(np.sort(wide[member]), np.sort(wide[~member]))


def _flagging(sides: _Sides, side: str) -> _Sides:
    """Return scores that are higher for what is to be flagged, and that side first."""
    if side == "member":
        return sides
    return _Sides(-sides.nonmembers[::-1], -sides.members[::-1])


def _flagged(
    sides: _Sides, threshold: float | NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the scores of either side that are at a threshold or above."""
    below = [np.searchsorted(scores, threshold) for scores in sides]
    return len(sides.members) - below[0], len(sides.nonmembers) - below[1]


def _counts(sides: _Sides, threshold: float) -> dict[str, int]:
    hits, alarms = _flagged(sides, threshold)
    return {
        "hits": int(hits),
        "n_members": len(sides.members),
        "alarms": int(alarms),
        "n_nonmembers": len(sides.nonmembers),
    }


def _best_threshold(
    train: _Sides,
    test: _Sides,
    confidence: float,
    worth: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[float, float]:
    """Return the threshold worth most on attack-train, and its worth.

    The worth is a function of the limits of its rates on attack-train, if these were
    reached on as few records as attack-eval has.
    """
    thresholds = np.unique(np.concatenate(train))
    hits, alarms = _flagged(train, thresholds)
    n_members, n_nonmembers = (
        min(len(in_train), len(in_test))
        for in_train, in_test in zip(train, test, strict=True)
    )
    limits = _limits(
        hits * (n_members / len(train.members)),
        n_members,
        alarms * (n_nonmembers / len(train.nonmembers)),
        n_nonmembers,
        confidence,
    )
    worths = worth(*limits)
    best = int(np.argmax(worths))
    return float(thresholds[best]), float(worths[best])


def _limits(
    hits: float | NDArray[np.float64],
    n_members: int,
    alarms: float | NDArray[np.float64],
    n_nonmembers: int,
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower limit of the TPR and the upper one of the FPR."""
    tail = (1 - confidence) / 2
    # The upper limit of the flagged share is 1 less the lower one of the spared share.
    spared = n_nonmembers - np.asarray(alarms, dtype=np.float64)
    return (
        _lower_limits(hits, n_members, tail),
        1 - _lower_limits(spared, n_nonmembers, tail),
    )


def _lower_limits(
    hits: float | NDArray[np.float64], n_trials: int, tail: float
) -> NDArray[np.float64]:
    """Return `lower_limit` of each, computed once where several are equal."""
    numbers, place = np.unique(hits, return_inverse=True)
    return lower_limit(numbers, n_trials, tail)[place].reshape(np.shape(hits))


def _log_ratio(
    tpr: NDArray[np.float64], fpr: NDArray[np.float64], delta: float
) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(tpr - delta, 0)) - np.log(fpr))


def _shift(tpr: NDArray[np.float64], fpr: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(special.ndtri(tpr) - special.ndtri(fpr))


def _ranked(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return the sides of records from the highest score down, as many of either."""
    rows = [np.flatnonzero(side) for side in (member, ~member)]
    fewer = min(map(len, rows))
    kept = np.concatenate([rng.choice(of_side, fewer, False) for of_side in rows])
    order = np.lexsort((rng.random(len(kept)), -score[kept]))
    return np.asarray(member[kept][order])


def _guessed(
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    largest: Callable[[int, int, int, float], float],
) -> tuple[dict[str, float], dict[str, int]]:
    """Choose on attack-train how many guesses to make, and make them on attack-eval.

    Args:
        train: (n_records,) sides of attack-train from the highest score down.
        test: (n_records,) those of attack-eval.
        largest: the parameter refuted by n_right, n_guesses and n_records; its last
            argument is the least of interest, which it returns if no more is refuted.
    """
    n_records = min(len(train), len(test))
    options = []
    for shares in product(SHARES, SHARES):
        n_guesses = sum(_numbers(shares, n_records))
        if n_guesses:
            numbers = _numbers(shares, len(train))
            rate = _right(train, *numbers) / sum(numbers)
            n_right = math.floor(rate * n_guesses)
            options.append((n_right, n_guesses, shares))
    # The least likely by luck first: then it is seen early that the others refute less,
    # and where none refutes anything, it is chosen.
    options.sort(key=lambda option: special.bdtrc(option[0] - 1, option[1], 0.5))
    best, (_, _, chosen) = 0.0, options[0]
    for n_right, n_guesses, shares in options:
        refuted = largest(n_right, n_guesses, n_records, best)
        if refuted > best:
            best, chosen = refuted, shares
    n_in, n_out = _numbers(chosen, len(test))
    counts = {
        "n_right": _right(test, n_in, n_out),
        "n_guesses": n_in + n_out,
        "n_records": len(test),
    }
    return {"n_in": n_in, "n_out": n_out}, counts


def _numbers(shares: tuple[float, float], n_records: int) -> tuple[int, int]:
    n_in, n_out = (round(share * n_records) for share in shares)
    return n_in, n_out


def _right(member: NDArray[np.bool_], n_in: int, n_out: int) -> int:
    last = member[len(member) - n_out :]
    return int(member[:n_in].sum()) + n_out - int(last.sum())


def _largest_epsilon(
    n_right: int,
    n_guesses: int,
    n_records: int,
    delta: float,
    significance: float,
    least: float = 0.0,
) -> float:
    """Return the largest ε that the guesses refute, or `least` if that is larger."""
    # At this ε the binomial tail, which is everything where δ = 0, is the significance.
    share = float(lower_limit(n_right, n_guesses, significance))
    highest = float(special.logit(share))
    if highest <= least or delta == 0:
        return max(least, highest)

    counts = np.arange(n_right)[::-1]  # v − 1, v − 2, …
    ways = (
        special.gammaln(n_guesses + 1)
        - special.gammaln(counts + 1)
        - special.gammaln(n_guesses - counts + 1)
    )

    def excess(epsilon: float) -> float:
        right, wrong = -np.log1p(np.exp(-epsilon)), -np.log1p(np.exp(epsilon))
        mass = np.exp(ways + counts * right + (n_guesses - counts) * wrong)
        steepest = np.max(np.cumsum(mass) / np.arange(1, n_right + 1))
        tail = special.betainc(n_right, n_guesses - n_right + 1, np.exp(right))
        return float(tail + 2 * n_records * delta * steepest - significance)

    if excess(least) >= 0:
        return least
    # Rounding may leave the tail a hair short of the significance there.
    if excess(highest) <= 0:
        return highest
    return float(optimize.brentq(excess, least, highest, xtol=1e-12))


def _largest_mu(
    n_right: int,
    n_guesses: int,
    n_records: int,
    significance: float,
    least: float = 0.0,
) -> float:
    """Return the largest μ that the guesses refute, or `least` if that is larger."""
    # For single numbers, the standard library takes a fifth of the time of SciPy.
    quantile = NormalDist().inv_cdf

    def refuted(mu: float) -> bool:
        return refuted_curve(
            # By erfc, since a cdf of 1 + erf has no digits in the lower tail.
            lambda rate: math.erfc((mu - quantile(rate)) / SQRT_2) / 2,
            n_right,
            n_guesses,
            n_records,
            significance,
        )

    if not refuted(least):
        return least
    low, high = least, least + 1
    while refuted(high):
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _check_rates(hits: int, n_members: int, alarms: int, n_nonmembers: int) -> None:
    for some, n, words in (
        (hits, n_members, "hits among members"),
        (alarms, n_nonmembers, "alarms among non-members"),
    ):
        if not 0 <= some <= n or not n:
            msg = f"{words} must be 0 to their number, which is not 0; got {some}, {n}"
            raise ValueError(msg)


def _check_guesses(n_right: int, n_guesses: int, n_records: int) -> None:
    if not 0 <= n_right <= n_guesses <= n_records or not n_guesses:
        msg = (
            "0 <= n_right <= n_guesses <= n_records must hold with some guesses; got "
            f"{n_right}, {n_guesses}, {n_records}"
        )
        raise ValueError(msg)


def _check_probabilities(delta: float, confidence: float) -> None:
    if not 0 <= delta < 1:
        msg = f"delta must be in [0, 1), got {delta}"
        raise ValueError(msg)
    if not 0 < confidence < 1:
        msg = f"confidence must be in (0, 1), got {confidence}"
        raise ValueError(msg)
