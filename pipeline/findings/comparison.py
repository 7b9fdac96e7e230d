"""Comparison: how two audits of the same records differ.

Of a model before and after a defence, say. Every difference is that of the second audit
less the first. `Comparison` is compare.json. Rates lie in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.attacks import catalogue
from pipeline.errors import AuditError
from pipeline.findings.figures import RATES
from pipeline.findings.schema import Ends, Report
from pipeline.record import Record
from pipeline.statistics import corrections, metrics, paired, units
from pipeline.statistics.units import Units
from pipeline.texts import signed

MOVED = 10  # records shown of those that rose most, and of those that fell most
FEWEST = 2  # records of a side, with fewer of which nothing is compared
INTERVALS = {
    "auc": "DeLong, of paired AUCs",
    "tpr_at_fpr": "Zou and Donner, of correlated shares, each Clopper-Pearson averaged "
    "over where its threshold may lie",
    "accuracy": "Zou and Donner, of the shares gained and lost, each Clopper-Pearson",
}


@dataclass(frozen=True)
class Audit:
    """An audit that is compared, its records ascending by id."""

    name: str
    report: Report
    report_sha256: str
    settings: Mapping[str, Mapping[str, Any]]  # of each section
    id: NDArray[np.int64]  # (n_records,)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,)
    # (n_records,) hash of its input; None: only outputs are known, which models change
    content: NDArray[np.bytes_] | None
    unit: NDArray[np.bytes_] | None  # (n_records,) the user's id; None: there are none
    evaluation: NDArray[np.bool_]  # (n_records,) on the attack-eval side
    correct: NDArray[np.bool_]  # (n_records,) the target puts it into its class
    loss: NDArray[np.float64]  # (n_records,) the target's, nats
    method: tuple[str, ...]  # (n_methods,)
    score: NDArray[np.float64]  # (n_methods, n_records) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_methods, n_records) taken for a member

    @property
    def chosen(self) -> str:
        """The attack that was chosen on attack-train."""
        return self.report.strongest.chosen or ""

    @property
    def labelled(self) -> bool:
        """Whether the classes are known."""
        return bool((self.label >= 0).all())

    def row(self, method: str) -> int:
        """Return the row of an attack's scores."""
        return self.method.index(method)


class Change(Record):
    """A figure of both audits, and how it differs."""

    first: float
    second: float
    difference: float
    interval: Ends  # of the difference
    p_value: float  # two-sided, that there is no difference


class RateChange(Record):
    """How a true-positive rate differs, or why that was not measured."""

    change: Change | None
    reason: str | None


class AttackChange(Record):
    """How an attack does on both targets."""

    method: str
    first: str  # the attack that it is in the first audit
    second: str
    auc: Change
    p_value_corrected: float  # of the AUC, for the number of attacks but the strongest
    tpr_at_fpr: dict[str, RateChange]  # by false-positive rate
    accuracy: Change  # of what is taken for a member


class Utility(Record):
    """How the accuracy of the targets differs, on the records of the audits."""

    members: Change
    nonmembers: Change


class ClassChange(Record):
    """How exposed the members of a class are, as `Moved`, on average."""

    label: int
    members: int
    first: float
    second: float
    change: float


class Moved(Record):
    """How exposed a member is: the share of non-members that score below it."""

    id: int
    label: int | None  # None: classes are not known
    first: float
    second: float
    change: float


class Setting(Record):
    """A setting that differs."""

    name: str
    first: str
    second: str


class Side(Record):
    """An audit in short."""

    audit: str
    report_sha256: str  # of report.json's content, as it says itself
    grade: str
    references: int
    failed: tuple[str, ...]  # controls


class Comparison(Record):
    """How two audits of the same records differ."""

    # "schema" in the file; raised when the fields change.
    schema_version: Literal[1] = Field(default=1, alias="schema")
    first: Side
    second: Side
    members: int  # that both audits judge their attacks on
    nonmembers: int  # likewise
    same_outputs: bool  # both targets have the same loss on every record
    confidence: float  # of all intervals, each by itself
    intervals: dict[str, str]  # how the interval of each figure comes about
    settings: tuple[Setting, ...]  # that differ
    strongest: AttackChange  # the attack that each audit has chosen on attack-train
    attacks: tuple[AttackChange, ...]  # that both have run
    utility: Utility
    classes: tuple[ClassChange, ...]  # the most relieved first; empty without classes
    fallen: tuple[Moved, ...]  # members, the most relieved first
    risen: tuple[Moved, ...]  # members, the most exposed first
    sentence: str
    caveats: tuple[str, ...]


