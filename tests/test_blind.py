import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, mannwhitneyu
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from pipeline.cache import arrays, documents
from pipeline.cache.kinds import Records
from pipeline.cache.stamps import Job
from pipeline.config import Blind as Settings
from pipeline.config import Data, Features
from pipeline.data import preprocessing
from pipeline.errors import AuditError
from pipeline.findings import blind
from pipeline.findings.schema import Blind, Difference
from pipeline.statistics import metrics
from pipeline.statistics.corrections import holm
from stages import blind as stage
from tests import jobs
from tests import simulations_blind as simulations

RNG = np.random.default_rng(0)
IMAGES = simulations.images(30, RNG)


def statistic(found: blind.Description, name: str) -> NDArray[np.float64]:
    return found.statistics[:, found.names.index(name)]


# Descriptions, against loops over the pixels of one image


def naive(image: NDArray[np.uint8]) -> dict[str, float]:
    """Return the statistics of a (height, width, n_channels) image, pixel by pixel."""
    height, width, n_channels = image.shape
    pixels = [float(v) for v in image.ravel()]
    places = [(y, x) for y in range(height) for x in range(width)]

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    def deviation(values: list[float]) -> float:
        return math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))

    def of(chosen: list[tuple[int, int]]) -> list[float]:
        return [float(image[y, x, c]) for y, x in chosen for c in range(n_channels)]

    def steps(dy: int, dx: int) -> float:
        inside = [(y, x) for y, x in places if y + dy < height and x + dx < width]
        moved = of([(y + dy, x + dx) for y, x in inside])
        return mean([(a - b) ** 2 for a, b in zip(of(inside), moved, strict=True)])

    edges = [
        [p for p in places if p[0] == 0],
        [p for p in places if p[0] == height - 1],
        [p for p in places if p[1] == 0],
        [p for p in places if p[1] == width - 1],
    ]
    border = [v for edge in edges for v in of(edge)]
    mirrored = of([(y, width - 1 - x) for y, x in places])
    channels = [[float(v) for v in image[:, :, c].ravel()] for c in range(n_channels)]
    return {
        "mean": mean(pixels),
        "standard deviation": deviation(pixels),
        "lowest value": min(pixels),
        "highest value": max(pixels),
        "share at the lowest value": pixels.count(min(pixels)) / len(pixels),
        "share at the highest value": pixels.count(max(pixels)) / len(pixels),
        "distinct values": float(len(set(pixels))),
        **{f"mean of channel {c}": mean(v) for c, v in enumerate(channels)},
        **{
            f"standard deviation of channel {c}": deviation(v)
            for c, v in enumerate(channels)
        },
        "vertical sharpness": steps(1, 0),
        "horizontal sharpness": steps(0, 1),
        "top less bottom": mean(of([p for p in places if p[0] < height // 2]))
        - mean(of([p for p in places if p[0] >= (height + 1) // 2])),
        "left less right": mean(of([p for p in places if p[1] < width // 2]))
        - mean(of([p for p in places if p[1] >= (width + 1) // 2])),
        "mirror difference": mean(
            [abs(a - b) for a, b in zip(of(places), mirrored, strict=True)]
        ),
        "mean of the border": mean(border),
        "share of zeros in the border": border.count(0.0) / len(border),
        "edges of one colour": float(
            sum(len({tuple(image[p]) for p in edge}) == 1 for edge in edges)
        ),
    }


def odd_images() -> NDArray[np.uint8]:
    """Return images of an odd height, one black, one with a black border."""
    shown = RNG.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)
    shown[0] = 0
    shown[1, 0] = shown[1, :, 0] = 0
    return shown


@pytest.mark.parametrize("form", ["bytes", "floats", "channels first"])
def test_the_statistics_of_images_are_those_of_their_pixels(form: str) -> None:
    shown = odd_images()
    block = shown if form == "bytes" else shown.astype(np.float32)
    if form == "channels first":
        block = block.transpose(0, 3, 1, 2)
    found = blind.description(block)
    expected = [naive(image) for image in shown]
    assert set(found.names) == set(expected[0])
    for name in found.names:
        own = [one[name] for one in expected]
        assert statistic(found, name) == pytest.approx(own, abs=1e-9), name


def test_the_statistics_of_vectors_are_those_of_their_numbers() -> None:
    block = RNG.normal(size=(5, 7)).astype(np.float32)
    block[0] = [0, -0.0, 1, 1, 2, 0, 5]
    found = blind.description(block)
    assert statistic(found, "share of zeros")[0] == pytest.approx(3 / 7)
    assert statistic(found, "distinct values")[0] == 4
    assert statistic(found, "roughness")[0] == pytest.approx((1 + 1 + 4 + 25) / 6)
    assert np.array_equal(statistic(found, "number 3"), block[:, 3])
    assert np.array_equal(found.thumbnail, block)


def test_a_byte_is_its_own_bucket() -> None:
    found = blind.description(IMAGES)
    assert found.value_names[25] == "share of value 25"
    for value in range(256):
        share = np.equal(IMAGES, value).mean(axis=(1, 2, 3))
        assert found.values[:, value] == pytest.approx(share, abs=1e-6)


def test_equal_floats_share_a_bucket_and_scaled_ones_do_not() -> None:
    one = np.linspace(0.1, 1, 200, dtype=np.float32)
    found = blind.description(np.stack([one, one[::-1], one * np.float32(1.02)]))
    assert np.array_equal(found.values[0], found.values[1])
    assert found.values.sum(axis=1) == pytest.approx(np.ones(3))
    # Two sets of 200 in 256 buckets at random have about 0.5 in common.
    common = np.minimum(found.values[0], found.values[2]).sum()
    assert common < 0.7
    # 200 thrown into 256 buckets leave 256 (1 - 1 / 256)^200, which is 117, empty.
    assert 90 < (found.values[0] == 0).sum() < 145


def test_the_sign_of_a_zero_changes_nothing() -> None:
    plus = np.zeros((2, 6), dtype=np.float32)
    one, other = blind.description(plus), blind.description(-plus)
    assert np.array_equal(one.values, other.values)


def test_a_thumbnail_holds_the_means_of_its_parts() -> None:
    shown = RNG.integers(0, 256, (3, 16, 24, 3)).astype(np.uint8)
    found = blind.description(shown).thumbnail.reshape(3, 8, 8, 3)
    for y in range(8):
        for x in range(8):
            part = shown[:, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3]
            assert found[:, y, x] == pytest.approx(part.mean(axis=(1, 2)), rel=1e-6)


@pytest.mark.parametrize(
    ("shape", "n_pixels"),
    [
        ((), 1),
        ((1,), 1),
        ((500,), 64),
        ((9, 10), 64),
        ((1, 8, 8), 64),
        ((40, 8, 8), 64 * 4),
        ((2, 3, 4, 5), 64),
        ((1, 1, 3), 3),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_records_of_any_shape_are_described(
    shape: tuple[int, ...], n_pixels: int, kind: type
) -> None:
    block = RNG.integers(0, 200, (60, *shape)).astype(kind)
    found = blind.description(block)
    assert found.statistics.shape == (60, len(found.names))
    assert len(set(found.names)) == len(found.names)
    assert found.thumbnail.shape == (60, n_pixels)
    assert np.isfinite(found.statistics).all()
    outcome = blind.baseline(found, np.arange(60) % 2, simulations.half(60, RNG), 1)
    assert outcome.auc is not None


def test_blocks_describe_as_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = blind.description(IMAGES)
    blocks = blind.joined(
        [blind.description(IMAGES[:7]), blind.description(IMAGES[7:])]
    )
    monkeypatch.setattr(blind, "BLOCK_VALUES", 500)
    for found in (blocks, blind.description(IMAGES)):
        assert found.names == whole.names
        for name in ("statistics", "values", "thumbnail"):
            assert np.array_equal(getattr(found, name), getattr(whole, name))


def test_descriptions_leave_their_images_alone() -> None:
    for kind in (np.uint8, np.float32):
        block = IMAGES.astype(kind)
        block.flags.writeable = False
        before = block.copy()
        blind.description(block)
        assert np.array_equal(block, before)


# Single statistics


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=60, max_size=90), st.integers(20, 40))
def test_a_statistic_is_compared_as_by_mann_and_whitney(
    values: list[int], n_members: int
) -> None:
    column = np.array(values, dtype=np.float64)
    member = np.arange(len(column)) < n_members
    found = blind.mann_whitney(column, member)
    _, count = np.unique(column, return_counts=True)
    uncommon = (len(column) - count.max()) * min(n_members, len(column) - n_members)
    assert (found is None) == (uncommon < metrics.UNCOMMON * len(column))
    if found is not None:
        expected = mannwhitneyu(column[member], column[~member], method="asymptotic")
        assert found[0] == pytest.approx(expected.pvalue, rel=1e-9)
        assert found[1] == pytest.approx(roc_auc_score(member, column), rel=1e-9)


def test_labels_are_compared_by_chi_square() -> None:
    # Expected 15, 15, 20, 20 of each side; (5²/15) · 4 with one degree of freedom less
    # than classes: P(chi²_1 > 2 · 25/15 + 2 · 25/20).
    member = np.repeat([True, False], 35)
    label = np.array([0] * 20 + [1] * 15 + [0] * 10 + [1] * 25)
    statistic = 2 * 25 / 15 + 2 * 25 / 20
    expected = math.erfc(math.sqrt(statistic / 2))
    assert blind.label_test(label, member) == pytest.approx(expected)


def test_labels_drawn_alike_are_called_different_as_rarely_as_they_should() -> None:
    rng = np.random.default_rng(9)
    label = rng.choice(20, 400, p=np.arange(1, 21) / 210)
    found = [blind.label_test(label, simulations.half(400, rng)) for _ in range(1000)]
    p = np.array(found, dtype=float)
    # Of 1000 at 5 %, 50 ± 7; at 0.5 %, 5 ± 2.2: three standard deviations each.
    assert 29 <= (p < 0.05).sum() <= 71
    assert (p < 0.005).sum() <= 11


def test_rare_classes_are_taken_as_one() -> None:
    member = np.arange(80) % 2 == 0
    label = np.array([0] * 30 + [1] * 30 + [2] * 6 + [3] * 6 + [4] * 8)
    label[0] = 1  # else every class is divided alike
    pooled = np.where(label > 1, 2, label)
    assert blind.label_test(label, member) == blind.label_test(pooled, member)


def test_rare_classes_too_few_together_are_joined_by_the_next() -> None:
    member = np.arange(80) % 2 == 0
    label = np.array([0] * 40 + [1] * 33 + [2] * 4 + [3] * 3)
    label[0] = 1
    pooled = np.where(label > 1, 1, label)
    assert blind.label_test(label, member) == blind.label_test(pooled, member)


@pytest.mark.parametrize("label", [np.zeros(40, int), np.arange(40) % 8 // 7 * 9])
def test_labels_of_one_common_class_are_not_compared(label: NDArray[np.int64]) -> None:
    member = np.arange(40) < 8
    assert blind.label_test(label, member) is None


def test_holms_adjustment_is_that_of_a_worked_example() -> None:
    # By hand: 4 · 0.01, 3 · 0.02, 2 · 0.03, not below the one before; 1 · 0.9.
    found = holm(np.array([0.03, 0.01, 0.9, 0.02]))
    assert found == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm(np.array([0.8, 0.7])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.empty(0))) == 0


# The classifier


@pytest.mark.parametrize("added", [0, 6])
def test_the_auc_is_the_mean_of_the_folds_and_its_variance_twice_theirs(
    added: int,
) -> None:
    rng = np.random.default_rng(1)
    shown, member = simulations.images(400, rng), simulations.half(400, rng)
    shown[member] = simulations.brighter(shown[member], added=added)
    described = blind.description(shown)
    with threadpool_limits(1):
        judged = blind._judged(described, member, 1)
    assert sorted(np.concatenate([fold.rows for fold in judged.folds])) == [*range(400)]
    aucs, variances = [], []
    for fold in judged.folds:
        score = fold.judge.decision_function(fold.features)
        inside = score[member[fold.rows]]
        outside = score[~member[fold.rows]]
        wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
        aucs.append(roc_auc_score(member[fold.rows], score))
        sides = [wins.mean(axis=axis).var(ddof=1) for axis in (0, 1)]
        # Of 40 + 40 scores that tell nothing: (40 + 40 + 1) / (12 · 40 · 40).
        variances.append(max(sum(sides) / 40, 81 / 19200))
    assert judged.auc == pytest.approx(np.mean(aucs))
    reach = 2.5758293 * math.sqrt(2 * math.fsum(variances) / 25)
    low, high = judged.auc - reach, judged.auc + reach
    assert judged.interval == pytest.approx((low, min(high, 1)))


def test_folds_of_a_linear_classifier_have_twice_the_variance() -> None:
    # With 300 draws the estimate's own standard error is 8 % of it.
    for n_features in (5, 50):
        variance, independent, above = simulations.fold_variances(
            300, 1, 200, n_features
        )
        assert 1.6 < variance / independent < 2.4
        # At 0.5 % one expects 1.5 of 300, and more than 6 once in a thousand times.
        assert above <= 6


def test_components_are_those_of_the_correlations() -> None:
    thumbnail = RNG.normal(size=(50, 20)).astype(np.float32)
    thumbnail[:, 3] = 7
    found = blind._components(thumbnail)
    assert found.shape == (50, blind.COMPONENTS)
    varying = np.delete(thumbnail, 3, axis=1)
    scaled = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    singular = np.linalg.svd(scaled, compute_uv=False)[: blind.COMPONENTS]
    assert np.linalg.norm(found, axis=0) == pytest.approx(singular, rel=1e-4)


# The control


def outcome(
    shown: NDArray[Any],
    member: NDArray[np.bool_],
    label: NDArray[np.int64] | None = None,
) -> Blind:
    label = np.arange(len(shown)) % 3 if label is None else label
    return blind.baseline(blind.description(shown), label, member, 1)


def names(found: Blind) -> list[str]:
    return [one.statistic for one in found.differing]


N = 600
FAIR = simulations.images(N, np.random.default_rng(2))
HALF = simulations.half(N, np.random.default_rng(3))


def test_a_fair_split_is_silent() -> None:
    found = outcome(FAIR, HALF)
    assert found.auc is not None
    assert found.interval is not None
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.passed
    assert found.differing == ()
    assert found.reason is None


@pytest.mark.simulation
@pytest.mark.parametrize("n", [60, 150])
def test_false_alarms_are_as_rare_as_they_should_be(
    n: int, n_costly_draws: int, tell: Callable[..., None]
) -> None:
    counts = simulations.fair(n_costly_draws, 1, n)
    tell(
        f"blind control of {n} fair records, failed",
        f"{counts['failed'] / n_costly_draws:.3f}",
    )
    # Of so many at 1 %, more come up once in a hundred times.
    assert counts["failed"] <= binom.isf(0.01, n_costly_draws, 0.01)
    error = np.std(counts["auc"]) / math.sqrt(n_costly_draws)
    assert abs(np.mean(counts["auc"]) - 0.5) < 4 * error


def test_classes_dealt_out_evenly_are_no_difference() -> None:
    # Folds then hold few of a class of which the others hold many, the more clearly the
    # fewer records a class has.
    counts = simulations.fair(12, 2, 200, even=True)
    assert counts["failed"] <= 1
    assert abs(np.mean(counts["auc"]) - 0.5) < 4 * np.std(counts["auc"]) / math.sqrt(12)


def test_brightness_scaled_by_two_percent_is_found_in_the_gaps() -> None:
    shown = FAIR.copy()
    shown[HALF] = simulations.brighter(shown[HALF], factor=1.02)
    found = outcome(shown, HALF)
    assert found.passed is False
    assert found.interval is not None
    assert found.interval[0] > 0.8
    # 1.02 · 74 rounds to 75 and 1.02 · 75 to 76 or 77: bytes are skipped.
    skipped = set(range(256)) - {round(1.02 * v) for v in range(256)}
    shares = [name for name in names(found) if name.startswith("share of value ")]
    assert len(shares) == blind.MOST_VALUES
    assert {int(name.split()[-1]) for name in shares} <= skipped


def test_brightness_is_found_by_its_mean() -> None:
    shown = FAIR.copy()
    shown[HALF] = simulations.brighter(shown[HALF], added=20)
    found = outcome(shown, HALF)
    assert found.passed is False
    named = {one.statistic: one for one in found.differing}
    expected = roc_auc_score(HALF, shown.mean(axis=(1, 2, 3)))
    assert named["mean"].auc == pytest.approx(expected)


def test_the_tutorials_augmentation_is_found() -> None:
    digits = load_digits()
    shown = (digits.images[..., None] * 15).astype(np.uint8)
    rng = np.random.default_rng(4)
    member = simulations.half(len(shown), rng)
    assert outcome(shown, member, digits.target).passed
    shown[member] = simulations.as_the_tutorial(shown[member], rng)
    found = outcome(shown, member, digits.target)
    assert found.passed is False
    assert found.auc is not None
    assert found.auc > 0.9
    assert len(found.differing) == blind.MOST_NAMED


def test_other_classes_are_found_by_their_labels() -> None:
    label = np.where(HALF, np.arange(N) % 3, np.arange(N) % 4)
    found = outcome(FAIR, HALF, label)
    assert found.passed is False
    assert names(found)[0] == blind.LABELS
    assert found.differing[0].auc is None


def test_a_difference_that_no_statistic_shows_is_named_by_what_the_trees_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = Difference(statistic="mean", p_value=0.4, auc=0.51)
    monkeypatch.setattr(blind, "_tests", lambda *_: [silent])
    shown = FAIR.copy()
    shown[HALF] = simulations.brighter(shown[HALF], factor=1.02)
    found = outcome(shown, HALF)
    assert found.passed is False
    assert found.statistics == 1
    assert len(found.differing) == blind.MOST_NAMED
    assert found.differing[0] == Difference(
        statistic=blind.VALUES, p_value=None, auc=None
    )


def test_what_the_trees_use_is_what_they_miss_when_it_is_shuffled() -> None:
    class Judge:
        def decision_function(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
            return x[:, 1] + np.float32(0.1) * x[:, 2]

    member = np.arange(100) % 2 == 0
    features = RNG.normal(size=(100, 3)).astype(np.float32)
    features[:, 1:] += member[:, None]
    fold = blind._Fold(Judge(), np.arange(100), features)
    groups = {name: slice(i, i + 1) for i, name in enumerate(("a", "b", "c"))}
    judged = blind._Judged(0.7, (0.6, 0.8), (fold,), groups)
    assert judged.most_used(member, 1)[0] == "b"
    assert set(judged.most_used(member, 1)) == {"a", "b", "c"}


def test_an_auc_below_chance_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    below = blind._Judged(0.3, (0.2, 0.4), (), {})
    monkeypatch.setattr(blind, "_judged", lambda *_: below)
    found = outcome(FAIR, HALF)
    assert found.interval == (0.2, 0.4)
    assert found.passed


def test_a_users_own_floats_are_compared() -> None:
    own = (FAIR.astype(np.float32) / 255).transpose(0, 3, 1, 2)
    assert outcome(own, HALF).passed
    changed = own.copy()
    changed[HALF] *= np.float32(1.02)
    found = outcome(changed, HALF)
    assert found.passed is False
    assert any("hash" in name for name in names(found))
    vectors = np.random.default_rng(6).normal(size=(N, 5)).astype(np.float32)
    assert outcome(vectors, HALF).passed
    vectors[HALF, 2] += 1
    assert names(outcome(vectors, HALF))[0] == "number 2"


def test_the_outcome_is_the_same_every_time() -> None:
    assert outcome(FAIR, HALF) == outcome(FAIR, HALF)


def test_sides_of_different_sizes_are_compared() -> None:
    member = np.arange(N) % 10 == 0
    assert outcome(FAIR, member).passed
    shown = FAIR.copy()
    shown[member] = simulations.brighter(shown[member], factor=1.02)
    assert outcome(shown, member).passed is False


@pytest.mark.parametrize("described", [None, blind.description(FAIR)])
def test_too_few_records_of_a_side_are_not_compared(
    described: blind.Description | None,
) -> None:
    member = np.arange(N) < blind.MIN_SIDE - 1
    found = blind.baseline(described, np.arange(N) % 2, member, 1)
    assert (found.auc, found.interval, found.passed) == (None, None, None)
    assert found.reason == "a side has 24 records, fewer than 25"
    assert found.differing == ()
    enough = np.arange(N) < blind.MIN_SIDE
    assert blind.baseline(described, np.arange(N) % 2, enough, 1).passed is not None


def test_without_inputs_only_labels_are_compared() -> None:
    label = np.empty(N, dtype=int)
    for side in (HALF, ~HALF):
        label[side] = np.arange(N // 2) % 3
    found = blind.baseline(None, label, HALF, 1)
    assert found == Blind(
        passed=True,
        inputs="labels only",
        auc=None,
        interval=None,
        confidence=0.99,
        differing=(),
        statistics=1,
        reason="the inputs are unknown",
    )
    found = blind.baseline(None, np.where(HALF, label, label % 2), HALF, 1)
    assert found.passed is False
    assert names(found) == [blind.LABELS]


def test_one_class_without_inputs_leaves_nothing_to_compare() -> None:
    found = blind.baseline(None, np.zeros(N, int), HALF, 1)
    assert found.passed is None
    assert found.statistics == 0


def test_records_that_are_all_alike_are_silent() -> None:
    shown = np.full((100, 8, 8, 1), 7, dtype=np.uint8)
    found = outcome(shown, np.arange(100) % 2 == 0, np.zeros(100, int))
    assert found.auc == 0.5
    assert found.passed is True
    assert found.statistics == 0


def test_the_differences_come_in_order_of_their_p_values() -> None:
    shown = FAIR.copy()
    shown[HALF] = simulations.brighter(shown[HALF], factor=1.02)
    found = outcome(shown, HALF)
    assert found.inputs == "seen"
    p_values = [differing.p_value or 0.0 for differing in found.differing]
    assert p_values == sorted(p_values)
    assert Blind.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64])
def test_ids_are_described_by_their_padding_too(kind: type) -> None:
    ids = np.array(
        [[5, 6, 7, 0, 0], [1, 1, 5, 6, 7], [5, 6, 7, 8, 9], [4, 4, 4, 4, 4]], kind
    )
    found = blind.description(ids)
    expected = {
        "length without padding": [3, 3, 5, 0],
        "leading padding": [0, 2, 0, 5],
        "trailing padding": [2, 0, 0, 5],
        "first number after padding": [5, 5, 5, 4],
        "last number before padding": [7, 7, 9, 4],
        "highest value": [7, 7, 9, 4],
        "share of zeros": [0.4, 0, 0, 0],
        "number 1": [6, 1, 6, 4],
    }
    for name, values in expected.items():
        assert statistic(found, name).tolist() == values, name


def test_whole_numbers_beyond_the_bits_of_a_float_are_told_apart() -> None:
    ids = np.array([[2**24, 2**24 + 1], [2**40 + 5, 2**41 + 5]])
    values = blind.description(ids).values
    assert np.array_equal(np.sort(values, axis=1)[:, -2:], np.full((2, 2), 0.5))


@pytest.mark.parametrize("how", ["length", "id", "first"])
def test_a_difference_in_ids_is_found(how: str) -> None:
    rng = np.random.default_rng(8)
    member = np.arange(600) % 2 == 0
    ids = rng.integers(1, 5000, (600, 100)).astype(np.int32)
    length = rng.integers(20, 90, 600) + np.where(how == "length", 8 * member, 0)
    ids[np.arange(100) >= length[:, None]] = 0
    if how == "id":
        ids[member, 7] = 4321
    if how == "first":
        ids[member, 0] //= 2
    found = blind.baseline(blind.description(ids), np.zeros(600, int), member, 1)
    assert found.passed is False
    expected = {
        "length": {"length without padding", "trailing padding", "share of zeros"},
        "id": {name for name in names(found) if "values of hash" in name},
        "first": {"first number after padding"},
    }[how]
    assert {*names(found)} & expected


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ((5, 1, 4, 4), np.float32, "photo as images"),
        ((5, 4, 4), np.uint8, "photo as images"),
        ((5, 9), np.int64, "photo as sequences of whole numbers"),
        ((5, 9), np.float32, "photo as plain numbers"),
        ((5,), np.float16, "photo as plain numbers"),
    ],
)
def test_the_stage_tells_as_what_it_looks_at_a_users_inputs(
    shape: tuple[int, ...], kind: type, words: str
) -> None:
    data = Data(source="own.py:datasets", inputs=("photo",))
    assert stage.kinds(data, (np.zeros(shape, kind),)) == f"; looked at {words}"
    assert stage.kinds(Data(source="digits"), (np.zeros(shape, kind),)) == ""


def test_several_inputs_are_described_each_by_its_name() -> None:
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 9, (30, 4)).astype(np.int32)
    table = rng.normal(size=(30, 3)).astype(np.float32)
    found = blind.of_inputs(("ids", "table"), (ids, table))
    first, second = blind.description(ids), blind.description(table)
    assert found.names == (
        *(f"{name} of ids" for name in first.names),
        *(f"{name} of table" for name in second.names),
    )
    assert found.value_names[256] == "share of values of hash 0 of table"
    for field in ("statistics", "values", "thumbnail"):
        whole = np.hstack([getattr(first, field), getattr(second, field)])
        assert np.array_equal(getattr(found, field), whole)
    alone = blind.of_inputs(("table",), (table,))
    assert alone.names == second.names


@pytest.mark.parametrize("place", [0, 1])
def test_a_difference_in_either_input_is_named_by_it(place: int) -> None:
    rng = np.random.default_rng(6)
    member = np.arange(400) % 2 == 0
    inputs = [rng.normal(size=(400, 3)).astype(np.float32) for _ in range(2)]
    inputs[place][member, 1] += 2
    described = blind.of_inputs(("first", "second"), inputs)
    found = blind.baseline(described, np.zeros(400, int), member, 1)
    assert found.passed is False
    assert names(found)[0] == f"number 1 of {('first', 'second')[place]}"


# The stage


def job(tmp_path: Path, source: str, seed: int = 1, **more: Any) -> Job:
    sections = {
        "data": Data(source=source, seed=seed),
        "features": Features(**more),
        "blind": Settings(),
    }
    dumped = {name: one.model_dump(mode="json") for name, one in sections.items()}
    paths = {"path": str(tmp_path / "signals.npz")}
    return jobs.job("blind", tmp_path, dumped, paths)


def chosen(
    tmp_path: Path, source: str, n: int, seed: int = 1, **more: NDArray[Any]
) -> Records:
    from pipeline.data import sources
    from stages import records

    settings_ = Data(source=source, path=str(tmp_path / "signals.npz"), seed=seed)
    if source == "arrays":
        label = np.arange(n, dtype=np.int32) % 3
        member = np.arange(n) % 2 == 0
        logits = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
        signals = {"logits": logits, "label": label, "member": member}
        np.savez(tmp_path / "signals.npz", **{**signals, **more})
    found = records.choose(settings_, sources.catalogue(settings_))
    own = jobs.job("blind", tmp_path)
    path, key = own.artifact("records"), own.key_of("records")
    arrays.write(path, found, key=key, origin={})
    return found


def written(job: Job) -> Blind:
    path = job.artifact("blind")
    found, origin = documents.read_with_origin(path, Blind, key=job.key, fix="")
    assert {*origin} == {"numpy", "scipy", "scikit-learn"}
    return found


def test_the_stage_compares_digits(tmp_path: Path) -> None:
    chosen(tmp_path, "digits", 0)
    own = job(tmp_path, "digits")
    line = stage.compute(own)
    found = written(own)
    assert found.passed
    assert line == f"AUC {found.auc:.4f} without the model: members look alike"


def test_the_stage_sees_the_members_as_the_model_does(tmp_path: Path) -> None:
    records = chosen(tmp_path, "digits", 0)
    own = job(tmp_path, "digits", member_augmentation="tutorial")
    line = stage.compute(own)
    assert written(own).passed is False
    assert "without the model: members differ in " in line
    rows = np.arange(len(records.id))
    data, features = own.section(Data), own.section(Features)
    ((seen,),) = stage.shown(data, features, records, [rows])
    how = preprocessing.member_augmentation(features, records.member)
    assert how is not None
    digits = (load_digits().images[records.id][..., None] * 15).astype(np.uint8)
    assert np.array_equal(seen, preprocessing.augmented(digits, how))
    assert np.array_equal(seen[~records.member], digits[~records.member])


def test_the_stage_leaves_out_the_population(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = np.arange(240) % 4 == 1
    records = chosen(tmp_path, "arrays", 240, population=population)
    assert records.population.sum() == 60
    given = []
    compare = blind.baseline
    monkeypatch.setattr(
        blind, "baseline", lambda *args: given.append(args[1:3]) or compare(*args)
    )
    stage.compute(job(tmp_path, "arrays"))
    ((label, member),) = given
    assert np.array_equal(label, records.label[~records.population])
    assert np.array_equal(member, records.member[~records.population])


def test_the_stage_compares_the_labels_of_arrays(tmp_path: Path) -> None:
    chosen(tmp_path, "arrays", 120)
    own = job(tmp_path, "arrays")
    assert stage.compute(own) == "no AUC without the model: members look alike"
    assert written(own).inputs == "labels only"


def test_the_stage_compares_the_inputs_of_arrays(tmp_path: Path) -> None:
    inputs = np.random.default_rng(7).normal(size=(700, 4))
    inputs[::2, 1] += 2  # of the members
    chosen(tmp_path, "arrays", 700, inputs=inputs)
    own = job(tmp_path, "arrays")
    stage.compute(own)
    found = written(own)
    assert found.inputs == "seen"
    assert found.differing[0].statistic == "number 1"


def test_the_stage_tells_why_it_compared_nothing(tmp_path: Path) -> None:
    chosen(tmp_path, "arrays", 20)
    assert stage.compute(job(tmp_path, "arrays")) == (
        "nothing compared: a side has 10 records, fewer than 25"
    )
    assert written(job(tmp_path, "arrays")).passed is None


def test_the_stage_refuses_inputs_that_are_not_finite(tmp_path: Path) -> None:
    inputs = np.zeros((40, 2))
    inputs[3] = np.nan
    chosen(tmp_path, "arrays", 40, inputs=inputs)
    with pytest.raises(AuditError, match=r"has inputs that are NaN or infinite"):
        stage.compute(job(tmp_path, "arrays"))


def test_the_stage_refuses_records_that_changed(tmp_path: Path) -> None:
    records = chosen(tmp_path, "digits", 0)
    other = replace(records, content=records.content[::-1].copy())
    own = job(tmp_path, "digits")
    path, key = own.artifact("records"), own.key_of("records")
    arrays.write(path, other, key=key, origin={})
    with pytest.raises(AuditError, match="gives other records, or another order"):
        stage.compute(job(tmp_path, "digits"))


# Real images


@pytest.mark.simulation
def test_real_images_differ_where_they_were_changed_and_nowhere_else(
    images: Path, tell: Callable[..., None]
) -> None:
    found = simulations.on_cifar(images)
    for name, one in found.items():
        if name not in ("fair", "train and test"):
            by = ", ".join(each["statistic"] for each in one["differing"])
            shown = f"{one['auc']:.3f}, failed by {by or 'nothing'}"
            tell(f"blind control, real images, {name}: AUC", shown)
    for name in ("fair", "train and test"):
        aucs = found[name]["auc"]
        shown = f"{found[name]['failed']} of {len(aucs)} failed"
        tell(f"blind control, real images, {name}", f"{shown}, AUC {np.mean(aucs):.4f}")
    for name in (
        "tutorial",
        "times 1.02",
        "times 0.98",
        "plus 5 of 255",
        "classes 2.0",
    ):
        assert found[name]["passed"] is False, name
    assert found["fair"]["failed"] == 0
