import itertools
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cache.summaries import Accuracies
from pipeline.findings import controls
from pipeline.findings.schema import Range, Resemblance, Target


def test_shuffled_memberships_keep_the_numbers_of_each_side() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(300) < 0.4
    place = rng.permutation(300)
    train, judged = place < 150, (place >= 150) & (place < 250)
    found = controls.shuffled(member, (train, judged), seed=1)
    for side in (train, judged):
        assert found[side].sum() == member[side].sum()
        assert (found[side] != member[side]).any()
    rest = ~train & ~judged
    assert np.array_equal(found[rest], member[rest])
    again, other = (controls.shuffled(member, (train, judged), s) for s in (1, 2))
    assert np.array_equal(found, again)
    assert not np.array_equal(found, other)


def test_sides_of_the_same_numbers_are_shuffled_in_orders_of_their_own() -> None:
    member = np.arange(200) % 100 < 50
    train = np.arange(200) < 100
    found = controls.shuffled(member, (train, ~train), seed=1)
    assert not np.array_equal(found[train], found[~train])


def test_the_null_control_passes_on_noise_at_its_level() -> None:
    rng = np.random.default_rng(1)
    member = np.arange(200) < 100
    failed = 0
    for _ in range(200):
        # Ten attacks that are much alike, as attacks on one model are.
        common = rng.normal(size=200)
        scores = {str(i): common + rng.normal(size=200) for i in range(10)}
        failed += not controls.null(scores, rng.permutation(member), ()).passed
    # At most 1 % of 200, and three standard deviations.
    assert failed <= 6


def test_the_null_control_fails_where_scores_know_the_memberships() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(200) < 100
    scores = {"fair": rng.normal(size=200), "knows": rng.normal(size=200) + 2 * member}
    for sign in (1, -1):
        turned = {name: sign * score for name, score in scores.items()}
        control = controls.null(turned, member, ["knows"])
        assert not control.passed
        assert control.p_value == pytest.approx(2 * control.attacks["knows"].p_value)
        assert control.refitted == ("knows",)


def target(train: float, test: float) -> Target:
    return Target(train_accuracy=train, test_accuracy=test, checkpoint_sha256=None)


def references(*pairs: tuple[float | None, float | None]) -> list[Accuracies]:
    return [Accuracies(train_accuracy=a, test_accuracy=b) for a, b in pairs]


ALIKE = references((0.97, 0.61), (0.99, 0.58), (0.98, 0.59))


def test_references_like_the_target_pass() -> None:
    control = controls.resemblance(target(0.98, 0.60), ALIKE, 1000, 1000)
    assert control is not None
    assert control.passed
    assert control.train_accuracy is not None
    assert control.train_accuracy.references == 0.98


@pytest.mark.parametrize(("train", "test"), [(0.98, 0.8), (0.7, 0.6)])
def test_references_that_fit_otherwise_are_told(train: float, test: float) -> None:
    control = controls.resemblance(target(train, test), ALIKE, 1000, 1000)
    assert control is not None
    assert not control.passed
    odd = "test_accuracy" if train == 0.98 else "train_accuracy"
    names = ("train_accuracy", "test_accuracy")
    assert [name for name in names if not getattr(control, name).passed] == [odd]


def test_what_chance_and_the_references_spread_allow_is_added_to_the_slack() -> None:
    pair = references((1.0, 0.4), (1.0, 0.6))
    control = controls.resemblance(target(1.0, 0.5), pair, 100, 25)
    assert control is not None
    assert control.train_accuracy is not None
    assert control.test_accuracy is not None
    assert control.train_accuracy.allowed == pytest.approx(0.05)
    # A spread of sqrt(.02), and sqrt(.5 * .5 / 25) by chance.
    expected = 0.05 + 3 * (0.02 + 0.01) ** 0.5
    assert control.test_accuracy.allowed == pytest.approx(expected)


def test_no_references_are_not_compared() -> None:
    audited = target(1.0, 0.5)
    assert controls.resemblance(audited, [], 1000, 1000) is None
    nothing = controls.resemblance(audited, references((None, None)), 1000, 1000)
    assert nothing == Resemblance(passed=None, train_accuracy=None, test_accuracy=None)
    half = controls.resemblance(audited, references((1.0, None)), 1000, 1000)
    assert half is not None
    assert half.passed
    assert half.test_accuracy is None


