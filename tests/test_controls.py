import itertools
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import fisher_exact, mannwhitneyu

from pipeline.cache.summaries import Accuracies, Contradicted
from pipeline.findings import controls
from pipeline.findings.schema import Labels, Range, Resemblance, Target
from pipeline.statistics import power


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


def compared(
    accuracies: tuple[float, float],
    rates: list[Accuracies],
    n_records: float = 1000,
) -> Resemblance:
    control = controls.resemblance(
        target(*accuracies), rates, (int(n_records),) * 2, (n_records,) * 2
    )
    assert control is not None
    return control


def around(train: float, test: float, spread: float, n: int) -> list[Accuracies]:
    """Return references with these means and this standard deviation."""
    z = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    z = z / z.std(ddof=1) * spread if n > 1 else z
    return references(*((train + each, test + each) for each in z))


ALIKE = references((0.97, 0.61), (0.99, 0.58), (0.98, 0.59))


def test_references_like_the_target_pass() -> None:
    control = compared((0.98, 0.60), ALIKE)
    assert control.passed
    assert control.train_accuracy is not None
    assert control.train_accuracy.references == pytest.approx(0.98)
    assert control.train_accuracy.spread == pytest.approx(0.01)


@pytest.mark.parametrize(("train", "test"), [(0.98, 0.8), (0.7, 0.6)])
def test_references_that_fit_otherwise_are_told(train: float, test: float) -> None:
    control = compared((train, test), ALIKE)
    assert control.passed is False
    odd = "test_accuracy" if train == 0.98 else "train_accuracy"
    names = ("train_accuracy", "test_accuracy")
    assert [name for name in names if not getattr(control, name).passed] == [odd]


def test_what_is_allowed_is_slack_and_three_errors() -> None:
    pair = references((1.0, 0.4), (1.0, 0.6))
    control = controls.resemblance(target(1.0, 0.5), pair, (900, 400), (800, 500))
    assert control is not None
    assert control.train_accuracy is not None
    assert control.test_accuracy is not None
    assert control.train_accuracy.allowed == pytest.approx(0.05)
    # Of the target, of a reference, and of the mean of two with a variance of .02.
    error = (0.25 / 400 + 0.25 / 500 + 0.02 / 2) ** 0.5
    assert control.test_accuracy.allowed == pytest.approx(0.05 + 2.58 * error)
    assert control.test_accuracy.passed is None
    assert control.test_accuracy.reason == "too few references to tell"


