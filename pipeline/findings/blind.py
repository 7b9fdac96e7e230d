"""Blind: whether members differ from non-members as data, the model unseen.

A classifier looks at the raw records and never at the target. If it does better than
chance, members and non-members differ as data, and attacks on the model may measure
that difference in place of the leak. Statistics of the records, compared one by one,
give the difference a name.

Source: Das, Zhang and Tramèr 2024, arXiv:2406.16201.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from pipeline import draws
from pipeline.attacks import folds
from pipeline.findings.schema import Blind, Difference
from pipeline.statistics import metrics, units
from pipeline.statistics.corrections import holm
from pipeline.statistics.units import Units

N_VALUES = 256  # buckets of exact values: a byte has no more
THUMBNAIL = 8  # pixels of a side, at most
CHANNELS = 4  # channels of a thumbnail, at most
POSITIONS = 64  # numbers of a thumbnail without height and width, at most
COMPONENTS = 16  # principal components of the thumbnails
# Channels or positions that have statistics of their own, at most.
NAMED_CHANNELS = 4
BLOCK_VALUES = 1 << 21  # numbers described at once, for bounded memory

FOLDS = 5
# Few and small trees: a difference worth a warning is found by few, and more would
# take longer than the attacks they warn of.
TREES = {"max_iter": 40, "max_leaf_nodes": 8, "learning_rate": 0.1, "max_bins": 63}
MIN_SIDE = 25  # records of either side: five a fold
EXPECTED = 5  # fewest records of a class and side that chi-square takes
CONFIDENCE = 0.99  # of the interval: above ½ by chance in 0.5 %
ALPHA = 0.005  # of all tests of single statistics together
MOST_NAMED = 5  # differing statistics, that a reader can take in
MOST_VALUES = 2  # of them, exact values: where one is missing, many are
LABELS = "label frequencies"
VALUES = "shares of exact values"
PICTURE = "principal components of the thumbnail"


Tested = tuple[str, float, float | None]  # name, p-value, AUC


@dataclass(frozen=True)
class Description:
    """What is kept of raw records, whatever their shape."""

    names: tuple[str, ...]  # of the statistics
    statistics: NDArray[np.float64]  # (n_records, n_statistics)
    value_names: tuple[str, ...]  # of the exact values' buckets
    # (n_records, n_inputs * N_VALUES) share of an input's numbers in each bucket.
    values: NDArray[np.float32]
    thumbnail: NDArray[np.float32]  # (n_records, n_pixels)


# What a record looks like


def description(block: NDArray[Any]) -> Description:
    """Describe raw records one by one, so that a source can be read in blocks.

    Args:
        block: (n_records, ...) finite numbers. A record of two axes is taken for an
            image of one channel; of three axes, for an image whose channels are the
            first axis or the last, whichever is shorter; any other for a vector, which
            may be padded if it is of whole numbers.

    Returns:
        Their description; names and shapes depend on type and shape of a record alone.
    """
    size = max(1, math.prod(block.shape[1:]))
    rows = max(1, BLOCK_VALUES // size)
    starts = range(0, max(len(block), 1), rows)
    return joined([_described(block[start : start + rows]) for start in starts])


def of_inputs(names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> Description:
    """Describe records of one input or several, each statistic by its input's name.

    Args:
        names: of the inputs.
        inputs: of each, (n_records, ...) finite numbers.
    """
    parts = [description(column) for column in inputs]
    if len(parts) == 1:
        return parts[0]

    def named(of_parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
        return tuple(
            f"{statistic} of {name}"
            for name, statistics in zip(names, of_parts, strict=True)
            for statistic in statistics
        )

    return Description(
        names=named([part.names for part in parts]),
        statistics=np.concatenate([part.statistics for part in parts], axis=1),
        value_names=named([part.value_names for part in parts]),
        values=np.concatenate([part.values for part in parts], axis=1),
        thumbnail=np.concatenate([part.thumbnail for part in parts], axis=1),
    )


def kind(column: NDArray[Any]) -> str:
    """Return as what an input is described.

    Args:
        column: (n_records, ...) finite numbers.
    """
    if _as_images(column[:1]) is not None:
        return "images"
    whole = np.issubdtype(column.dtype, np.integer) and column.dtype != np.uint8
    return "sequences of whole numbers" if whole else "plain numbers"


def joined(parts: Sequence[Description]) -> Description:
    """Return the descriptions of successive blocks as a single description."""
    first = parts[0]
    return Description(
        names=first.names,
        statistics=np.concatenate([part.statistics for part in parts]),
        value_names=first.value_names,
        values=np.concatenate([part.values for part in parts]),
        thumbnail=np.concatenate([part.thumbnail for part in parts]),
    )


def _described(block: NDArray[Any]) -> Description:
    n, is_bytes = len(block), block.dtype == np.uint8
    is_whole = np.issubdtype(block.dtype, np.integer)
    # Every zero alike, whatever its sign: their bits differ.
    exact = block if is_whole else block.astype(np.float32) + np.float32(0)
    flat = exact.reshape(n, -1).astype(np.float64)
    values = _values(exact.reshape(n, -1))
    statistics = _of_values(flat, values if is_bytes else None)
    image = _as_images(exact)
    if image is None:
        statistics |= _of_vector(flat)
        if is_whole and flat.shape[1] > 1:
            statistics |= _of_sequence(flat)
        thumbnail = _pooled(flat, 1, POSITIONS)
    else:
        statistics |= _of_image(image)
        thumbnail = _pooled(image, 1, THUMBNAIL)
        thumbnail = _pooled(thumbnail, 2, THUMBNAIL)
        thumbnail = _pooled(thumbnail, 3, CHANNELS)
    bucket = "value" if is_bytes else "values of hash"
    return Description(
        names=tuple(statistics),
        statistics=np.stack(list(statistics.values()), axis=1),
        value_names=tuple(f"share of {bucket} {i}" for i in range(N_VALUES)),
        values=values,
        thumbnail=thumbnail.reshape(n, -1).astype(np.float32),
    )


def _as_images(block: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return (n_images, height, width, n_channels), or None if it is no image."""
    if block.ndim == 3:
        return block[..., None].astype(np.float64)
    if block.ndim != 4:
        return None
    first = block.shape[1] < block.shape[3]
    ready = block.transpose(0, 2, 3, 1) if first else block
    return ready.astype(np.float64)


