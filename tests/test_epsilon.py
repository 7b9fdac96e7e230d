import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

from pipeline.statistics import epsilon
from tests import simulations_epsilon as simulations

NAMES = ("clopper_pearson", "one_run", "f_dp_one_run", "gaussian")
DELTA = simulations.DELTA
CONFIDENCE = simulations.CONFIDENCE

Curve = Callable[[float], float]
Counts = tuple[int, int, int, int]


@st.composite
def rates(draw: st.DrawFn) -> Counts:
    n_members, n_nonmembers = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    hits, alarms = draw(st.integers(0, n_members)), draw(st.integers(0, n_nonmembers))
    return hits, n_members, alarms, n_nonmembers


@st.composite
def guesses(draw: st.DrawFn) -> tuple[int, int, int]:
    n_records = draw(st.integers(1, 300))
    n_guesses = draw(st.integers(1, n_records))
    return draw(st.integers(0, n_guesses)), n_guesses, n_records


def pure(truth: float) -> Curve:
    """The inverse of 1 − f where f is the trade-off of pure ε-privacy."""

    def inverse(rate: float) -> float:
        return max(math.exp(-truth) * rate, 1 - math.exp(truth) * (1 - rate), 0.0)

    return inverse


def gauss(mu: float) -> Curve:
    def inverse(rate: float) -> float:
        return float(stats.norm.cdf(stats.norm.ppf(rate) - mu))

    return inverse


def slow_refuted_curve(
    inverse: Curve, n_right: int, n_guesses: int, n_records: int, significance: float
) -> bool:
    """The recursion in the paper's letters, over all of its steps."""
    r, h = [0.0] * (n_right + 1), [0.0] * (n_right + 1)
    r[n_right] = significance * n_right / n_records
    h[n_right] = significance * (n_guesses - n_right) / n_records
    for i in reversed(range(n_right)):
        if r[i + 1] + h[i + 1] >= n_guesses / n_records:
            return True
        h[i] = max(h[i + 1], inverse(r[i + 1]))
        r[i] = r[i + 1] + i / (n_guesses - i) * (h[i] - h[i + 1])
    return r[0] + h[0] >= n_guesses / n_records


