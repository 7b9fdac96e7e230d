"""Draws in which the blind baseline must keep silent, and such in which it must not.

Functions count and assert nothing, so that the tests can ask for few draws and a long
run for many.
"""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import preprocessing, sources
from pipeline.findings import blind
from pipeline.findings.schema import Blind
from pipeline.statistics import metrics

Images = NDArray[np.uint8]


def images(n: int, rng: np.random.Generator, size: int = 8) -> Images:
    """Return smooth images of three channels that differ in colour and contrast."""
    coarse = rng.normal(size=(n, size // 2, size // 2, 3))
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    noise = rng.normal(scale=0.3, size=fine.shape)
    base = rng.normal(120, 30, (n, 1, 1, 3))
    contrast = rng.uniform(10, 40, (n, 1, 1, 1))
    return np.clip(base + contrast * (fine + noise), 0, 255).astype(np.uint8)


def half(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which records are members: half of them, at random."""
    member = np.zeros(n, dtype=bool)
    member[rng.permutation(n)[: n // 2]] = True
    return member


def brighter(shown: Images, factor: float = 1.0, added: float = 0.0) -> Images:
    """Return images rescaled and shifted, rounded to bytes again."""
    changed = np.rint(shown * factor + added)
    return np.clip(changed, 0, 255).astype(np.uint8)


def as_the_tutorial(shown: Images, rng: np.random.Generator) -> Images:
    """Return images cropped from their padded selves and mirrored at random."""
    how = preprocessing.draw(len(shown), "tutorial", rng)
    return preprocessing.augmented(shown, how)


def fair(
    n_draws: int, seed: int, n: int, n_classes: int = 10, *, even: bool = False
) -> dict[str, Any]:
    """Count how often fair halves of like images fail the control.

    Args:
        n_draws: how many.
        seed: of all draws.
        n: records of both sides together.
        n_classes: of their labels.
        even: both sides have as many records of each class; else labels are drawn.

    Returns:
        Of n_draws: "failed"; of these "by_classifier" and "named", by a statistic; and
        "auc", of each draw.
    """
    counts: dict[str, Any] = {"failed": 0, "by_classifier": 0, "named": 0, "auc": []}
    for rng in np.random.default_rng(seed).spawn(n_draws):
        described = blind.description(images(n, rng))
        label, member = rng.integers(0, n_classes, n), half(n, rng)
        if even:
            label[member] = label[~member] = np.arange(n // 2) % n_classes
        count(counts, blind.baseline(described, label, member, seed))
    return counts


def count(counts: dict[str, Any], outcome: Blind) -> None:
    """Add an outcome to the counts."""
    assert outcome.interval is not None
    low = [differing.p_value or 1.0 for differing in outcome.differing]
    counts["failed"] += outcome.passed is False
    counts["by_classifier"] += outcome.interval[0] > 0.5
    counts["named"] += bool(low) and min(low) < blind.ALPHA
    counts["auc"].append(outcome.auc)


def fold_variances(
    n_draws: int, seed: int, n: int, n_features: int
) -> tuple[float, float, int]:
    """Measure the mean of folds' AUCs of a linear classifier under no difference.

    Each fold is judged by the difference of the other folds' means of members and
    non-members, as in linear discriminant analysis with the unit covariance.

    Returns:
        The variance of the mean of the AUCs over the draws; the variance that
        independent folds would have, by DeLong; and how many draws lie above ½ by more
        than the doubled error allows at 0.5 %, one-sided.
    """
    aucs, naive = np.empty(n_draws), np.empty(n_draws)
    for index, rng in enumerate(np.random.default_rng(seed).spawn(n_draws)):
        x = rng.normal(size=(n, n_features))
        member = np.arange(n) % 2 == 0
        fold = np.arange(n) // 2 % blind.FOLDS
        of_folds, variances = [], []
        for k in range(blind.FOLDS):
            known, rows = fold != k, fold == k
            direction = x[known & member].mean(axis=0) - x[known & ~member].mean(axis=0)
            score = x[rows] @ direction
            of_folds.append(metrics.auc(score, member[rows]))
            constant = np.zeros(len(score))
            error = metrics.auc_difference_error(score, constant, member[rows])
            variances.append(error**2)
        aucs[index] = np.mean(of_folds)
        naive[index] = np.sum(variances) / blind.FOLDS**2
    above = aucs - 0.5 > 2.5758 * np.sqrt(2 * naive)
    return float(aucs.var()), float(naive.mean()), int(above.sum())


# Real images


def cifar(folder: Path) -> tuple[Images, NDArray[np.int32], NDArray[np.bool_]]:
    """Return images, fine labels and whether they lie in train.bin, of CIFAR-100."""
    data = Data(source="cifar100", path=str(folder))
    catalogue = sources.catalogue(data)
    assert catalogue.member is not None
    ids = np.arange(len(catalogue.label))
    ((shown,),) = sources.blocks(data, [ids], [catalogue.content])
    return shown, catalogue.label, catalogue.member


def on_cifar(
    folder: Path, n_fair: int = 20, n: int = 10_000, seed: int = 1
) -> dict[str, Any]:
    """Run the control on real images, untouched and changed.

    Args:
        folder: of the official binary version, with train.bin and test.bin.
        n_fair: fair halves of train.bin, and draws of train.bin and test.bin, to try.
        n: records of both sides together.
        seed: of all draws.

    Returns:
        Of each case its summary and seconds of one processor, description included;
        for "fair" and "train and test" the counts as in `fair`.
    """
    shown, label, in_train = cifar(folder)
    pool = np.flatnonzero(in_train)
    changes: dict[str, Callable[[Images, np.random.Generator], Images]] = {
        "tutorial": as_the_tutorial,
        "times 1.02": lambda own, _: brighter(own, factor=1.02),
        "times 0.98": lambda own, _: brighter(own, factor=0.98),
        "plus 5 of 255": lambda own, _: brighter(own, added=5),
        "flip": lambda own, rng: preprocessing.augmented(
            own, preprocessing.draw(len(own), "flip", rng)
        ),
    }
    outcome: dict[str, Any] = {}
    for name, change in changes.items():
        rng = np.random.default_rng(seed)
        rows, member = np.sort(rng.choice(pool, n, replace=False)), half(n, rng)
        changed = shown[rows]
        changed[member] = change(changed[member], rng)
        outcome[name] = timed(changed, label[rows], member, seed)

    # Members are drawn more often of the first ten classes than of the other ninety.
    for more in (1.5, 2.0):
        rng = np.random.default_rng(seed)
        weight = np.where(label[pool] < 10, more, 1.0)
        members = rng.choice(pool, n // 2, replace=False, p=weight / weight.sum())
        others = rng.choice(np.setdiff1d(pool, members), n // 2, replace=False)
        rows = np.sort(np.concatenate((members, others)))
        chosen = np.isin(rows, members)
        outcome[f"classes {more}"] = timed(shown[rows], label[rows], chosen, seed)

    # The first draw is that of configs/cifar100-small.toml, duplicates aside.
    sides = (pool, np.flatnonzero(~in_train))
    counts: dict[str, Any] = {"failed": 0, "by_classifier": 0, "named": 0, "auc": []}
    for data_seed in range(1, 1 + n_fair):
        rngs = np.random.default_rng(data_seed).spawn(2)
        rows = np.sort(
            np.concatenate(
                [
                    rng.permutation(side)[: n // 2]
                    for side, rng in zip(sides, rngs, strict=True)
                ]
            )
        )
        described = blind.description(shown[rows])
        count(counts, blind.baseline(described, label[rows], in_train[rows], seed))
    outcome["train and test"] = counts

    counts = {"failed": 0, "by_classifier": 0, "named": 0, "auc": []}
    for rng in np.random.default_rng(seed).spawn(n_fair):
        rows = np.sort(rng.choice(pool, n, replace=False))
        described = blind.description(shown[rows])
        count(counts, blind.baseline(described, label[rows], half(n, rng), seed))
    return outcome | {"fair": counts}


def timed(
    shown: Images, label: NDArray[np.int32], member: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """Return the summary of a baseline, and the processor time that all of it took."""
    start = process_time()
    outcome = blind.baseline(blind.description(shown), label, member, seed)
    return outcome.model_dump() | {"seconds": process_time() - start}
