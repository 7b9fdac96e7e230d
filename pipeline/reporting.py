"""Reporting: what the audit found, in words and tables."""

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

RATES = ("recall", "precision", "accuracy")


def line(attack: dict[str, Any]) -> str:
    """Return a method's line as MindArmour's tutorial prints it.

    Args:
        attack: with "method" and the rates; a rate that is undefined is None.
    """
    rates = ", ".join(f"'{name}': {_rate(attack[name])}" for name in RATES)
    return f"Method: {attack['method']}, {{{rates}}}"


def table(attacks: Sequence[dict[str, Any]]) -> Table:
    """Return a table of the attacks with what the lines leave out."""
    names = ("method", "AUC", "accuracy", "precision", "recall", "tried", "best")
    shown = Table(box=None, pad_edge=False)
    for name in names[:1]:
        shown.add_column(name)
    for name in names[1:-1]:
        shown.add_column(name, justify="right")
    shown.add_column(names[-1], overflow="fold")
    for attack in attacks:
        rates = [_rate(attack[n]) for n in ("auc", "accuracy", "precision", "recall")]
        best = ", ".join(
            f"{name}={_short(value)}" for name, value in attack["params"].items()
        )
        tried = str(attack["n_candidates"])
        shown.add_row(attack["method"], *rates, tried, best)
    return shown


def verdict(
    attacks: Sequence[dict[str, Any]],
    *,
    n_members: int,
    n_nonmembers: int,
    threshold: float,
    min_records: int,
) -> dict[str, Any]:
    """Judge by the tutorial's rule whether the target leaks its training records.

    It leaks if accuracy, precision and recall of some method all exceed the threshold,
    and enough records were judged for that to mean something.

    Args:
        attacks: each with "method" and the rates.
        n_members: number of members judged.
        n_nonmembers: number of non-members judged.
        threshold: in [0, 1].
        min_records: fewest records that allow a verdict.

    Returns:
        {"leaks", "methods", "sentence"}.

    Source: MindArmour's tutorial "Using Membership Inference to Test Model Security".
    """
    above = [
        attack
        for attack in attacks
        if all((attack[name] or 0.0) > threshold for name in RATES)
    ]
    n_eval = n_members + n_nonmembers
    guess = max(n_members, n_nonmembers) / n_eval
    enough = n_eval >= min_records
    methods = [attack["method"] for attack in above]
    best = max(above or attacks, key=lambda attack: float(attack["accuracy"]))
    share = f"{best['accuracy']:.0%}"
    told = f"the attack {best['method']} told members from non-members"
    if not enough:
        sentence = (
            f"Cannot tell: only {n_eval} records were judged and {min_records} are "
            f"needed; {told} in {share} of them."
        )
    elif above:
        sentence = (
            f"This model leaks which records it was trained on: {told} rightly for "
            f"{share} of {n_eval} records, where a guess is right for {guess:.0%}."
        )
    else:
        sentence = (
            f"No leak was found by these attacks: {told} rightly for {share} of "
            f"{n_eval} records, and none exceeded {threshold:.0%} in accuracy, "
            "precision and recall alike."
        )
    return {
        "leaks": bool(above) and enough,
        "methods": methods if enough else [],
        "sentence": sentence,
    }


def text(report: dict[str, Any], width: int) -> str:
    """Return the report as it is read at a terminal of that many columns."""
    target, records = report["target"], report["records"]
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        highlight=False,
        markup=False,
    )
    audited = f"{records['members']} members and {records['nonmembers']} non-members"
    sides = (
        f"{records['attack_train']} to learn from, {records['attack_eval']} to judge"
    )
    console.print(f"Audit {report['audit']}: {audited}; {sides}.")
    console.print(
        f"Duplicates of members dropped: {records['duplicates_dropped']}. "
        f"Mislabelled canaries: {records['canaries']}."
    )
    console.print(
        f"Target accuracy: {target['train_accuracy']:.4f} on members, "
        f"{target['test_accuracy']:.4f} on non-members."
    )
    console.print()
    for attack in report["attacks"]:
        console.print(line(attack), soft_wrap=True)
    console.print()
    console.print(table(report["attacks"]))
    console.print()
    console.print(report["verdict"]["sentence"])
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rate(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}"
