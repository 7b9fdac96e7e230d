from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import kstest, norm

from pipeline.attacks import lira
from pipeline.attacks.moments import moments
from pipeline.findings import exposure
from tests import simulations_exposure as simulations

# Monte-Carlo errors that a figure of a simulation may be off by.
ERRORS = 4.0


def drawn(n_models: int = 5, n_records: int = 40) -> simulations.Models:
    world = simulations.World(spreads=0.5)
    return simulations.models(np.random.default_rng(3), world, n_models, n_records)


def frozen(*arrays: NDArray[np.generic]) -> None:
    for array in arrays:
        array.flags.writeable = False


def error_of(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(figures.std(axis=0, ddof=1) / np.sqrt(len(figures)))


# P-values against the references


def slow_p_values(given: simulations.Models) -> NDArray[np.float64]:
    """Compute them by the definition, leaving out each reference in turn."""
    side = moments(given.references[:, :, None], given.outside)
    prior = lira.fitted_prior(side)

    def standing(one: float, others: NDArray[np.float64]) -> float:
        n = len(others)
        squares = float(((others - others.mean()) ** 2).sum())
        spread = (squares + 2 * prior.scale) / (n - 1 + 2 * prior.shape)
        return float((one - others.mean()) / np.sqrt(spread * (1 + 1 / n)))

    own, pool = [], []
    for record, phi in enumerate(given.target):
        outside = given.references[given.outside[:, record], record]
        own.append(standing(phi, outside) if len(outside) else np.nan)
        for place, one in enumerate(outside if len(outside) > 1 else []):
            pool.append(standing(one, np.delete(outside, place)))
    return np.array(
        [
            np.nan
            if np.isnan(z)
            else (1 + np.sum(np.array(pool) >= z)) / (1 + len(pool))
            for z in own
        ]
    )


@pytest.mark.parametrize("n_models", [2, 5])
def test_reference_p_values_are_those_of_leaving_each_reference_out(
    n_models: int,
) -> None:
    given = drawn(n_models, 150)
    count = given.outside.sum(axis=0)
    assert set(count) >= set(range(n_models))
    found = exposure.reference_p_values(given.target, given.references, given.outside)
    assert np.array_equal(np.isnan(found), count == 0)
    np.testing.assert_allclose(found, slow_p_values(given), rtol=1e-12)


def test_p_values_can_be_far_below_one_over_the_references() -> None:
    given = drawn(4, 2000)
    target = given.target.copy()
    target[7] += 1e3
    p = exposure.reference_p_values(target, given.references, given.outside)
    count = given.outside.sum(axis=0)
    assert count[7] > 0
    assert p[7] == 1 / (1 + count[count > 1].sum())


def test_a_higher_margin_never_has_a_larger_p_value() -> None:
    given = drawn(6)
    last = np.ones(40)
    for more in (-20, -1, 0, 0.5, 3, 50):
        p = exposure.reference_p_values(
            given.target + more, given.references, given.outside
        )
        seen = ~np.isnan(p)
        assert (p[seen] <= last[seen]).all()
        last = p


def test_without_a_record_of_two_references_that_differ_nothing_is_said() -> None:
    target, outside = np.zeros(3), np.eye(3, dtype=bool)
    single = exposure.reference_p_values(target, np.ones((3, 3)), outside)
    alike = exposure.reference_p_values(target, np.ones((3, 3)), np.ones((3, 3), bool))
    none = exposure.reference_p_values(target, np.ones((0, 3)), np.ones((0, 3), bool))
    assert np.isnan([single, alike, none]).all()


def test_the_order_and_the_precision_of_references_do_not_matter() -> None:
    given = drawn(6, 500)
    order = np.random.default_rng(0).permutation(6)
    known = ~given.member
    single = given.references.astype(np.float32)
    one, other = (
        exposure.reference_p_values(
            given.target, margins[rows], given.outside[rows], known
        )
        for margins, rows in ((single, order), (single.astype(float), np.arange(6)))
    )
    np.testing.assert_allclose(one, other, atol=2 / given.outside.sum())


def test_a_record_has_the_same_p_value_wherever_its_margins_lie() -> None:
    given = drawn(6)
    shift = np.random.default_rng(0).integers(-8, 8, 40) * 1.0
    one = exposure.reference_p_values(given.target, given.references, given.outside)
    other = exposure.reference_p_values(
        given.target + shift, given.references + shift, given.outside
    )
    # Where two distances are equal but for rounding, their order may change.
    np.testing.assert_allclose(one, other, atol=2 / given.outside.sum())


@pytest.mark.simulation
@pytest.mark.parametrize(
    "world",
    [
        simulations.World(),
        simulations.World(spreads=0.5),
        simulations.World(freedom=4),
        simulations.World(freedom=3, spreads=0.5),
        simulations.World(skew=0.5, spreads=0.5),
    ],
    ids=["equal", "unequal", "heavy", "heavy and unequal", "skew and unequal"],
)
@pytest.mark.parametrize("n_models", [2, 8])
def test_p_values_of_non_members_are_small_no_oftener_than_they_say(
    world: simulations.World,
    n_models: int,
    n_draws: int,
    tell: Callable[..., None],
) -> None:
    found = simulations.uniformity(n_draws, 1, world, n_models)
    rates = np.array(simulations.RATES)
    tell(
        f"p-values at most .01, .05, .1 of non-members, {world}, {n_models} references",
        ", ".join(f"{share:.4f}" for share in found.false.mean(axis=0)),
    )
    assert (found.false.mean(axis=0) <= rates + ERRORS * error_of(found.false)).all()
    # Nor so seldom that nothing could be found.
    assert (found.false.mean(axis=0) >= 0.6 * rates).all()
    assert (found.power.mean(axis=0) > 2 * found.false.mean(axis=0)).all()


def test_p_values_of_non_members_are_uniform_where_residuals_are_normal() -> None:
    rng = np.random.default_rng(5)
    given = simulations.models(rng, simulations.World(), 64, 6000)
    p = exposure.reference_p_values(given.target, given.references, given.outside)
    assert kstest(p[~given.member], "uniform").pvalue > 0.01


def test_dividing_by_spreads_finds_more_members_and_is_fairer_to_wide_records() -> None:
    world = simulations.World(spreads=0.5)
    plain, ours = (
        simulations.uniformity(20, 2, world, 16, plain=plain) for plain in (True, False)
    )
    assert ours.power[:, 0].mean() > 1.3 * plain.power[:, 0].mean()
    assert ours.of_wide[:, 0].mean() < 0.6 * plain.of_wide[:, 0].mean()


def test_a_better_fitted_target_does_not_make_its_non_members_suspicious() -> None:
    world = simulations.World(spreads=0.5, target_offset=1.0, target_scale=1.2)
    rates = np.array(simulations.RATES)
    aligned = simulations.uniformity(20, 3, world, 8, n_records=8000, n_known=2000)
    left = simulations.uniformity(20, 3, world, 8, n_records=8000)
    error = ERRORS * error_of(aligned.false)
    assert (aligned.false.mean(axis=0) <= rates + error).all()
    assert (left.false.mean(axis=0) > 2 * rates).all()


def test_aligning_undoes_whatever_offset_and_scale_any_model_has() -> None:
    given = drawn(6, 800)
    scale, shift = np.array([[1], [2], [0.5], [1], [1.5], [1]]), np.arange(6.0)[:, None]
    moved = simulations.Models(
        3 * given.target - 7,
        given.member,
        scale * given.references + shift,
        given.outside,
        given.spread,
    )
    one, other = (
        exposure.reference_p_values(m.target, m.references, m.outside, ~given.member)
        for m in (given, moved)
    )
    # What the last round leaves; of the p-values, not of the margins.
    assert np.nanmax(np.abs(one - other)) < 0.01
    unaligned = exposure.reference_p_values(
        moved.target, moved.references, moved.outside
    )
    assert np.nanmax(np.abs(one - unaligned)) > 0.3


def test_few_known_non_members_align_nothing() -> None:
    given = drawn(6, 800)
    few = np.zeros(800, dtype=bool)
    few[np.flatnonzero(~given.member & given.outside.any(axis=0))[:49]] = True
    arguments = given.target, given.references, given.outside
    plain = exposure.reference_p_values(*arguments)
    found = exposure.reference_p_values(*arguments, few)
    assert np.array_equal(found, plain, equal_nan=True)
    few[np.flatnonzero(~given.member & given.outside.any(axis=0))[49]] = True
    found = exposure.reference_p_values(*arguments, few)
    assert not np.array_equal(found, plain, equal_nan=True)


def test_arguments_may_be_read_only_and_stay_as_they_are() -> None:
    given = drawn(6, 200)
    known = np.arange(200) < 120
    arrays = given.target, given.references, given.outside, given.member, known
    before = [array.copy() for array in arrays]
    frozen(*arrays)
    exposure.reference_p_values(given.target, given.references, given.outside, known)
    exposure.flags(given.target, given.member, known, 0.1)
    exposure.posterior(given.target, given.member, known, 0.5)
    exposure.rank(given.target)
    for array, old in zip(arrays, before, strict=True):
        assert np.array_equal(array, old)


# Claims against the known non-members


def test_conformal_p_values_are_those_of_counting() -> None:
    found = exposure.conformal_p_values(
        np.array([0.0, 1, 2, 3, 9]), np.array([1.0, 2, 2])
    )
    assert found.tolist() == [1, 1, 3 / 4, 1 / 4, 1 / 4]


def test_without_non_members_there_is_no_evidence() -> None:
    assert exposure.conformal_p_values(np.arange(3.0), np.empty(0)).tolist() == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_scores_that_are_nan_are_refused(place: int) -> None:
    scores = [np.zeros(3), np.zeros(3)]
    scores[place][1] = np.nan
    with pytest.raises(ValueError, match="a score is NaN"):
        exposure.conformal_p_values(*scores)


def slow_flags(
    score: NDArray[np.float64],
    member: NDArray[np.bool_],
    evaluation: NDArray[np.bool_],
    rate: float,
) -> list[bool]:
    lowest = np.inf
    for threshold in score:
        false = 0.0
        for side in (True, False):
            null = [
                s
                for s, m, e in zip(score, member, evaluation, strict=True)
                if e != side and not m
            ]
            p = (1 + sum(z >= threshold for z in null)) / (1 + len(null))
            false += p * sum(evaluation == side)
        if false <= rate * sum(s >= threshold for s in score) + 1e-9:
            lowest = min(lowest, threshold)
    return [bool(s >= lowest) for s in score]


@settings(derandomize=True, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), max_size=30
    ),
    rate=st.sampled_from([0.05, 0.2, 0.3, 0.5, 0.9]),
)
def test_flags_are_those_of_the_definition(
    rows: list[tuple[int, bool, bool]], rate: float
) -> None:
    columns = np.array(rows, dtype=float).reshape(-1, 3)
    score, member, side = columns[:, 0], columns[:, 1] > 0, columns[:, 2] > 0
    found = exposure.flags(score, member, side, rate)
    assert found.tolist() == slow_flags(score, member, side, rate)