class Judged(NamedTuple):
    """What is compared of the records that both audits judge."""

    rows: NDArray[np.bool_]  # (n_records,) which they are
    member: NDArray[np.bool_]  # (n_judged,)
    unit: Units  # (n_judged,)


def comparison(first: Audit, second: Audit) -> Comparison:
    """Return how two audits differ.

    Args:
        first: the audit before a change, say.
        second: that after it.

    Raises:
        AuditError: if their records are not the same, or too few are judged by both.
    """
    check(first, second)
    judged = judged_by_both(first, second)
    confidence = first.report.confidence
    same_outputs = np.array_equal(first.loss, second.loss)
    strongest = _attack(first, second, catalogue.STRONGEST, judged, confidence)
    utility = _utility(first, second, confidence, same_outputs)
    moves = moved(first, second, judged)
    by_change = sorted(moves, key=lambda move: move.change)
    return Comparison(
        first=_side(first),
        second=_side(second),
        members=int(judged.member.sum()),
        nonmembers=int((~judged.member).sum()),
        same_outputs=same_outputs,
        confidence=confidence,
        intervals=INTERVALS,
        settings=tuple(settings(first.settings, second.settings)),
        strongest=strongest,
        attacks=_attacks(first, second, judged, confidence),
        utility=utility,
        classes=by_class(moves),
        fallen=tuple(move for move in by_change[:MOVED] if move.change < 0),
        risen=tuple(move for move in by_change[: -MOVED - 1 : -1] if move.change > 0),
        sentence=sentence(strongest, utility, confidence, same_outputs=same_outputs),
        caveats=tuple(_caveats(first, second, judged)),
    )


def check(first: Audit, second: Audit) -> None:
    """Refuse audits of different records.

    Raises:
        AuditError: saying in what they differ.
    """
    if problems := _differing(first, second):
        problem = f"do not audit the same records: {'; '.join(problems)}"
        fix = "give both configs the same [data], with its seed and its counts"
        raise AuditError(f"{first.name} and {second.name}", problem, fix)


def _differing(first: Audit, second: Audit) -> list[str]:
    """Return a phrase for everything in which the records of two audits differ."""
    problems = []
    for own, other in ((first, second), (second, first)):
        n_alone = len(np.setdiff1d(own.id, other.id))
        if n_alone:
            of_all = f"{n_alone:,} of {len(own.id):,} records of {own.name}"
            problems.append(f"{of_all} are not in {other.name}")
    _, rows, other_rows = np.intersect1d(
        first.id, second.id, assume_unique=True, return_indices=True
    )
    columns = {
        "inputs": (first.content, second.content),
        "labels": (first.label, second.label),
        "memberships": (first.member, second.member),
        "units": (first.unit, second.unit),
    }
    for name, (values, others) in columns.items():
        if values is None or others is None:
            continue
        n_differing = int((values[rows] != others[other_rows]).sum())
        if n_differing:
            problems.append(f"the {name} of {n_differing:,} shared records differ")
    return problems


def judged_by_both(first: Audit, second: Audit) -> Judged:
    """Return the records on the attack-eval side of both audits.

    On the others one of the audits has chosen its attack.

    Args:
        first: an audit.
        second: of the same records.

    Raises:
        AuditError: if too few of a side are left.
    """
    rows = first.evaluation & second.evaluation
    member = first.member[rows]
    fewest = int(min(member.sum(), (~member).sum()))
    if fewest < FEWEST:
        where = f"{first.name} and {second.name}"
        problem = f"judge {fewest} records of a side in common, and {FEWEST} are needed"
        fix = "give both configs the same [split]"
        raise AuditError(where, problem, fix)
    return Judged(rows, member, units.of(_units(first, second), rows))


