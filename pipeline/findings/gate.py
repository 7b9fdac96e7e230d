"""Gate: whether a report keeps the limits that are set for a release.

A figure is compared by the end of its interval that speaks for a leak, the upper one,
and the worst attack decides. Upper ends need no correction for the number of attacks: a
limit is kept only if every attack keeps it, so a model that breaks it by some attack
passes no more often than that attack's interval misses.

Source: Berger 1982, "Multiparameter hypothesis testing and acceptance sampling", the
intersection-union test.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from pydantic import JsonValue

from pipeline.config import Gate as Limits
from pipeline.findings.schema import (
    AttackFigures,
    Controls,
    Ends,
    Grade,
    Report,
    Resemblance,
    Verdict,
)
from pipeline.record import Record

Status = Literal["kept", "broken", "not measurable"]
GRADES = get_args(Grade)[1:]  # from the best to the worst; the first is "cannot tell"
REPORT = "report"  # the limit that any report keeps which is there and of this config


class Outcome(Record):
    """What became of a limit."""

    limit: str  # the setting, and which part of it
    allowed: JsonValue
    status: Status
    attack: str | None  # that comes nearest to the limit, or breaks it most
    value: float | None  # its figure
    upper: float | None  # the upper end of the figure's interval, which is compared
    text: str


class Gate(Record):
    """What became of all limits."""

    audit: str
    passed: bool
    report_sha256: str | None  # of the report that was judged; None: none could be
    confidence: float | None  # of its intervals
    unchecked: tuple[str, ...]  # what could not be compared with the config, and why
    outcomes: tuple[Outcome, ...]


class Figure(NamedTuple):
    """A figure of an attack."""

    attack: str
    value: float | None
    interval: Ends | None
    reason: str | None = None  # why there is none


def judged(report: Report, limits: Limits) -> tuple[Outcome, ...]:
    """Return what becomes of each limit.

    Args:
        report: of the audit.
        limits: that are set.
    """
    attacks = report.attacks[:-1]  # the last repeats one of them
    outcomes = [_grade(report.verdict, limits.grade)]
    if limits.max_auc is not None:
        figures = [Figure(a.method, a.auc, a.auc_interval) for a in attacks]
        outcomes.append(_highest("max_auc", limits.max_auc, "an AUC", figures))
    if limits.max_accuracy is not None:
        outcomes.append(_accuracy(report, attacks, limits.max_accuracy))
    outcomes += [
        _rate(attacks, rate, limit) for rate, limit in limits.max_tpr_at_fpr.items()
    ]
    if limits.require_controls:
        outcomes += _controls(report.controls)
    return tuple(outcomes)


def is_passed(outcomes: Sequence[Outcome]) -> bool:
    """Return whether all limits are kept."""
    return all(outcome.status == "kept" for outcome in outcomes)


def on_report(status: Status, text: str) -> Outcome:
    """Return whether there is a report to judge at all."""
    return _outcome(REPORT, allowed="of this config", status=status, text=text)


def _outcome(limit: str, allowed: JsonValue, status: Status, text: str) -> Outcome:
    return Outcome(
        limit=limit,
        allowed=allowed,
        status=status,
        attack=None,
        value=None,
        upper=None,
        text=text,
    )


def _grade(verdict: Verdict, worst: Grade) -> Outcome:
    if verdict.grade not in GRADES:
        return _outcome(
            "grade",
            worst,
            "not measurable",
            f"cannot tell: {'; '.join(verdict.reasons)}",
        )
    kept = GRADES.index(verdict.grade) <= GRADES.index(worst)
    text = f"the grade is {verdict.grade}"
    return _outcome("grade", worst, "kept" if kept else "broken", text)


def _accuracy(
    report: Report, attacks: Sequence[AttackFigures], limit: float
) -> Outcome:
    """Judge the accuracy, if it can be below the limit without any attack."""
    n_eval = report.records.attack_eval
    n_nonmembers = report.controls.resolution.nonmembers
    guess = max(n_nonmembers, n_eval - n_nonmembers) / n_eval
    if guess > limit:
        text = (
            f"a guess is right for {guess:.1%}, as one side has more records; set "
            "max_auc, or audit as many members as non-members"
        )
        return _outcome("max_accuracy", limit, "not measurable", text)
    figures = [Figure(a.method, a.accuracy, a.accuracy_interval) for a in attacks]
    return _highest("max_accuracy", limit, "an accuracy", figures)


def _rate(attacks: Sequence[AttackFigures], rate: str, limit: float) -> Outcome:
    name = f"max_tpr_at_fpr.{rate}"
    figures = []
    for attack in attacks:
        there = {float(fpr): figure for fpr, figure in attack.tpr_at_fpr.items()}
        if float(rate) not in there:
            text = f"the report has no such rate; use {', '.join(attack.tpr_at_fpr)}"
            return _outcome(name, limit, "not measurable", text)
        own = there[float(rate)]
        figures.append(Figure(attack.method, own.value, own.interval, own.reason))
    return _highest(name, limit, "a true-positive rate", figures)


def _highest(name: str, limit: float, what: str, figures: Sequence[Figure]) -> Outcome:
    """Compare the highest upper end of several attacks' figures with a limit."""
    worst, upper = None, -math.inf
    for figure in figures:
        if figure.interval is not None and figure.interval[1] > upper:
            worst, upper = figure, figure.interval[1]
    unmeasured = [figure for figure in figures if figure.interval is None]
    if unmeasured and upper <= limit:
        reason = unmeasured[0].reason or "has no interval"
        return _outcome(name, limit, "not measurable", reason)
    assert worst is not None  # a report has attacks
    return Outcome(
        limit=name,
        allowed=limit,
        status="kept" if upper <= limit else "broken",
        attack=worst.attack,
        value=worst.value,
        upper=upper,
        text=(
            f"{worst.attack} has {what} of up to {_upward(upper)}"
            + ("" if worst.value is None else f" (measured: {worst.value:.4f})")
        ),
    )


def _upward(value: float) -> str:
    """Return a number, rounded up so that what exceeds a limit is seen to do so."""
    return f"{math.ceil(round(value * 1e4, 6)) / 1e4:.4f}"


def _controls(controls: Controls) -> Iterator[Outcome]:
    """Yield what became of each control; one without anything to control is kept."""
    reasons = {
        "labels": controls.labels.reason,
        "sides": controls.sides.reason,
        "null": None,
        "blind": controls.blind.reason,
        "references": _unresembled(controls.references),
        "independence": None,
    }
    for name, reason in reasons.items():
        control = getattr(controls, name)
        status: Status
        if control is None:
            status, text = "kept", "there are no references"
        elif control.passed is None:
            status, text = "not measurable", reason or "too little to tell"
        else:
            status = "kept" if control.passed else "broken"
            text = "passed" if control.passed else "failed; the report says by what"
        yield _outcome(f"require_controls.{name}", True, status, text)


def _unresembled(references: Resemblance | None) -> str | None:
    """Return why it cannot be told whether references resemble the target."""
    if references is None:
        return None
    pairs = (references.train_accuracy, references.test_accuracy)
    return next((pair.reason for pair in pairs if pair and pair.reason), None)