def test_a_record_is_never_flagged_before_one_of_a_higher_score() -> None:
    rng = np.random.default_rng(0)
    # The sides' own thresholds would differ: members of one lie much higher.
    side = np.arange(400) % 2 == 0
    member = rng.random(400) < 0.5
    score = rng.normal(size=400) + np.where(side, 5, 3) * member
    found = exposure.flags(score, member, side, 0.2)
    assert 50 < found.sum() < 300
    assert score[found].min() > score[~found].max()


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("separation", "members", "exposed"),
    [(3.0, 0.5, 1.0), (3.0, 0.2, 1.0), (5.0, 0.5, 0.2)],
)
def test_the_false_share_of_claims_stays_below_the_rate(
    separation: float,
    members: float,
    exposed: float,
    n_draws: int,
    tell: Callable[..., None],
) -> None:
    rate = 0.2
    out = simulations.discoveries(
        n_draws, 4, separation, rate, members=members, exposed=exposed
    )
    most = rate * (1 - members) + ERRORS * error_of(out.false_share)
    tell(
        f"false among flagged at rate .2, members {members}, separation {separation}",
        ", ".join(f"{share:.3f}" for share in out.false_share.mean(axis=0)),
    )
    assert (out.false_share.mean(axis=0) <= most).all()
    assert (out.power.mean(axis=0) > 0.5 * exposed).all()