def _values(exact: NDArray[Any]) -> NDArray[np.float32]:
    """Return how often each exact value stands in a record, as a share.

    A byte is its own bucket; other whole numbers and the bits of a float are hashed.
    Rescaling and rounding leave gaps among the values, which no mean shows.
    """
    n, size = exact.shape
    if exact.dtype == np.uint8:
        bucket = exact.astype(np.int64)
    else:
        # Knuth's multiplicative hash: the upper bits of a product with 2^32 / φ.
        if np.issubdtype(exact.dtype, np.integer):
            wide = exact.astype(np.int64)
            bits = ((wide ^ (wide >> 32)) & 0xFFFFFFFF).astype(np.uint32)
        else:
            bits = np.ascontiguousarray(exact).view(np.uint32)
        bucket = (bits * np.uint32(2654435769) >> np.uint32(24)).astype(np.int64)
    bucket += N_VALUES * np.arange(n)[:, None]
    count = np.bincount(bucket.ravel(), minlength=n * N_VALUES)
    return (count.reshape(n, N_VALUES) / max(size, 1)).astype(np.float32)


def _of_values(
    flat: NDArray[np.float64], share: NDArray[np.float32] | None
) -> dict[str, NDArray[np.float64]]:
    """Return the statistics that need no arrangement; `share`: of each byte, if any."""
    low, high = flat.min(axis=1), flat.max(axis=1)
    if share is None:
        ordered = np.sort(flat, axis=1)
        distinct = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    else:
        distinct = (share > 0).sum(axis=1)
    return {
        "mean": flat.mean(axis=1),
        "standard deviation": flat.std(axis=1),
        "lowest value": low,
        "highest value": high,
        "share at the lowest value": (flat == low[:, None]).mean(axis=1),
        "share at the highest value": (flat == high[:, None]).mean(axis=1),
        "distinct values": distinct.astype(np.float64),
    }