def moved(first: Audit, second: Audit, judged: Judged) -> list[Moved]:
    """Return how exposed each judged member is in both audits, by the chosen attacks.

    The mean over members is the AUC, so the mean change is the change of the AUC.

    Args:
        first: an audit.
        second: of the same records.
        judged: what is compared.
    """
    before, after = (
        metrics.placements(
            audit.score[audit.row(audit.chosen)][judged.rows], judged.member
        )[0]
        for audit in (first, second)
    )
    members = np.flatnonzero(judged.rows)[judged.member]
    return [
        Moved(
            id=int(first.id[row]),
            label=int(first.label[row]) if first.labelled else None,
            first=float(was),
            second=float(now),
            change=float(now - was),
        )
        for row, was, now in zip(members, before, after, strict=True)
    ]


def by_class(moves: list[Moved]) -> tuple[ClassChange, ...]:
    """Return how the members of each class moved on average, most relieved first."""
    classes: dict[int, list[Moved]] = {}
    for move in moves:
        if move.label is not None:
            classes.setdefault(move.label, []).append(move)
    changes = []
    for label, own in sorted(classes.items()):
        was = float(np.mean([move.first for move in own]))
        now = float(np.mean([move.second for move in own]))
        changes.append(
            ClassChange(
                label=label, members=len(own), first=was, second=now, change=now - was
            )
        )
    return tuple(sorted(changes, key=lambda change: change.change))