def test_pure_noise_is_seldom_flagged() -> None:
    rate = 0.1
    out = simulations.discoveries(200, 5, 0.0, rate)
    # All records are non-members as far as scores tell, so every claim is false.
    assert out.any.mean() <= rate


# The probability of being a member


def test_n_members_above_all_others_have_odds_of_n_to_one() -> None:
    member = np.arange(40) >= 20
    score = np.where(member, 1e5, -1e5)
    fresh = np.array([-2e5, -1e5, 2e5])
    found = exposure.posterior(
        np.concatenate((score, fresh)),
        np.concatenate((member, [False] * 3)),
        np.arange(43) < 40,
        0.5,
    )
    assert found[40:] == pytest.approx([1 / 21, 1 / 21, 20 / 21], rel=1e-12)
    assert found[:40] == pytest.approx(np.where(member, 20 / 21, 1 / 21), rel=1e-12)


@pytest.mark.parametrize("prior", [0.01, 0.5, 0.7])
@pytest.mark.parametrize("n_members", [3, 20])
def test_scores_that_are_all_alike_leave_the_prior(
    prior: float, n_members: int
) -> None:
    found = exposure.posterior(
        np.zeros(50), np.arange(50) < n_members, np.arange(50) < 30, prior
    )
    np.testing.assert_allclose(found, prior, rtol=1e-12)


