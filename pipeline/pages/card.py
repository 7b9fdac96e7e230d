"""Card: an audit in a page of Markdown, for the card that goes with a model."""

import re

from pipeline.findings.advice import advice
from pipeline.findings.schema import Ends, Rate
from pipeline.pages import answers
from pipeline.pages.content import Content
from pipeline.pages.html import percent, three
from pipeline.texts import visible

# What Markdown, or the HTML that it may hold, would read as its own.
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
ACTIONS = 3  # of the advice, shown


def card(content: Content) -> str:
    """Return the verdict of an audit and its figures as Markdown."""
    report, strongest = content.report, content.report.strongest
    records, target = report.records, report.target
    rows = [
        ("AUC", _figure(strongest.auc, strongest.auc_interval)),
        *(
            (f"members found at {percent(float(fpr))} false positives", _rate(tpr))
            for fpr, tpr in strongest.tpr_at_fpr.items()
            if tpr.value is not None
        ),
        ("accuracy", _share(strongest.accuracy, strongest.accuracy_interval)),
        ("precision", _share(strongest.precision, strongest.precision_interval)),
        ("recall", _share(strongest.recall, strongest.recall_interval)),
    ]
    outcomes = report.controls.outcomes
    failed = [name for name, passed in outcomes.items() if passed is False]
    of_units = "" if report.units is None else f" of {report.units.units:,} units"
    by_margins = (
        ", by margins alone: its class has more than half of the probability"
        if target.accuracy_by == "margins"
        else ""
    )
    lines = [
        f"## Membership inference audit: {plain(report.audit)}",
        "",
        f"**{answers.headline(report)}** Grade: **{report.verdict.grade}** "
        f"({answers.MEANINGS[report.verdict.grade]}).",
        "",
        answers.severity(report),
        "",
        f"| strongest attack, {plain(strongest.chosen or '')} | "
        f"value and {percent(report.confidence)} interval |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        f"- {records.members:,} members and {records.nonmembers:,} non-members"
        f"{of_units} were audited, {records.attack_eval:,} of them judged, by "
        f"{len(report.attacks) - 1} attacks and {report.references.count} "
        "reference models.",
        f"- The target is right on {percent(target.train_accuracy)} of the members and "
        f"{percent(target.test_accuracy)} of the non-members{by_margins}.",
        f"- Controls that failed: {', '.join(failed) or 'none'}.",
        f"- Checkpoint (SHA-256): {target.checkpoint_sha256 or 'not known'}.",
        "",
        "What to do now:",
        "",
        *(f"- {plain(each.action)}" for each in advice(report)[:ACTIONS]),
        "",
        "This is evidence against these attacks on these records only.",
    ]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def _figure(value: float, interval: Ends) -> str:
    low, high = map(three, interval)
    return f"{three(value)} ({low} to {high})"


def _share(value: float | None, interval: Ends | None) -> str:
    if value is None or interval is None:
        return percent(value)
    low, high = map(percent, interval)
    return f"{percent(value)} ({low} to {high})"


def _rate(tpr: Rate) -> str:
    return _share(tpr.value, tpr.interval)
