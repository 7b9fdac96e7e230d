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
    shown = Table(box=None, pad_edge=False)
    shown.add_column("attack", no_wrap=True)
    for name in ("AUC", "TPR@1%", "@0.1%", "accuracy", "precision", "recall"):
        shown.add_column(name, justify="right", no_wrap=True)
    for attack in attacks:
        tpr = attack["tpr_at_fpr"]
        rates = [attack["auc"], tpr["0.01"], tpr["0.001"]]
        rates += [attack[name] for name in ("accuracy", "precision", "recall")]
        name = attack["method"]
        shown.add_row(name, *("-" if rate is None else _rate(rate) for rate in rates))
    return shown


def candidates(attacks: Sequence[dict[str, Any]]) -> Table:
    """Return a table of the learned attacks' searches."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("learned")
    shown.add_column("tried", justify="right")
    shown.add_column("best", overflow="fold")
    for attack in attacks:
        best = ", ".join(
            f"{name}={_short(value)}" for name, value in attack["params"].items()
        )
        shown.add_row(attack["method"], str(attack["n_candidates"]), best)
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
    if records["population"]:
        audited += f", beside a population of {records['population']}"
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
    console.print(_about_references(report["references"]))
    console.print()
    learned = [
        attack
        for attack in report["attacks"]
        if attack["family"] == "learned" and "chosen" not in attack
    ]
    for attack in learned:
        console.print(line(attack), soft_wrap=True)
    if learned:
        console.print()
    console.print(table(report["attacks"]))
    tail = (report["tail"] or {}).get("0.01")
    if tail is not None:
        console.print(
            f"Tail estimate: the loss alone rules out {tail:.4f} of the non-members "
            "while it loses 1% of the members."
        )
    for attack in report["attacks"]:
        if "chosen" in attack:
            told = f"{attack['method']}: {attack['chosen']}, chosen on attack-train"
            console.print(told)
    if learned:
        console.print()
        console.print(candidates(learned))
    console.print()
    console.print(report["verdict"]["sentence"])
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def _about_references(references: dict[str, Any]) -> str:
    models = references["models"]
    if not models:
        return "References: none."
    told = []
    for side, where in (("train", "their members"), ("test", "the rest")):
        rates = [one[f"{side}_accuracy"] for one in models]
        rates = [rate for rate in rates if rate is not None]
        if rates:
            told.append(f"{min(rates):.4f} to {max(rates):.4f} on {where}")
    return f"References: {references['count']}, accuracy {', '.join(told)}."


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rate(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}"