def test_the_prior_moves_the_odds_by_its_own() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(300) < 0.3
    score, known = rng.normal(size=300) + member, np.arange(300) < 200
    even, other = (exposure.posterior(score, member, known, p) for p in (0.5, 0.9))
    np.testing.assert_allclose(logit(other), logit(even) + np.log(9), rtol=1e-9)


def test_the_number_of_known_members_does_not_move_the_odds() -> None:
    # The same records, with every member known or but a tenth of them.
    rng = np.random.default_rng(1)
    score, member = rng.normal(size=4000), rng.random(4000) < 0.5
    score += 1.5 * member
    fresh = np.linspace(-1, 3, 50)
    found = []
    for kept in (np.ones(4000, bool), ~member | (rng.random(4000) < 0.1)):
        n = int(kept.sum())
        found.append(
            exposure.posterior(
                np.concatenate((score[kept], fresh)),
                np.concatenate((member[kept], np.zeros(50, bool))),
                np.arange(n + 50) < n,
                0.5,
            )[n:]
        )
    assert np.abs(found[0] - found[1]).mean() < 0.06
    truth = expit(1.5 * fresh - 1.5**2 / 2)
    assert np.abs(found[1] - truth).mean() < 0.06


@settings(derandomize=True, deadline=None)
@given(
    scores=st.lists(
        st.one_of(st.integers(-3, 3), st.floats(-1e6, 1e6)), min_size=14, max_size=40
    ),
    seed=st.integers(0, 99),
)
def test_posteriors_are_inside_and_rise_with_the_score(
    scores: list[float], seed: int
) -> None:
    score = np.array(scores, dtype=float)
    member = np.random.default_rng(seed).permutation(len(score)) % 2 == 0
    known = np.zeros(len(score), dtype=bool)
    for side in (member, ~member):
        known[np.flatnonzero(side)[:5]] = True
    found = exposure.posterior(score, member, known, 0.5)
    # Of five records, and the one added, at the very most.
    assert (found >= 1 / 7).all()
    assert (found <= 6 / 7).all()
    order = np.argsort(score[~known], kind="stable")
    assert (np.diff(found[~known][order]) >= 0).all()
    assert (np.diff(found[np.argsort(score, kind="stable")]) >= 0).all()