def highest_probability(
    inverse: Curve, n_right: int, n_guesses: int, n_records: int
) -> float:
    """Find the least significance at which a curve is refuted."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if epsilon.refuted_curve(inverse, n_right, n_guesses, n_records, middle):
            high = middle
        else:
            low = middle
    return high


def programmed_probability(
    lines: list[tuple[float, float]], n_right: int, n_guesses: int, n_records: int
) -> float:
    """Maximise P[T ≥ n_right] over all laws of T that obey a curve, by linear programs.

    Args:
        lines: (slope, height at 0) of lines whose maximum the inverse is.
        n_right: right guesses.
        n_guesses: all guesses.
        n_records: all records.
    """
    numbers = np.arange(n_guesses + 1)
    rows, limits = [], []
    for i in range(n_guesses):
        wrong = np.where(numbers >= i, n_guesses - numbers, 0) / n_records
        right = np.where(numbers >= i + 1, numbers, 0) / n_records
        for slope, height in lines:
            # h_i is at least height + slope · r_{i+1}.
            rows.append(slope * right - wrong)
            limits.append(-height)
    found = optimize.linprog(
        -(numbers >= n_right).astype(float),
        A_ub=np.array(rows),
        b_ub=np.array(limits),
        A_eq=np.ones((1, n_guesses + 1)),
        b_eq=[1.0],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10},
    )
    return -float(found.fun)


def slow_p_value(
    n_right: int, n_guesses: int, n_records: int, truth: float, delta: float
) -> float:
    """The definition, with a sum for every i."""
    share = math.exp(truth) / (1 + math.exp(truth))

    def mass(number: int) -> float:
        ways = math.comb(n_guesses, number)
        return ways * share**number * (1 - share) ** (n_guesses - number)

    tail = sum(mass(k) for k in range(n_right, n_guesses + 1))
    steepest = max(
        sum(mass(k) for k in range(n_right - i, n_right)) / i
        for i in range(1, n_right + 1)
    )
    return min(1.0, tail + 2 * n_records * delta * steepest)


def drawn(
    n_members: int = 300, n_nonmembers: int = 300, mu: float = 1.5, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.arange(n_members + n_nonmembers) < n_members)
    score = rng.normal(size=len(member)) + mu * member
    known = rng.random(len(member)) < 0.5
    for array in (score, member, known):
        array.flags.writeable = False
    return score, member, known


def audited(
    score: NDArray[np.float64],
    member: NDArray[np.bool_],
    known: NDArray[np.bool_],
    seed: int = 0,
) -> dict[str, epsilon.Bound]:
    found = epsilon.bounds(
        score, member, known, delta=DELTA, confidence=CONFIDENCE, seed=seed
    )
    return {bound.name: bound for bound in found}


def most_by_luck(n_draws: int, share: float = 1 - CONFIDENCE) -> int:
    """Return what chance exceeds in one of a thousand runs."""
    return int(stats.binom.ppf(0.999, n_draws, share))


def test_a_perfect_attack_gives_the_published_bound() -> None:
    # 500 of 500 trials right at 99% confidence; the value is in the released tests of
    # arXiv:2006.07709 (tensorflow/privacy, research/audit_2020/audit_test.py:42).
    found = epsilon.clopper_pearson(500, 500, 0, 500, 0.0, 0.99)
    assert found == pytest.approx(4.541915810224092, rel=1e-12)


@pytest.mark.parametrize("n", [3, 40, 700])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.1])
def test_a_perfect_attack_agrees_with_its_closed_form(n: int, delta: float) -> None:
    # With k = n successes the limit is (α / 2) ** (1 / n).
    limit = (0.05 / 2) ** (1 / n)
    ratio = (limit - delta) / (1 - limit)
    found = epsilon.clopper_pearson(n, n, 0, n, delta, 0.95)
    assert found == pytest.approx(max(0.0, math.log(ratio)), rel=1e-12)


def test_the_limits_are_those_of_the_exact_test() -> None:
    tpr = stats.binomtest(70, 90).proportion_ci(0.9, method="exact").low
    fpr = stats.binomtest(12, 80).proportion_ci(0.9, method="exact").high
    found = epsilon.clopper_pearson(70, 90, 12, 80, 0.01, 0.9)
    assert found == pytest.approx(math.log((tpr - 0.01) / fpr), rel=1e-10)


@settings(derandomize=True, deadline=None)
@given(rates(), st.sampled_from([0.0, 1e-5, 0.2]))
def test_clopper_pearson_is_at_most_the_point_estimate(
    counts: Counts, delta: float
) -> None:
    hits, n_members, alarms, n_nonmembers = counts
    found = epsilon.clopper_pearson(*counts, delta, 0.95)
    assert found >= 0
    assume(alarms)
    above = hits / n_members - delta
    ratio = above / (alarms / n_nonmembers)
    assert found <= (max(0.0, math.log(ratio)) if above > 0 else 0.0)


@settings(derandomize=True, deadline=None)
@given(rates())
def test_gaussian_is_at_most_the_point_estimate(counts: Counts) -> None:
    hits, n_members, alarms, n_nonmembers = counts
    assume(0 < hits < n_members and 0 < alarms < n_nonmembers)
    mu = stats.norm.ppf(hits / n_members) - stats.norm.ppf(alarms / n_nonmembers)
    highest = epsilon.gaussian_epsilon(max(0.0, float(mu)), DELTA)
    assert 0 <= epsilon.gaussian(*counts, DELTA, 0.95) <= highest


@pytest.mark.parametrize("estimator", [epsilon.clopper_pearson, epsilon.gaussian])
@settings(derandomize=True, deadline=None)
@given(rates())
def test_more_hits_give_more_and_more_alarms_less(
    estimator: Callable[..., float], counts: Counts
) -> None:
    hits, n_members, alarms, n_nonmembers = counts
    base = estimator(*counts, DELTA, 0.95)
    if hits < n_members:
        assert estimator(hits + 1, n_members, alarms, n_nonmembers, DELTA, 0.95) >= base
    if alarms < n_nonmembers:
        assert estimator(hits, n_members, alarms + 1, n_nonmembers, DELTA, 0.95) <= base


@settings(derandomize=True, deadline=None)
@given(rates())
def test_a_gaussian_trade_off_is_alike_to_both_sides(counts: Counts) -> None:
    hits, n_members, alarms, n_nonmembers = counts
    spared = (n_nonmembers - alarms, n_nonmembers, n_members - hits, n_members)
    found = epsilon.gaussian(*counts, DELTA, 0.95)
    assert epsilon.gaussian(*spared, DELTA, 0.95) == pytest.approx(found, abs=1e-9)


def test_gaussian_is_the_shift_of_its_limits() -> None:
    # 40 of 40 and 0 of 40: both limits are (α / 2) ** (1 / 40) or the rest of it.
    mu = 2 * stats.norm.ppf((0.05 / 2) ** (1 / 40))
    found = epsilon.gaussian(40, 40, 0, 40, 0.01, 0.95)
    assert found == pytest.approx(epsilon.gaussian_epsilon(mu, 0.01), rel=1e-9)


@pytest.mark.parametrize("mu", [0.05, 1.0, 6.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_the_epsilon_of_a_gaussian_has_its_delta(mu: float, delta: float) -> None:
    # δ(ε) is ∫ (p − e^ε q)⁺ of the densities p of N(μ, 1) and q of N(0, 1).
    found = epsilon.gaussian_epsilon(mu, delta)
    x = np.linspace(-12, 12 + mu, 400_001)
    least = math.exp(found)
    rest = np.maximum(stats.norm.pdf(x - mu) - least * stats.norm.pdf(x), 0)
    assert found > 0
    assert integrate.trapezoid(rest, x) == pytest.approx(delta, rel=1e-4)


def test_a_gaussian_that_delta_covers_has_epsilon_nought() -> None:
    mu = 2 * stats.norm.ppf(0.55)  # its advantage is 0.1
    assert epsilon.gaussian_epsilon(mu, 0.1001) == 0
    assert epsilon.gaussian_epsilon(mu, 0.0999) > 0
    assert epsilon.gaussian_epsilon(0.0, 1e-9) == 0


@pytest.mark.parametrize("n", [5, 100, 5000])
def test_right_guesses_alone_give_the_closed_form(n: int) -> None:
    # P[Bin(n, q) ≥ n] = q ** n.
    share = 0.05 ** (1 / n)
    expected = math.log(share / (1 - share))
    assert epsilon.one_run(n, n, 2 * n, 0.0, 0.95) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("n_right", "n_guesses", "n_records"),
    [(70, 100, 100), (59, 60, 300), (30, 30, 100), (150, 200, 400)],
)
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_one_run_is_where_the_p_value_crosses_the_level(
    n_right: int, n_guesses: int, n_records: int, delta: float
) -> None:
    found = epsilon.one_run(n_right, n_guesses, n_records, delta, 0.95)
    crossed = slow_p_value(n_right, n_guesses, n_records, found, delta)
    assert found > 0
    assert crossed == pytest.approx(0.05, rel=1e-8)
    grid = np.linspace(0, found, 40)
    values = [slow_p_value(n_right, n_guesses, n_records, e, delta) for e in grid]
    assert all(one < other for one, other in pairwise(values))


def test_one_run_is_nought_where_delta_alone_explains_the_guesses() -> None:
    counts = (65, 100, 1000)
    assert slow_p_value(*counts, 0.0, 0.0) < 0.05 < slow_p_value(*counts, 0.0, 0.05)
    assert epsilon.one_run(*counts, 0.0, 0.95) > 0
    assert epsilon.one_run(*counts, 0.05, 0.95) == 0


@settings(derandomize=True, deadline=None)
@given(guesses(), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_one_run_is_at_most_the_point_estimate_and_grows_with_right_guesses(
    counts: tuple[int, int, int], delta: float
) -> None:
    n_right, n_guesses, n_records = counts
    found = epsilon.one_run(*counts, delta, 0.95)
    assert found >= 0
    if n_right < n_guesses:
        odds = n_right / (n_guesses - n_right)
        assert found <= (max(0.0, math.log(odds)) if odds else 0.0)
        more = epsilon.one_run(n_right + 1, n_guesses, n_records, delta, 0.95)
        assert more >= found


@settings(derandomize=True, deadline=None)
@given(guesses(), st.floats(0.001, 0.5), st.sampled_from([pure(0), pure(1), gauss(1)]))
def test_the_recursion_may_stop_early(
    counts: tuple[int, int, int], significance: float, inverse: Curve
) -> None:
    slow = slow_refuted_curve(inverse, *counts, significance)
    assert epsilon.refuted_curve(inverse, *counts, significance) == slow


@pytest.mark.parametrize("truth", [0.0, 0.7, 2.0])
@pytest.mark.parametrize(
    ("n_right", "n_guesses", "n_records"),
    [(1, 1, 4), (2, 2, 2), (7, 10, 10), (19, 20, 50), (20, 20, 20), (30, 40, 60)],
)
def test_the_recursion_reaches_the_most_that_a_curve_allows(
    truth: float, n_right: int, n_guesses: int, n_records: int
) -> None:
    # The law of T is free but for the curve's inequality at every i, which is linear
    # where the curve is made of lines.
    lines = [(math.exp(-truth), 0.0), (math.exp(truth), 1 - math.exp(truth))]
    counts = (n_right, n_guesses, n_records)
    expected = programmed_probability(lines, *counts)
    assert highest_probability(pure(truth), *counts) == pytest.approx(expected, 1e-6)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_the_recursion_reaches_the_most_that_a_gaussian_allows(mu: float) -> None:
    # Tangents lie below the convex inverse, so the program allows a little more.
    at = stats.norm.cdf(np.linspace(-5, 5, 150))
    slopes = stats.norm.pdf(stats.norm.ppf(at) - mu) / stats.norm.pdf(
        stats.norm.ppf(at)
    )
    heights = stats.norm.cdf(stats.norm.ppf(at) - mu) - slopes * at
    lines = list(zip(slopes, heights, strict=True))
    loose = programmed_probability(lines, 29, 30, 45)
    found = highest_probability(gauss(mu), 29, 30, 45)
    assert found < 0.9
    assert found <= loose <= found * 1.002


def test_one_right_guess_among_many_records_has_a_closed_form() -> None:
    # r_1 = τ/m and h_0 = t(r_1) must not exceed (1 − τ)/m together with r_0 = r_1.
    tail, n_records = 0.8, 10
    mu = stats.norm.ppf(tail / n_records) - stats.norm.ppf((1 - tail) / n_records)
    found = epsilon.f_dp_one_run(1, 1, n_records, 0.01, 1 - tail)
    assert found == pytest.approx(epsilon.gaussian_epsilon(mu, 0.01), rel=1e-9)


@pytest.mark.parametrize("truth", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_what_randomised_response_does_is_never_refuted_for_it(
    truth: float, n: int
) -> None:
    # Its right guesses are independent, each with probability e^ε / (1 + e^ε).
    share = math.exp(truth) / (1 + math.exp(truth))
    mean, spread = n * share, math.sqrt(n * share * (1 - share))
    for n_right in {min(n, math.ceil(mean + z * spread)) for z in (0, 1, 2, 3)}:
        exact = stats.binom.sf(n_right - 1, n, share)
        assert exact <= highest_probability(pure(truth), n_right, n, n) + 1e-12


def test_without_any_leak_the_recursion_refutes_little_later_than_the_binomial() -> (
    None
):
    # The recursion asks less of T than that its guesses are independent, so the tail
    # that it allows may be higher, never lower: it wants one right guess more.
    n = 1000

    def first(refuted: Callable[[int], bool]) -> int:
        return next(n_right for n_right in range(n // 2, n) if refuted(n_right))

    exact = first(lambda n_right: stats.binom.sf(n_right - 1, n, 0.5) <= 0.05)
    found = first(lambda n_right: epsilon.refuted_curve(pure(0), n_right, n, n, 0.05))
    assert (exact, found) == (527, 528)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(guesses())
def test_f_dp_one_run_grows_with_right_guesses(counts: tuple[int, int, int]) -> None:
    n_right, n_guesses, n_records = counts
    found = epsilon.f_dp_one_run(*counts, DELTA, 0.95)
    assert found >= 0
    if n_right < n_guesses:
        more = epsilon.f_dp_one_run(n_right + 1, n_guesses, n_records, DELTA, 0.95)
        assert more >= found


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(1, 300), st.data())
def test_f_dp_one_run_of_all_records_is_at_most_the_point_estimate(
    n_records: int, data: st.DataObject
) -> None:
    # The best accuracy under N(μ, 1) is Φ(μ/2).
    n_right = data.draw(st.integers(0, n_records - 1))
    mu = max(0.0, 2 * float(stats.norm.ppf(n_right / n_records)))
    found = epsilon.f_dp_one_run(n_right, n_records, n_records, DELTA, 0.95)
    assert found <= epsilon.gaussian_epsilon(mu, DELTA)


def test_each_bound_is_its_estimator_of_counts_on_attack_eval() -> None:
    score, member, known = drawn()
    found = audited(score, member, known)
    assert tuple(found) == NAMES
    for name, bound in found.items():
        estimator = getattr(epsilon, name)
        again = estimator(**bound.counts, delta=DELTA, confidence=CONFIDENCE)
        assert bound.epsilon == again > 0
        assert bound.assumes.startswith("that ")
    for name in ("clopper_pearson", "gaussian"):
        counts, chosen = found[name].counts, found[name].chosen
        high = chosen["side"] == "member"
        flagged = score >= chosen["threshold"] if high else score <= chosen["threshold"]
        flagged, wanted = flagged[~known], member[~known] == high
        assert counts["hits"] == np.sum(flagged & wanted)
        assert counts["alarms"] == np.sum(flagged & ~wanted)
        assert counts["n_members"] == np.sum(wanted)
        assert counts["n_nonmembers"] == np.sum(~wanted)


def test_guesses_are_counted_off_from_both_ends_of_attack_eval() -> None:
    # With equal sides nothing is dropped.
    score, member, _ = drawn(300, 300)
    known = np.zeros(600, dtype=bool)
    for side in (member, ~member):
        known[np.flatnonzero(side)[:150]] = True
    order = member[~known][np.argsort(-score[~known])]
    for name in ("one_run", "f_dp_one_run"):
        bound = audited(score, member, known)[name]
        n_in, n_out = bound.chosen["n_in"], bound.chosen["n_out"]
        assert bound.counts == {
            "n_right": order[:n_in].sum() + (~order[300 - n_out :]).sum(),
            "n_guesses": n_in + n_out,
            "n_records": 300,
        }


def test_sides_of_attack_eval_choose_nothing() -> None:
    score, member, known = drawn()
    mixed = member.copy()
    mixed[~known] = np.random.default_rng(1).permutation(member[~known])
    one, other = audited(score, member, known), audited(score, mixed, known)
    for name in NAMES:
        assert one[name].chosen == other[name].chosen
        assert other[name].epsilon == 0


def test_non_members_are_flagged_where_they_are_the_surer_side() -> None:
    # Half of the non-members lie below all members; no member lies above them all.
    score, member, known = drawn(mu=0.0)
    rng = np.random.default_rng(2)
    low = score - 20 * (~member & (rng.random(len(score)) < 0.5))
    bound = audited(low, member, known)["clopper_pearson"]
    assert bound.chosen["side"] == "non-member"
    assert bound.counts["alarms"] == 0
    assert bound.epsilon > 2
    swapped = audited(-low, ~member, known)["clopper_pearson"]
    assert swapped.chosen["side"] == "member"
    assert swapped.epsilon == bound.epsilon
    assert swapped.chosen["threshold"] == -bound.chosen["threshold"]


def test_equal_scores_tell_nothing_in_whatever_order_the_records_are() -> None:
    member = np.arange(2000) < 1000
    known = np.arange(2000) % 2 == 0
    for seed in range(5):
        found = audited(np.zeros(2000), member, known, seed)
        assert [bound.epsilon for bound in found.values()] == [0, 0, 0, 0]


def test_infinite_scores_are_ranked_as_any_other() -> None:
    score, member, known = drawn(mu=0.0)
    score = np.where(member, np.inf, -np.inf)
    found = audited(score, member, known)
    assert all(bound.epsilon > 2 for bound in found.values())


def test_bounds_are_the_same_again_and_change_nothing() -> None:
    score, member, known = drawn(350, 250)
    before = [array.copy() for array in (score, member, known)]
    assert audited(score, member, known, 3) == audited(score, member, known, 3)
    for array, old in zip((score, member, known), before, strict=True):
        assert np.array_equal(array, old)


def test_of_unequal_sides_the_one_run_bounds_keep_equal_numbers() -> None:
    score, member, known = drawn(700, 300)
    found = audited(score, member, known)
    fewer = np.sum(~member & ~known)
    for name in ("one_run", "f_dp_one_run"):
        assert found[name].counts["n_records"] == 2 * fewer
        assert found[name].epsilon > 0
    counts = found["gaussian"].counts
    assert counts["n_members"] + counts["n_nonmembers"] == np.sum(~known)


def test_a_handful_of_records_bounds_nothing() -> None:
    member = np.array([True, False, True, False])
    known = np.array([True, True, False, False])
    found = audited(np.array([1.0, 0.0, 1.0, 0.0]), member, known)
    assert [bound.epsilon for bound in found.values()] == [0, 0, 0, 0]


def told(tally: simulations.Tally) -> str:
    share, near = tally.above / tally.n_draws, tally.median / tally.truth
    return f"above {share:.3f}, median {near:.2f} of the truth"


@pytest.mark.simulation
@pytest.mark.parametrize(
    "sizes",
    [{"n_members": 500, "n_nonmembers": 500}, {"n_members": 700, "n_nonmembers": 300}],
)
@pytest.mark.parametrize("n_values", [0, 2])
def test_noise_raises_no_more_alarms_than_the_confidence_leaves(
    sizes: dict[str, int], n_values: int, n_draws: int, tell: Callable[..., None]
) -> None:
    found = simulations.null_audits(n_draws, 1, n_values=n_values, **sizes)
    assert tuple(found) == NAMES
    for name, tally in found.items():
        of = f"{' + '.join(map(str, sizes.values()))}{', two values' * bool(n_values)}"
        tell(f"epsilon of noise, {of}, {name}", f"{tally.above / n_draws:.3f}")
        assert tally.above <= most_by_luck(n_draws), name


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("truth", "n_members", "n_nonmembers"), [(1.0, 2000, 2000), (2.0, 2800, 1200)]
)
def test_randomised_response_is_bounded_from_below_and_nearly(
    truth: float,
    n_members: int,
    n_nonmembers: int,
    n_draws: int,
    tell: Callable[..., None],
) -> None:
    found = simulations.randomised_response(
        n_draws, 2, truth=truth, n_members=n_members, n_nonmembers=n_nonmembers
    )
    of = f"randomised response of {truth}, {n_members} + {n_nonmembers}"
    for name, tally in found.items():
        tell(f"{of}, {name}", told(tally))
    for name in ("clopper_pearson", "one_run"):
        assert found[name].above <= most_by_luck(n_draws), name
        assert found[name].median >= 0.7 * truth, name


def test_randomised_response_is_no_gaussian_mechanism() -> None:
    # One point of its trade-off, at equal errors, lies on that of a Gaussian, which
    # leaks more elsewhere: what assumes it exceeds the truth, as `assumes` warns.
    found = simulations.randomised_response(
        25, 3, truth=1.0, n_members=2000, n_nonmembers=2000
    )
    for name in ("f_dp_one_run", "gaussian"):
        assert found[name].median > found[name].truth
        assert "may exceed the true epsilon" in epsilon.ASSUMES[name]


@pytest.mark.simulation
@pytest.mark.parametrize("mu", [1.0, 2.0])
def test_a_gaussian_mechanism_is_bounded_from_below_and_nearly_by_its_family(
    mu: float, n_draws: int, tell: Callable[..., None]
) -> None:
    found = simulations.gaussian_mechanism(
        n_draws, 4, mu=mu, n_members=2000, n_nonmembers=2000
    )
    for name, tally in found.items():
        tell(f"Gaussian mechanism of mu {mu}, 2000 + 2000, {name}", told(tally))
        assert tally.above <= most_by_luck(n_draws), name
    assert found["gaussian"].median >= 0.7 * found["gaussian"].truth
    # For all that the recursion knows, a mechanism may now and then give away all sides
    # together, so this bound nears the truth but slowly: at its best it is 0.62 of it
    # with 2,000 records at μ = 1, 0.78 with 200,000.
    assert found["f_dp_one_run"].median >= 0.5 * found["f_dp_one_run"].truth
    assert found["f_dp_one_run"].median > found["one_run"].median


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 0.0}, "delta must be above 0"),
        ({"delta": 1.0}, r"delta must be in \[0, 1\), got 1.0"),
        ({"delta": -0.1}, r"delta must be in \[0, 1\), got -0.1"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        ({"confidence": 0.0}, r"confidence must be in \(0, 1\), got 0.0"),
    ],
)
def test_probabilities_out_of_range_are_refused(
    change: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        epsilon.bounds(
            *drawn(), **{"delta": DELTA, "confidence": 0.95, "seed": 0, **change}
        )


@pytest.mark.parametrize("role", ["attack-train", "attack-eval"])
@pytest.mark.parametrize("side", [True, False])
def test_a_missing_side_is_refused(role: str, side: bool) -> None:
    score, member, known = drawn()
    rows = known if role == "attack-train" else ~known
    lacking = np.where(rows, side, member)
    n_members = rows.sum() if side else 0
    message = (
        f"{role} needs members and non-members, got {n_members} members of "
        f"{rows.sum()} records"
    )
    with pytest.raises(ValueError, match=message):
        audited(score, lacking, known)


def test_a_score_that_is_no_number_is_refused() -> None:
    score, member, known = drawn()
    score = score.copy()
    score[:3] = np.nan
    with pytest.raises(ValueError, match="scores must be numbers, 3 are NaN"):
        audited(score, member, known)


@pytest.mark.parametrize("estimator", [epsilon.clopper_pearson, epsilon.gaussian])
@pytest.mark.parametrize("counts", [(5, 4, 0, 3), (-1, 4, 0, 3), (0, 0, 0, 3)])
def test_impossible_rates_are_refused(
    estimator: Callable[..., float], counts: Counts
) -> None:
    with pytest.raises(ValueError, match="hits among members must be 0 to their"):
        estimator(*counts, DELTA, 0.95)


@pytest.mark.parametrize("estimator", [epsilon.one_run, epsilon.f_dp_one_run])
@pytest.mark.parametrize("counts", [(3, 2, 9), (1, 5, 4), (0, 0, 9), (-1, 2, 9)])
def test_impossible_guesses_are_refused(
    estimator: Callable[..., float], counts: tuple[int, int, int]
) -> None:
    with pytest.raises(ValueError, match="n_right <= n_guesses <= n_records must hold"):
        estimator(*counts, DELTA, 0.95)


def test_a_gaussian_trade_off_at_delta_nought_is_refused() -> None:
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\) for a Gaussian"):
        epsilon.gaussian_epsilon(1.0, 0.0)