def _of_vector(flat: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    statistics = {"share of zeros": (flat == 0).mean(axis=1)}
    if flat.shape[1] > 1:
        statistics["roughness"] = np.square(np.diff(flat, axis=1)).mean(axis=1)
    if 1 < flat.shape[1] <= POSITIONS:
        statistics |= {f"number {i}": column for i, column in enumerate(flat.T)}
    return statistics


def _of_sequence(flat: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what shows a difference in length: of padding, and what stands beside it.

    Padding is a number that is repeated at the start or at the end.
    """
    n, size = flat.shape

    def run(changes: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how often the first number stands in a row, 0 if only once."""
        length = np.where(changes.any(axis=1), changes.argmax(axis=1) + 1, size)
        return np.where(length > 1, length, 0)

    changes = flat[:, 1:] != flat[:, :-1]
    leading, trailing = run(changes), run(changes[:, ::-1])
    rows = np.arange(n)
    return {
        "length without padding": np.maximum(size - leading - trailing, 0).astype(
            float
        ),
        "leading padding": leading.astype(float),
        "trailing padding": trailing.astype(float),
        "first number after padding": flat[rows, np.minimum(leading, size - 1)],
        "last number before padding": flat[rows, np.maximum(size - 1 - trailing, 0)],
    }


def _of_image(image: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    _, height, width, n_channels = image.shape
    space = (1, 2, 3)
    statistics = {}
    if 1 < n_channels <= NAMED_CHANNELS:
        for c in range(n_channels):
            statistics[f"mean of channel {c}"] = image[..., c].mean(axis=(1, 2))
            statistics[f"standard deviation of channel {c}"] = image[..., c].std(
                axis=(1, 2)
            )
    if height > 1:
        statistics["vertical sharpness"] = np.square(np.diff(image, axis=1)).mean(space)
        half = height // 2
        statistics["top less bottom"] = image[:, :half].mean(space) - image[
            :, -half:
        ].mean(space)
    if width > 1:
        statistics["horizontal sharpness"] = np.square(np.diff(image, axis=2)).mean(
            space
        )
        half = width // 2
        statistics["left less right"] = image[:, :, :half].mean(space) - image[
            :, :, -half:
        ].mean(space)
        statistics["mirror difference"] = np.abs(image - image[:, :, ::-1]).mean(space)
    if min(height, width) > 2:
        edges = (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1])
        border = np.concatenate(edges, axis=1)
        flat_edges = [(np.ptp(edge, axis=1) == 0).all(axis=1) for edge in edges]
        statistics["mean of the border"] = border.mean(axis=(1, 2))
        statistics["share of zeros in the border"] = (border == 0).mean(axis=(1, 2))
        statistics["edges of one colour"] = np.sum(flat_edges, axis=0, dtype=np.float64)
    return statistics


def _pooled(array: NDArray[np.float64], axis: int, most: int) -> NDArray[np.float64]:
    """Return means of neighbours along an axis, at most so many."""
    size = array.shape[axis]
    if size <= most:
        return array
    edges = np.arange(most + 1) * size // most
    sums = np.add.reduceat(array, edges[:-1], axis=axis)
    shape = [1] * array.ndim
    shape[axis] = most
    return np.asarray(sums / np.diff(edges).reshape(shape))


# Whether it distinguishes members from non-members


def baseline(
    described: Description | None,
    label: NDArray[np.integer[Any]],
    member: NDArray[np.bool_],
    seed: int,
    unit: Units = None,
) -> Blind:
    """Compare members with non-members, the model unseen.

    The control fails if the interval of the classifier's AUC lies above ½, or if a
    statistic's adjusted p-value is below ALPHA: by chance, in at most one audit of a
    hundred. An AUC below ½ is no evidence.

    Args:
        described: the records, in the same order; None where inputs are unknown.
        label: (n_records,) class.
        member: (n_records,) whether a record is a member.
        seed: decides folds and trees.
        unit: (n_records,) or None.
    """
    unit = units.shared(unit)
    sizes = [
        len(units.grouped(units.of(unit, side), int(side.sum())).first)
        for side in (member, ~member)
    ]
    if (smaller := min(sizes)) < MIN_SIDE:
        what = "records" if unit is None else "units"
        reason = f"a side has {smaller} {what}, fewer than {MIN_SIDE}"
        return _outcome(described, None, (), reason=reason)
    tests = _tests(described, label, member, unit)
    if described is None:
        differing = _named(tests, set())
        reason = "the inputs are unknown"
        passed = not differing if tests else None
        return _outcome(None, passed, differing, n_tests=len(tests), reason=reason)
    differing = _named(tests, set(described.value_names))
    # Sums of several threads differ in their last bits.
    with threadpool_limits(1):
        judged = _judged(described, member, seed, unit)
        if judged.interval[0] > 0.5 and not differing:
            tested = {test.statistic: test for test in tests}
            differing = tuple(
                tested.get(name, Difference(statistic=name, p_value=None, auc=None))
                for name in judged.most_used(member, seed)[:MOST_NAMED]
            )
    return _outcome(
        described, not differing, differing, n_tests=len(tests), judged=judged
    )


def _outcome(
    described: Description | None,
    passed: bool | None,
    differing: tuple[Difference, ...],
    *,
    n_tests: int = 0,
    judged: "_Judged | None" = None,
    reason: str | None = None,
) -> Blind:
    return Blind(
        passed=passed,
        inputs="labels only" if described is None else "seen",
        auc=None if judged is None else judged.auc,
        interval=None if judged is None else judged.interval,
        confidence=CONFIDENCE,
        differing=differing,
        statistics=n_tests,
        reason=reason,
    )


def _named(tests: Sequence[Difference], values: set[str]) -> tuple[Difference, ...]:
    """Return the first tests that differ, few of them of exact values."""
    low = [test for test in tests if test.p_value is not None and test.p_value < ALPHA]
    left_out = [test for test in low if test.statistic in values][MOST_VALUES:]
    return tuple(test for test in low if test not in left_out)[:MOST_NAMED]


@dataclass(frozen=True)
class _Fold:
    """A classifier and the records that it has not learned from."""

    judge: Any
    rows: NDArray[np.int64]  # (n_rows,)
    features: NDArray[np.float32]  # (n_rows, n_features)

    def auc(self, features: NDArray[np.float32], member: NDArray[np.bool_]) -> float:
        return metrics.auc(self.judge.decision_function(features), member[self.rows])


@dataclass(frozen=True)
class _Judged:
    """The classifiers of all folds, and how they do."""

    auc: float
    interval: tuple[float, float]
    folds: tuple[_Fold, ...]
    groups: dict[str, slice]  # columns of the features, by name

    def most_used(self, member: NDArray[np.bool_], seed: int) -> list[str]:
        """Return the features without which the AUC falls most, as permuted."""
        rng = draws.rng(seed, "blind.permutation")
        lost = dict.fromkeys(self.groups, 0.0)
        for fold in self.folds:
            order = rng.permutation(len(fold.rows))
            before = fold.auc(fold.features, member)
            for name, columns in self.groups.items():
                shuffled = fold.features.copy()
                shuffled[:, columns] = fold.features[order, columns]
                lost[name] += before - fold.auc(shuffled, member)
        return sorted(lost, key=lambda name: -lost[name])


def _judged(
    described: Description, member: NDArray[np.bool_], seed: int, unit: Units = None
) -> _Judged:
    """Cross-fit the classifier, and judge it by the mean of the folds' AUCs.

    Labels are not among the features; they have a test of their own. Benchmarks often
    give both sides equally many records of each class. Then a class with more members
    in the other folds has fewer in the judged one, and a classifier that saw the labels
    would find members though the sides are alike.

    Even if the sides are alike, the folds' AUCs are not independent: the memberships of
    fold j judge the classifier of fold k, and those of k the classifier of j. For a
    linear classifier, the mean is a sum over pairs of folds in which each pair stands
    twice, so its variance is twice that of independent folds. The variance is therefore
    doubled here. For a classifier that only chooses the sign of a single feature, it
    would be less.

    A fold's variance is DeLong's, but not below that of an AUC under no difference:
    with few records, an AUC may come out as 1 with a variance of 0.

    Source: DeLong et al. 1988, Biometrics 44(3); Mann and Whitney 1947 for chance.
    """
    parts = _parts(member, seed, unit)
    own, groups = _features(described)
    folds, aucs, variances = [], [], []
    for index, rows in enumerate(parts):
        others = [part for part in parts if part is not rows]
        known = np.concatenate(others)
        judge = HistGradientBoostingClassifier(
            **TREES,
            early_stopping=False,
            random_state=draws.integer(seed, "blind.trees", index),
        )
        judge.fit(own[known], member[known])
        fold = _Fold(judge, rows, own[rows])
        score = judge.decision_function(fold.features)
        folds.append(fold)
        aucs.append(metrics.auc(score, member[rows]))
        variance = _auc_variance(score, member[rows], units.of(unit, rows))
        variances.append(max(variance, _chance(member[rows])))
    auc = math.fsum(aucs) / FOLDS
    error = math.sqrt(2 * math.fsum(variances)) / FOLDS
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return _Judged(
        auc, (max(0.0, auc - reach), min(1.0, auc + reach)), tuple(folds), groups
    )


def _parts(
    member: NDArray[np.bool_], seed: int, unit: Units
) -> list[NDArray[np.int64]]:
    """Return the rows of each fold, stratified by membership; units are whole."""
    if unit is None:
        state = draws.integer(seed, "blind.folds")
        split = StratifiedKFold(FOLDS, shuffle=True, random_state=state)
        return [rows for _, rows in split.split(member, member)]
    fold = folds.drawn((member, ~member), FOLDS, seed, "blind.folds", unit)
    return [np.flatnonzero(fold == number) for number in range(FOLDS)]


def _auc_variance(
    score: NDArray[np.float64], member: NDArray[np.bool_], unit: Units
) -> float:
    # A constant's AUC is ½ without any variance.
    constant = np.zeros(len(score))
    return metrics.auc_difference_error(score, constant, member, unit) ** 2


def _chance(member: NDArray[np.bool_]) -> float:
    """Return the variance of an AUC of scores that are random and have no ties."""
    n_members = int(member.sum())
    return (len(member) + 1) / (12 * n_members * (len(member) - n_members))


def _features(
    described: Description,
) -> tuple[NDArray[np.float32], dict[str, slice]]:
    """Return the classifier's features, and the columns of each by name."""
    picture = _components(described.thumbnail)
    parts = (described.statistics.astype(np.float32), described.values, picture)
    groups = {name: slice(i, i + 1) for i, name in enumerate(described.names)}
    end = len(described.names)
    for name, width in (
        (VALUES, described.values.shape[1]),
        (PICTURE, picture.shape[1]),
    ):
        groups[name] = slice(end, end + width)
        end += width
    return np.concatenate(parts, axis=1), groups


def _components(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the leading principal components of thumbnails."""
    spread = thumbnail.std(axis=0, dtype=np.float64)
    varying = spread > 0
    centred = thumbnail[:, varying] - thumbnail[:, varying].mean(
        axis=0, dtype=np.float64
    )
    scaled = centred / spread[varying]
    _, axes = np.linalg.eigh(scaled.T @ scaled)
    return np.asarray(scaled @ axes[:, ::-1][:, :COMPONENTS], dtype=np.float32)


# One statistic at a time


def _tests(
    described: Description | None,
    label: NDArray[np.integer[Any]],
    member: NDArray[np.bool_],
    unit: Units,
) -> list[Difference]:
    """Return every statistic that can be tested, the smallest p-value first.

    Labels, statistics and exact values are three families with a third of ALPHA each,
    so that the many values cannot drown the labels. Within a family the correction is
    Holm's.
    """
    # Of a table of counts, records of one unit would be counted as independent.
    own = units.one_of_each(unit, len(member))
    p = label_test(label[own], member[own])
    families: list[list[Tested]] = [[] if p is None else [(LABELS, p, None)]]
    if described is not None:
        families += [
            _tested(described.names, described.statistics, member, unit),
            _tested(described.value_names, described.values, member, unit),
        ]
    tests = []
    for family in families:
        adjusted = len(families) * holm(np.array([p for _, p, _ in family], np.float64))
        tests += [
            Difference(statistic=name, p_value=min(float(p), 1.0), auc=auc)
            for (name, _, auc), p in zip(family, adjusted, strict=True)
        ]
    # Where many p-values vanish, the greatest difference comes first.
    return sorted(tests, key=lambda t: (t.p_value, -abs((t.auc or 0.5) - 0.5)))


def _tested(
    names: Sequence[str],
    statistics: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    unit: Units,
) -> list[Tested]:
    tests: list[Tested] = []
    for name, column in zip(names, statistics.T, strict=True):
        outcome = mann_whitney(column, member, unit)
        if outcome is not None:
            tests.append((name, *outcome))
    return tests


def mann_whitney(
    statistic: NDArray[np.floating[Any]], member: NDArray[np.bool_], unit: Units = None
) -> tuple[float, float] | None:
    """Test whether members have other values than non-members.

    Args:
        statistic: (n_records,) of raw records.
        member: (n_records,) whether a record is a member; both sides present.
        unit: (n_records,) or None.

    Returns:
        The two-sided p-value, with ties and continuity corrected, and the AUC: the
        probability that a member's value exceeds a non-member's, ties counted half.
        None where nearly all values are equal.

    Source: Mann and Whitney 1947, Annals of Mathematical Statistics 18(1).
    """
    if metrics.few_differ(statistic, member):
        return None
    p = metrics.compatibility(statistic, member, unit)
    return p, metrics.auc(statistic, member)


def label_test(
    label: NDArray[np.integer[Any]], member: NDArray[np.bool_]
) -> float | None:
    """Test whether members have other classes than non-members, by chi-square.

    Classes too rare for it are pooled.

    Args:
        label: (n_records,) class.
        member: (n_records,) whether a record is a member; both sides present.

    Returns:
        The p-value, or None where fewer than two classes are left.
    """
    _, place, count = np.unique(label, return_inverse=True, return_counts=True)
    smaller = min(member.mean(), 1 - member.mean())
    order = np.argsort(count, kind="stable")
    rare = count[order] * smaller < EXPECTED
    n_pooled = int(rare.sum())
    # All rare classes together may still be too few: common classes join them.
    while n_pooled and n_pooled < len(count):
        if count[order[:n_pooled]].sum() * smaller >= EXPECTED:
            break
        n_pooled += 1
    group = np.empty(len(count), dtype=np.int64)
    group[order] = np.maximum(np.arange(len(count)) - max(n_pooled - 1, 0), 0)
    groups = group[place]
    n_groups = int(group.max()) + 1
    if n_groups < 2:
        return None
    table = [
        np.bincount(groups[side], minlength=n_groups) for side in (member, ~member)
    ]
    return float(chi2_contingency(np.array(table), correction=False).pvalue)