def two_sided(n: int, n_members: int, n_trained: int, n_both: int) -> Fraction:
    """Return twice the smaller tail, over all sets that a reference may be trained on.

    The target's members are the first records.
    """
    both = [
        sum(record < n_members for record in chosen)
        for chosen in itertools.combinations(range(n), n_trained)
    ]
    below = Fraction(sum(count <= n_both for count in both), len(both))
    above = Fraction(sum(count >= n_both for count in both), len(both))
    return min(2 * min(below, above), Fraction(1))


@pytest.mark.parametrize("n", [1, 5, 8])
def test_independence_is_judged_by_the_exact_law_of_random_subsets(n: int) -> None:
    for n_members in range(n + 1):
        member = np.arange(n) < n_members
        for n_trained in range(n + 1):
            # Every number of common records that there can be.
            for n_both in range(
                max(0, n_members + n_trained - n), min(n_members, n_trained) + 1
            ):
                trained = np.zeros((1, n), dtype=bool)
                trained[0, :n_both] = True
                trained[0, n_members : n_members + n_trained - n_both] = True
                control = controls.independence(trained, member, ["only"])
                assert control is not None
                expected = two_sided(n, n_members, n_trained, n_both)
                assert control.p_value == pytest.approx(float(expected), rel=1e-9)
                agreement = float((trained[0] == member).mean())
                assert control.agreement == Range(lowest=agreement, highest=agreement)


def overlapping(n: int, share: float) -> NDArray[np.bool_]:
    """Return halves of 2n records that agree with the first n on a share of them."""
    kept = round(share * n)
    return np.concatenate((np.arange(n) < kept, np.arange(n) >= kept))


@pytest.mark.parametrize("share", [0.892, 1.0])
def test_two_draws_from_one_stream_are_not_independent(share: float) -> None:
    # With members drawn by the stream of the halves, a pair agrees and its twin does
    # the opposite.
    member = np.arange(1796) < 898
    rng = np.random.default_rng(0)
    fair = rng.permuted(np.tile(member, (6, 1)), axis=1)
    trained = np.stack([*fair, overlapping(898, share), ~overlapping(898, share)])
    names = [f"reference-{i:03d}" for i in range(8)]
    control = controls.independence(trained, member, names)
    assert control is not None
    assert not control.passed
    assert control.p_value < 1e-200
    assert [model.reference for model in control.agreeing] == names[6:]
    agreement = [model.agreement for model in control.agreeing]
    assert agreement == pytest.approx([share, 1 - share], abs=1e-3)
    assert control.agreement == Range(lowest=agreement[1], highest=agreement[0])
    alone = controls.independence(fair, member, names[:6])
    assert alone is not None
    assert alone.passed
    assert alone.agreeing == ()


def test_the_p_value_of_independence_is_corrected_for_the_references() -> None:
    member = np.arange(400) < 200
    pair = np.stack([overlapping(200, 0.6), ~overlapping(200, 0.6)])
    several = np.concatenate([pair, pair, pair])
    one_pair, three_pairs = (
        controls.independence(trained, member, list(map(str, range(len(trained)))))
        for trained in (pair, several)
    )
    assert one_pair is not None
    assert three_pairs is not None
    assert three_pairs.p_value == pytest.approx(3 * one_pair.p_value)
    assert three_pairs.p_value < 0.01


def test_sound_references_practically_never_fail_independence() -> None:
    rng = np.random.default_rng(3)
    member = np.arange(200) < 80
    p = []
    for _ in range(500):
        half = rng.random((4, 200)) < rng.uniform(0.2, 0.8, (4, 1))
        trained = np.concatenate([half, ~half])
        control = controls.independence(trained, member, list("abcdefgh"))
        assert control is not None
        assert control.passed
        p.append(control.p_value)
    # As for any p-value: at most 5 % of 500, and three standard deviations.
    assert np.sum(np.array(p) <= 0.05) <= 39


def test_without_references_nothing_is_independent_of_the_target() -> None:
    member = np.arange(6) < 3
    assert controls.independence(np.empty((0, 6), dtype=bool), member, []) is None


def test_a_reference_of_all_records_or_of_none_says_nothing() -> None:
    member = np.arange(60) < 20
    trained = np.stack([np.ones(60, dtype=bool), np.zeros(60, dtype=bool)])
    control = controls.independence(trained, member, ["all", "none"])
    assert control is not None
    assert (control.passed, control.p_value) == (True, 1.0)
    assert control.agreement == Range(lowest=1 / 3, highest=2 / 3)


def test_the_resolution_is_one_non_member() -> None:
    control = controls.resolution(440, (0.1, 0.01, 0.001))
    assert control.smallest_fpr == 1 / 440
    assert control.unmeasured == (0.001,)
    assert controls.resolution(1000, (0.001,)).unmeasured == ()