def test_records_that_are_not_known_do_not_change_the_others() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(60) < 0.5
    score, known = rng.normal(size=60) + member, np.arange(60) < 40
    before = exposure.posterior(score, member, known, 0.5)
    moved = score.copy()
    moved[50] = 9.0
    after = exposure.posterior(moved, member, known, 0.5)
    others = np.arange(60) != 50
    assert np.array_equal(before[others], after[others])


def test_memberships_that_are_not_known_are_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    member, known = rng.random(80) < 0.5, np.arange(80) < 50
    score = rng.normal(size=80) + member
    one = exposure.posterior(score, member, known, 0.5)
    other = exposure.posterior(score, member ^ ~known, known, 0.5)
    assert np.array_equal(one, other)


def test_heavy_tails_change_nothing_but_what_lies_between_known_scores() -> None:
    # Ties of known and unknown records, so that nothing is interpolated.
    rng = np.random.default_rng(0)
    member = rng.random(400) < 0.5
    score = np.round(rng.normal(size=400) + member, 1)
    known = np.arange(400) < 300
    known |= ~np.isin(score, score[known])
    plain = exposure.posterior(score, member, known, 0.5)
    heavy = exposure.posterior(np.sinh(8 * score), member, known, 0.5)
    np.testing.assert_allclose(heavy[~known], plain[~known], rtol=1e-12)


@pytest.mark.parametrize(
    ("separation", "members", "n_known", "most"),
    [
        (1.0, 0.5, 1000, 0.05),
        (1.0, 0.2, 1000, 0.04),
        (3.0, 0.5, 1000, 0.03),
        (1.0, 0.5, 100, 0.10),
        (1.0, 0.5, 10_000, 0.02),
    ],
)
def test_posteriors_are_near_the_true_ones(
    separation: float, members: float, n_known: int, most: float
) -> None:
    # So many that the known records, too, tell Brier's score well.
    n_draws = max(10, 20_000 // n_known)
    out = simulations.calibration(n_draws, 6, separation, n_known, members=members)
    # For records not known and for known ones alike.
    assert (out.error.mean(axis=0) < most).all()
    assert (np.abs(out.bias.mean(axis=0)) < 0.02).all()
    assert (out.brier.mean(axis=0) < 1.06 * out.best.mean(axis=0)).all()


def test_few_known_records_are_calibrated_though_roughly() -> None:
    out = simulations.calibration(30, 7, 2.0, 10)
    # The prior alone has a Brier score of 1/4.
    assert (out.brier.mean(axis=0) < 0.22).all()
    assert (np.abs(out.bias.mean(axis=0)) < 0.05).all()


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, np.nan])
def test_a_prior_that_is_none_is_refused(prior: float) -> None:
    member = np.arange(8) < 4
    with pytest.raises(ValueError, match=rf"must be in \(0, 1\), got {prior}"):
        exposure.posterior(np.zeros(8), member, np.ones(8, bool), prior)


def test_too_few_known_records_are_refused() -> None:
    member = np.arange(8) < 1
    with pytest.raises(ValueError, match="needs 2 of either side, got 1 and 7"):
        exposure.posterior(np.zeros(8), member, np.ones(8, bool), 0.5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    score = np.array([0.0, 1, 2, wrong])
    with pytest.raises(ValueError, match="a score is not finite"):
        exposure.posterior(score, np.arange(4) < 2, np.ones(4, bool), 0.5)


def test_ranks_begin_at_the_highest_score_and_ties_share_the_best() -> None:
    found = exposure.rank(np.array([0.5, 2.0, 2.0, -np.inf, 1.0]))
    assert found.tolist() == [4, 1, 1, 5, 3]
    assert found.dtype == np.int64


def test_the_truth_that_posteriors_are_held_against_is_bayes_rule() -> None:
    # The simulation's closed form, with densities written out.
    score, members, found, separation = 0.7, 0.3, 0.4, 2.0
    inside = found * norm.pdf(score, separation) + (1 - found) * norm.pdf(score)
    expected = members * inside / (members * inside + (1 - members) * norm.pdf(score))
    assert simulations.truth(
        np.array([score]), separation, members, found
    ) == pytest.approx(expected)
