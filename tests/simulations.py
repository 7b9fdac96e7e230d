"""Simulations: how often an interval covers, or a test raises a false alarm.

Each function draws audits whose truth is known and counts; it asserts nothing. The
suite calls them with few draws, ``make soak`` with many.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.cache.summaries import Contradicted
from pipeline.findings import controls
from pipeline.findings.report import CHOSEN_SHARE
from pipeline.findings.schema import Labels
from pipeline.statistics import corrections, intervals, metrics
from pipeline.statistics.intervals import Interval
from tests import bootstrap


class Counted(NamedTuple):
    """How often something was the case."""

    hits: int
    draws: int

    @property
    def share(self) -> float:
        return self.hits / self.draws

    def error(self, nominal: float) -> float:
        """Return the standard error of the share if its truth is the nominal one."""
        return math.sqrt(nominal * (1 - nominal) / self.draws)


class Cell(NamedTuple):
    """A binormal audit: members lie `shift` deviations above non-members."""

    n_members: int
    n_nonmembers: int
    shift: float

    @property
    def auc(self) -> float:
        return float(norm.cdf(self.shift / math.sqrt(2)))

    def tpr(self, rate: float) -> float:
        return float(norm.sf(norm.isf(rate) - self.shift))

    def draws(
        self, n: int, seed: int
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        rng = np.random.default_rng(seed)
        member = np.arange(self.n_members + self.n_nonmembers) < self.n_members
        for _ in range(n):
            yield rng.normal(size=len(member)) + self.shift * member, member


def covered(
    cell: Cell,
    truth: float,
    interval: Callable[[NDArray[np.float64], NDArray[np.bool_]], Interval | None],
    n_draws: int,
    seed: int,
) -> Counted:
    """Count the draws whose interval covers the truth."""
    hits = 0
    for score, member in cell.draws(n_draws, seed):
        ends = interval(score, member)
        assert ends is not None
        hits += ends.low <= truth <= ends.high
    return Counted(hits, n_draws)


def auc_covered(cell: Cell, n_draws: int, seed: int) -> Counted:
    return covered(
        cell, cell.auc, lambda s, m: intervals.auc(s, m, 0.95), n_draws, seed
    )


def tpr_covered(cell: Cell, rate: float, n_draws: int, seed: int) -> Counted:
    def interval(score: NDArray[np.float64], member: NDArray[np.bool_]) -> object:
        return intervals.tpr_at_fpr(score, member, rate, 0.95)

    return covered(cell, cell.tpr(rate), interval, n_draws, seed)  # type: ignore[arg-type]


def tpr_covered_by_bootstrap(
    cell: Cell, rate: float, n_draws: int, seed: int, n_resamples: int = 400
) -> Counted:
    def interval(
        score: NDArray[np.float64], member: NDArray[np.bool_]
    ) -> Interval | None:
        drawn = bootstrap.resampled(
            score[None], score[None] > 0, member, (rate,), n_resamples, seed
        )
        return bootstrap.interval(drawn[str(rate)][0], 0.95)

    return covered(cell, cell.tpr(rate), interval, n_draws, seed)


def decisions_covered(
    cell: Cell, threshold: float, n_draws: int, seed: int
) -> dict[str, Counted]:
    """Count the draws whose intervals cover, of a threshold fixed beforehand."""
    n, n_others = cell.n_members, cell.n_nonmembers
    tpr, fpr = float(norm.sf(threshold - cell.shift)), float(norm.sf(threshold))
    truth = {
        "accuracy": (n * tpr + n_others * (1 - fpr)) / (n + n_others),
        "precision": n * tpr / (n * tpr + n_others * fpr),
        "recall": tpr,
        "advantage": tpr - fpr,
    }
    hits = dict.fromkeys(truth, 0)
    for score, member in cell.draws(n_draws, seed):
        decision = score > threshold
        right, alarms = int(decision[member].sum()), int(decision[~member].sum())
        rate = intervals.clopper_pearson
        limits = {
            "accuracy": rate(right + n_others - alarms, n + n_others, 0.95),
            "precision": rate(right, right + alarms, 0.95),
            "recall": rate(right, n, 0.95),
            "advantage": intervals.advantage(decision, member, 0.95),
        }
        for name, (low, high) in limits.items():
            hits[name] += low <= truth[name] <= high
    return {name: Counted(count, n_draws) for name, count in hits.items()}


class TiedCell(NamedTuple):
    """An audit of two-valued scores that say nothing, `share` of them the higher."""

    n_members: int
    n_nonmembers: int
    share: float

    def draws(
        self, n: int, seed: int
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        rng = np.random.default_rng(seed)
        member = np.arange(self.n_members + self.n_nonmembers) < self.n_members
        for _ in range(n):
            yield (rng.random(len(member)) < self.share).astype(np.float64), member


def tied_auc_covered(cell: TiedCell, n_draws: int, seed: int) -> Counted:
    """Count the draws whose interval of the AUC covers one half."""
    limits = [intervals.auc(*draw, 0.95) for draw in cell.draws(n_draws, seed)]
    return Counted(sum(low <= 0.5 <= high for low, high in limits), n_draws)


def false_p_values(
    cell: Cell | TiedCell, level: float, n_draws: int, seed: int
) -> Counted:
    """Count the draws of noise that are significant."""
    p_values = [metrics.p_value(*draw) for draw in cell.draws(n_draws, seed)]
    return Counted(sum(p <= level for p in p_values), n_draws)


def failed_null_controls(
    n_attacks: int, n_records: int, likeness: float, n_draws: int, seed: int
) -> Counted:
    """Count the sound audits that fail the null control.

    Args:
        n_attacks: that are judged together.
        n_records: of attack-eval.
        likeness: correlation of the attacks' scores.
        n_draws: audits.
        seed: of them.
    """
    rng = np.random.default_rng(seed)
    member = np.arange(n_records) < n_records // 2
    failed = 0
    for _ in range(n_draws):
        common = rng.normal(size=n_records)
        scores = {
            str(attack): math.sqrt(likeness) * common
            + math.sqrt(1 - likeness) * rng.normal(size=n_records)
            for attack in range(n_attacks)
        }
        failed += not controls.null(scores, rng.permutation(member), ()).passed
    return Counted(failed, n_draws)


class Claims(NamedTuple):
    """How often audits show a leak, by the present rule and by plain Holm."""

    chosen_first: Counted
    holm: Counted


def leaks_shown(
    n_attacks: int, shift: float, n_records: int, n_draws: int, seed: int
) -> Claims:
    """Count the audits whose attacks beat chance.

    The attacks' scores have a correlation of one half. The first is the best one, the
    others have a random part of its strength. The chosen attack is the one of the
    highest AUC on attack-train, half of the records.

    Args:
        n_attacks: that are judged together.
        shift: deviations that members lie above non-members by the best; 0 of nothing.
        n_records: audited.
        n_draws: audits.
        seed: of them.
    """
    rng = np.random.default_rng(seed)
    member = np.arange(n_records) % 2 == 0
    train, judged = np.arange(n_records) % 4 < 2, np.arange(n_records) % 4 >= 2
    hits = np.zeros(2, dtype=int)
    for _ in range(n_draws):
        common, own = (
            rng.normal(size=n_records),
            rng.normal(size=(n_attacks, n_records)),
        )
        strength = rng.random(n_attacks)
        strength[0] = 1.0
        score = (common + own) / math.sqrt(2) + shift * strength[:, None] * member
        of_train = [metrics.auc(each[train], member[train]) for each in score]
        p = np.array([metrics.p_value(each[judged], member[judged]) for each in score])
        adjusted = (
            corrections.chosen_first(
                p, int(np.argmax(of_train)), np.arange(n_attacks), CHOSEN_SHARE
            ),
            corrections.holm(p),
        )
        hits += [(each < 0.05).any() for each in adjusted]
    return Claims(*(Counted(int(count), n_draws) for count in hits))


def labels(predicted: NDArray[np.int64], label: NDArray[np.int64]) -> Labels:
    """Return the control of labels of members that the target puts into a class."""
    within = float(np.isin(predicted, label).mean())
    nothing = Contradicted(records=0, of=0, accuracy_on_others=None)
    return controls.labels(predicted == label, label, within, nothing)


class Task(NamedTuple):
    """What a target reaches on its classes."""

    n_classes: int
    on_members: float  # accuracy
    on_others: float  # accuracy


class Noticed(NamedTuple):
    """How often the controls of labels and of sides fail."""

    labels: Counted
    sides: Counted


def corruptions_noticed(
    task: Task,
    n_records: int,
    n_draws: int,
    seed: int,
    *,
    shuffled: float = 0.0,
    exchanged: float = 0.0,
) -> Noticed:
    """Count the audits of a sound target whose inputs are noticed to be corrupted.

    Half of the records are members. Losses are normal, small where the target is right
    and a little smaller for members.

    Args:
        task: of the target.
        n_records: audited.
        n_draws: audits.
        seed: of them.
        shuffled: share of the records whose labels are put into another order.
        exchanged: share of the records that stand on the wrong side.
    """
    rng = np.random.default_rng(seed)
    n_classes = task.n_classes
    failed = np.zeros(2, dtype=int)
    for _ in range(n_draws):
        member = rng.permutation(n_records) < n_records // 2
        label = rng.integers(0, n_classes, n_records)
        right = rng.random(n_records) < np.where(
            member, task.on_members, task.on_others
        )
        other = (label + rng.integers(1, n_classes, n_records)) % n_classes
        output = np.where(right, label, other)
        score = rng.normal(size=n_records) + 3 * right + 0.3 * member
        moved = rng.random(n_records) < shuffled
        label[moved] = rng.permutation(label[moved])
        member ^= rng.random(n_records) < exchanged
        correct = output == label
        outcome = (
            labels(output[member], label[member]).passed,
            controls.sides(correct, member, score).passed,
        )
        failed += [passed is False for passed in outcome]
    return Noticed(*(Counted(int(count), n_draws) for count in failed))