@pytest.mark.parametrize("spread", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("n_references", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("n_records", [20, 100, 400, 2500, 20_000])
def test_references_that_learn_much_less_never_pass(
    spread: float, n_references: int, n_records: int
) -> None:
    unlike = around(0.285, 0.225, spread, n_references)
    control = compared((0.448, 0.293), unlike, n_records)
    assert control.passed is not True
    if n_records >= 400 and (n_references >= 4 or spread <= 0.02):
        assert control.passed is False
    close = around(0.403, 0.279, spread, n_references)
    assert compared((0.448, 0.293), close, n_records).passed is not False


def test_more_records_and_references_never_allow_more() -> None:
    def allowed(n_references: int, n_records: int) -> float:
        control = compared((0.4, 0.3), around(0.4, 0.3, 0.03, n_references), n_records)
        assert control.train_accuracy is not None
        return control.train_accuracy.allowed

    table = np.array(
        [[allowed(n, records) for n in (2, 4, 8, 16)] for records in (100, 400, 20_000)]
    )
    assert (np.diff(table, axis=0) < 0).all()
    assert (np.diff(table, axis=1) < 0).all()
    assert table[-1, -1] < 0.08


def test_a_target_as_odd_as_a_reference_may_be_is_not_held_against_them() -> None:
    # Two deviations from the mean: no references of this recipe could tell.
    wide = around(0.5, 0.5, 0.1, 100)
    control = compared((0.7, 0.5), wide, 10_000)
    assert control.train_accuracy is not None
    assert (control.passed, control.train_accuracy.passed) == (None, None)
    assert control.train_accuracy.reason == (
        "the references differ too much from one another to tell"
    )


def test_few_records_do_not_pass_references() -> None:
    control = compared((0.5, 0.5), around(0.5, 0.5, 0.001, 8), 40)
    assert control.test_accuracy is not None
    assert control.passed is None
    assert control.test_accuracy.reason == "too few records to tell"


def test_sound_references_practically_never_fail_to_resemble_the_target() -> None:
    rng = np.random.default_rng(4)
    failed = 0
    for _ in range(300):
        # Recipes whose accuracy varies by two points from one training to the next.
        rates = np.clip(rng.normal([0.6, 0.4], 0.02, size=(9, 2)), 0, 1)
        seen = rng.binomial(500, rates) / 500
        alike = references(*map(tuple, seen[1:].tolist()))
        failed += compared(tuple(seen[0].tolist()), alike, 500).passed is False
    assert failed <= 3


def test_no_references_are_not_compared() -> None:
    audited = target(1.0, 0.5)
    counts = (1000, 1000), (1000.0, 1000.0)
    assert controls.resemblance(audited, [], *counts) is None
    nothing = controls.resemblance(audited, references((None, None)), *counts)
    assert nothing == Resemblance(passed=None, train_accuracy=None, test_accuracy=None)
    half = controls.resemblance(audited, references((1.0, None)), *counts)
    assert half is not None
    assert half.passed
    assert half.test_accuracy is None
    assert half.train_accuracy is not None
    assert half.train_accuracy.spread is None


def labels(
    correct: NDArray[np.bool_], label: NDArray[np.int64], within_classes: float = 1.0
) -> Labels:
    nothing = Contradicted(records=0, of=0, accuracy_on_others=None)
    return controls.labels(correct, label, within_classes, nothing)


def guesses(
    rng: np.random.Generator, label: NDArray[np.int64], accuracy: float, n_classes: int
) -> NDArray[np.int64]:
    """Return outputs that are right so often, and else any class."""
    anything = rng.integers(0, n_classes, len(label))
    return np.where(rng.random(len(label)) < accuracy, label, anything)


@pytest.mark.parametrize(
    ("n", "n_classes", "accuracy"),
    [(100, 10, 0.9), (60, 2, 0.6), (1000, 100, 0.03), (5000, 1000, 0.02)],
)
def test_labels_fit_a_target_that_learned_something(
    n: int, n_classes: int, accuracy: float
) -> None:
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(50):
        label = rng.integers(0, n_classes, n)
        correct = guesses(rng, label, accuracy, n_classes) == label
        failed += not labels(correct, label).passed
    assert failed <= 2


@pytest.mark.parametrize(
    ("n", "n_classes", "accuracy"),
    [(100, 10, 1.0), (400, 2, 0.9), (1000, 100, 1.0), (880, 20, 0.6)],
)
def test_labels_in_another_order_do_not_fit(
    n: int, n_classes: int, accuracy: float
) -> None:
    rng = np.random.default_rng(1)
    passed = 0
    for _ in range(200):
        # Classes of unequal size, and outputs that prefer some classes.
        share = rng.dirichlet(np.full(n_classes, 5.0))
        label = rng.choice(n_classes, n, p=share)
        correct = rng.permutation(guesses(rng, label, accuracy, n_classes)) == label
        passed += labels(correct, label).passed is True
    # At most 1 % of 200, and three standard deviations and a half.
    assert passed <= 7


def test_a_weak_target_on_few_classes_out_of_many_passes() -> None:
    # Three of a hundred classes are audited, and most outputs name another class.
    label = np.arange(600) % 3
    predicted = np.where(np.arange(600) % 10 < 1, label, 50)
    predicted[::7] = label[::-1][::7]  # names of the three classes, at random
    correct = predicted == label
    assert correct.mean() < 1 / 4
    within = float(np.isin(predicted, label).mean())
    control = labels(correct, label, within)
    assert control.within_classes == within
    assert control.recalls is not None
    assert control.recalls < 1
    assert control.passed
    assert labels(correct, label).passed is False
    nowhere = labels(np.zeros(600, dtype=bool), label, 0.0)
    assert (nowhere.passed, nowhere.p_value) == (False, 1.0)


def test_shuffled_labels_of_few_classes_out_of_many_do_not_fit() -> None:
    rng = np.random.default_rng(12)
    passed = 0
    for _ in range(300):
        label = rng.integers(0, 4, 400)
        predicted = np.where(rng.random(400) < 0.3, label, rng.integers(0, 40, 400))
        label = rng.permutation(label)
        within = float(np.isin(predicted, label).mean())
        passed += labels(predicted == label, label, within).passed is True
    # At most 1 % of 300, and three standard deviations.
    assert passed <= 8


def test_a_constant_output_fits_no_labels() -> None:
    label = np.arange(500) % 100 // 90  # one of the classes has nine in ten
    control = labels(label == 0, label)
    assert (control.passed, control.recalls, control.p_value) == (False, 1.0, 1.0)
    assert control.accuracy == 0.9


def test_labels_fit_a_target_that_gives_up_accuracy_for_a_rare_class() -> None:
    # Right on fewer than the commonest class has, and far better than any constant.
    label = np.arange(1000) % 100 // 95
    correct = np.where(label == 0, np.arange(1000) % 10 > 0, np.arange(1000) % 5 > 0)
    control = labels(correct, label)
    assert control.accuracy is not None
    assert control.accuracy < 0.95
    assert control.passed


def test_two_classes_whose_numbers_are_exchanged_do_not_fit() -> None:
    label = np.arange(400) % 2
    control = labels(np.arange(400) % 20 == 0, label)
    assert (control.passed, control.p_value) == (False, 1.0)


def test_the_p_value_of_labels_is_that_of_the_sum_of_recalls() -> None:
    label = np.repeat([0, 1, 2], (10, 20, 50))
    correct = np.concatenate([np.arange(k) < c for k, c in ((10, 6), (20, 8), (50, 5))])
    # Recalls .6, .4, .1; scaled to 1 they are .6/1.1, .4/1.1, .1/1.1.
    q = np.array([0.6, 0.4, 0.1]) / 1.1
    deviation = (q * (1 - q) / [10, 20, 50]).sum() ** 0.5
    control = labels(correct, label)
    assert control.recalls == pytest.approx(1.1)
    assert control.p_value == pytest.approx(1 - NormalDist().cdf(0.1 / deviation))
    assert control.classes == 3


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ([], "the members that are no canaries have 0 classes"),
        ([3] * 500, "the members that are no canaries have 1 classes"),
        ([0, 0, 1, 1], "4 members are too few"),
    ],
)
def test_labels_of_which_nothing_can_be_said_are_not_judged(
    label: list[int], reason: str
) -> None:
    control = labels(np.ones(len(label), bool), np.array(label, dtype=int))
    assert (control.passed, control.p_value, control.reason) == (None, None, reason)