def settings(
    first: Mapping[str, Mapping[str, Any]], second: Mapping[str, Mapping[str, Any]]
) -> list[Setting]:
    """Return the settings that differ, by section and name."""
    before, after = _flat(first), _flat(second)
    return [
        Setting(name=name, first=before.get(name, "-"), second=after.get(name, "-"))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def sentence(
    strongest: AttackChange, utility: Utility, confidence: float, *, same_outputs: bool
) -> str:
    """Return what became of the leak, and of the target's accuracy, in words.

    Args:
        strongest: the attacks that the audits have chosen.
        utility: of the targets.
        confidence: of the intervals.
        same_outputs: both targets have the same loss on every record.
    """
    auc, accuracy = strongest.auc, utility.nonmembers
    low, high = auc.interval
    privacy = (
        f"{headline(strongest, confidence, same_outputs=same_outputs)} The AUC of the "
        f"strongest attack is {auc.first:.3f} in A and {auc.second:.3f} in B, a change "
        f"of {signed(auc.difference, 3)} ({confidence:.0%} interval {signed(low, 3)} "
        f"to {signed(high, 3)}, p {_p(auc.p_value)})."
    )
    low, high = (100 * end for end in accuracy.interval)
    return (
        f"{privacy} On non-members model A is right for {accuracy.first:.1%} and model "
        f"B for {accuracy.second:.1%}, a change of "
        f"{signed(100 * accuracy.difference, 1)} points ({signed(low, 1)} to "
        f"{signed(high, 1)}, p {_p(accuracy.p_value)})."
    )


def headline(strongest: AttackChange, confidence: float, *, same_outputs: bool) -> str:
    """Return what became of the leak, without figures; see `sentence`."""
    if same_outputs:
        return "A and B are audits of the same model outputs."
    if strongest.auc.p_value >= 1 - confidence:
        return "No change of the leak is shown."
    return f"B leaks {'less' if strongest.auc.difference < 0 else 'more'} than A."


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _units(first: Audit, second: Audit) -> Units:
    """Return a number for the unit of each record; None where no audit has units."""
    unit = first.unit if first.unit is not None else second.unit
    if unit is None:
        return None
    return units.shared(np.unique(unit, return_inverse=True)[1].ravel())


def _attack(
    first: Audit, second: Audit, method: str, judged: Judged, confidence: float
) -> AttackChange:
    """Return how an attack does on both targets, uncorrected."""
    member, unit = judged.member, judged.unit
    names = [
        audit.chosen if method == catalogue.STRONGEST else method
        for audit in (first, second)
    ]
    places = [
        (audit, audit.row(name))
        for audit, name in zip((first, second), names, strict=True)
    ]
    before, after = (audit.score[row][judged.rows] for audit, row in places)
    was_right, is_right = (
        audit.decision[row][judged.rows] == member for audit, row in places
    )
    auc = _change(paired.auc(before, after, member, confidence, unit))
    is_same = np.array_equal(before, after) and np.array_equal(was_right, is_right)
    return AttackChange(
        method=method,
        first=names[0],
        second=names[1],
        auc=auc,
        p_value_corrected=auc.p_value,
        tpr_at_fpr={
            str(rate): _rate(before, after, judged, rate, confidence) for rate in RATES
        },
        accuracy=_share(was_right, is_right, confidence, unit, is_same=is_same),
    )


def _attacks(
    first: Audit, second: Audit, judged: Judged, confidence: float
) -> tuple[AttackChange, ...]:
    """Return how the attacks that both audits have run do on both targets."""
    changes = [
        _attack(first, second, method, judged, confidence)
        for method in first.method
        if method in second.method
    ]
    corrected = corrections.holm(np.array([each.auc.p_value for each in changes]))
    return tuple(
        each.model_copy(update={"p_value_corrected": float(p)})
        for each, p in zip(changes, corrected, strict=True)
    )


def _rate(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    judged: Judged,
    rate: float,
    confidence: float,
) -> RateChange:
    change = paired.tpr_at_fpr(
        before, after, judged.member, rate, confidence, judged.unit
    )
    if change is not None:
        return RateChange(change=_change(change), reason=None)
    n_others = int((~judged.member).sum())
    reason = f"needs {round(1 / rate)} non-members, and there are {n_others}"
    return RateChange(change=None, reason=reason)


def _utility(
    first: Audit, second: Audit, confidence: float, same_outputs: bool
) -> Utility:
    """Return how often the targets are right, on all audited records."""
    unit = _units(first, second)
    members, nonmembers = (
        _share(
            first.correct[side],
            second.correct[side],
            confidence,
            units.of(unit, side),
            is_same=same_outputs,
        )
        for side in (first.member, ~first.member)
    )
    return Utility(members=members, nonmembers=nonmembers)


def _share(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    confidence: float,
    unit: Units,
    *,
    is_same: bool,
) -> Change:
    """Return how a share differs; by nothing if the models are known to be the same."""
    if is_same:
        return _change(paired.unchanged(float(first.mean())))
    return _change(paired.share(first, second, confidence, unit))


def _change(change: paired.Change) -> Change:
    return Change(**change._asdict())


def _side(audit: Audit) -> Side:
    outcomes = audit.report.controls.outcomes
    return Side(
        audit=audit.name,
        report_sha256=audit.report_sha256,
        grade=audit.report.verdict.grade,
        references=audit.report.references.count,
        failed=tuple(name for name, passed in outcomes.items() if passed is False),
    )


def _caveats(first: Audit, second: Audit, judged: Judged) -> list[str]:
    """Return what a reader must know before he believes the figures."""
    caveats = [
        f"The control of {', '.join(side.failed)} failed in {side.audit}, so its "
        "figures may show something else than a leak."
        for side in (_side(first), _side(second))
        if side.failed
    ]
    sections = {
        each.name.partition(".")[0]
        for each in settings(first.settings, second.settings)
    }
    attacker = sorted(sections & {"attack", "features"})
    counts = first.report.references.count, second.report.references.count
    if attacker or counts[0] != counts[1]:
        differing = [f"[{section}]" for section in attacker]
        if counts[0] != counts[1]:
            differing.append(f"the number of references, {counts[0]} and {counts[1]}")
        caveats.append(
            f"The attacker differs too, in {' and '.join(differing)}: part of the "
            "change may be the attacker's and not the model's."
        )
    n_judged, n_all = (
        int(judged.rows.sum()),
        int((first.evaluation | second.evaluation).sum()),
    )
    if n_judged < n_all:
        caveats.append(
            f"The audits divide the records differently, so only the {n_judged:,} that "
            f"both judge are compared, of {n_all:,} that either does."
        )
    caveats.append(
        "Two models are compared, and not two recipes: each was trained once, and the "
        "same recipe with another seed gives another model with other figures."
    )
    return caveats