def audit_of_sides(
    rng: np.random.Generator, gap: float, n: int = 400
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Return what is right, members and loss scores; members are better by `gap`."""
    member = rng.permutation(n) < n // 2
    score = rng.normal(size=n) + gap * member
    return score > 0, member, score


def test_sides_that_are_exchanged_are_noticed() -> None:
    rng = np.random.default_rng(2)
    correct, member, score = audit_of_sides(rng, 1.0)
    for loss in (score, None):
        assert controls.sides(correct, member, loss).passed
        control = controls.sides(correct, ~member, loss)
        assert control.passed is False
        assert control.members_accuracy == correct[~member].mean()
        assert control.nonmembers_accuracy == correct[member].mean()
        assert (control.loss_auc is None) is (loss is None)


def test_sides_of_a_target_that_leaks_nothing_practically_never_fail() -> None:
    rng = np.random.default_rng(3)
    drawn = [controls.sides(*audit_of_sides(rng, 0.0)) for _ in range(500)]
    assert sum(control.passed is False for control in drawn) <= 3
    # As for any p-value: at most 5 % of 500, and three standard deviations.
    assert sum(control.p_value <= 0.05 for control in drawn if control.p_value) <= 39


def test_the_p_value_of_sides_is_fishers_or_mann_and_whitneys() -> None:
    rng = np.random.default_rng(5)
    correct, member, score = audit_of_sides(rng, -0.2, 60)
    table = [
        [(correct & member).sum(), (~correct & member).sum()],
        [(correct & ~member).sum(), (~correct & ~member).sum()],
    ]
    fisher = fisher_exact(table, alternative="less").pvalue
    alone = controls.sides(correct, member, None)
    assert alone.p_value == pytest.approx(fisher)
    order = mannwhitneyu(score[member], score[~member], alternative="less").pvalue
    both = controls.sides(correct, member, score)
    assert both.p_value == pytest.approx(min(1, 2 * min(fisher, order)), rel=0.02)


def test_one_side_alone_is_not_compared() -> None:
    control = controls.sides(np.ones(9, bool), np.ones(9, bool), None)
    assert control.passed is None
    assert control.reason == "without canaries there are records of one side only"


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


def sides(n_members: int, n_nonmembers: int) -> NDArray[np.bool_]:
    return np.arange(n_members + n_nonmembers) < n_members


def test_alike_records_of_a_unit_show_no_smaller_leak() -> None:
    alone = controls.resolution(sides(500, 440), (), 0.04)
    member, unit = np.tile(sides(500, 440), 3), np.tile(np.arange(940), 3)
    by_unit = controls.resolution(member, (), 0.04, unit)
    assert by_unit.smallest_auc == alone.smallest_auc
    assert by_unit.smallest_tpr_at_fpr == alone.smallest_tpr_at_fpr
    assert by_unit.nonmembers == 3 * 440


def test_the_resolution_is_one_non_member() -> None:
    control = controls.resolution(sides(500, 440), (0.1, 0.01, 0.001), 0.04)
    assert control.smallest_fpr == 1 / 440
    assert control.unmeasured == (0.001,)
    assert controls.resolution(sides(500, 1000), (0.001,), 0.04).unmeasured == ()


def test_the_smallest_leaks_are_those_of_either_look_at_half_of_the_level() -> None:
    control = controls.resolution(sides(500, 440), (), 0.04)
    assert (control.level, control.power) == (0.04, 0.8)
    assert control.smallest_auc == power.smallest_auc(500, 440, 0.02, 0.8)
    assert control.smallest_tpr_at_fpr == {
        "0.01": power.smallest_tpr(500, 440, 0.02, 0.8)
    }
