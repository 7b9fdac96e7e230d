"""Answers: what a reader asks first, answered from a report in plain words."""

from typing import NamedTuple

from pipeline.attacks import catalogue
from pipeline.findings.schema import AttackFigures, Rate, Report
from pipeline.findings.verdict import HIGH_AUC, LOW_RATES, TENFOLD

GRADES = ("none found", "low", "moderate", "high")
# What a grade asks for, in a line each.
MEANINGS = {
    "cannot tell": "a control failed, or too few records were judged",
    "none found": "no attack beats chance",
    "low": "some attack beats chance, and none exceeds the threshold",
    "moderate": "an attack that beats chance exceeds the threshold in accuracy, "
    "precision and recall",
    "high": "the chosen attack finds ten times as many members as non-members at 1% or "
    "0.1% false positives, or exceeds the threshold with an AUC surely above "
    f"{HIGH_AUC}",
}
HEADLINES = {
    "cannot tell": "This audit cannot tell whether the model leaks which records it "
    "was trained on.",
    "none found": "No leak was found: these attacks cannot tell which records the "
    "model was trained on.",
    "low": "This model leaks a little of which records it was trained on.",
    "moderate": "This model leaks which records it was trained on.",
    "high": "This model leaks which records it was trained on, to a high degree.",
}
# What an attacker is assumed to have, by family.
ASSUMPTIONS = {
    "threshold": "the model's output for a record and its label",
    "population": "the same, and records that surely were not in the training",
    "reference": "the same, and models trained by the same recipe on like records",
    "quantile": "the same, and records that surely were not in the training",
    "learned": "the same, and some records known to be in or out",
    "amortised": "the same, some known records and, if any, models of the same recipe",
}
# How the lower bounds of epsilon come about.
BOUNDS = {
    "clopper_pearson": "the attack's rates",
    "one_run": "the attack's guesses",
}
# Kinds of attack that are none of this program's.
NOT_RUN = (
    ("label-only attacks", "the model answers with a class alone"),
    ("white-box attacks", "the attacker reads weights or gradients"),
    ("attribute inference", "a missing field of a known record is guessed"),
    ("model inversion and reconstruction", "records or likenesses are rebuilt"),
    ("property inference", "facts about the training set as a whole are inferred"),
    ("model extraction", "the model is copied by queries"),
    ("poisoning that amplifies a leak", "the attacker puts records into the training"),
)
ONE_IN = {"0.1": "ten", "0.01": "a hundred", "0.001": "a thousand", "0.0001": "10,000"}


class Answer(NamedTuple):
    """A question and its answer."""

    question: str
    text: str
    link: str  # the section that says more


def answers(report: Report, threshold: float) -> tuple[Answer, ...]:
    """Return what the first screen says below the verdict.

    Args:
        report: of the audit.
        threshold: of the verdict, in [0, 1].
    """
    return (
        Answer("How bad is that?", severity(report), "roc"),
        Answer("How near was the threshold?", nearness(report, threshold), "sure"),
        Answer("Would more references change it?", more_references(report), "sure"),
    )


def headline(report: Report) -> str:
    """Return the verdict in a sentence without figures."""
    return HEADLINES[report.verdict.grade]


def lowest_rate(attack: AttackFigures) -> tuple[str, Rate] | None:
    """Return the lowest of the rates 1 % and 0.1 % that could be measured."""
    for rate in reversed(LOW_RATES):
        if attack.tpr_at_fpr[rate].value is not None:
            return rate, attack.tpr_at_fpr[rate]
    return None


def severity(report: Report) -> str:
    """Return what the strongest attack comes to, in people."""
    if report.verdict.grade == "cannot tell":
        return "Not known: no figure of this audit shows a leak, or that there is none."
    strongest, members = report.strongest, report.records.members
    lowest = lowest_rate(strongest)
    if lowest is None:
        accuracy = strongest.accuracy
        return (
            f"The strongest attack is right for {accuracy:.0%} of the records. How "
            "many members it names with few false alarms could not be measured: there "
            f"are only {report.controls.resolution.nonmembers} non-members to judge by."
        )
    rate, tpr = lowest
    assert tpr.value is not None
    assert tpr.interval is not None
    low, high = (round(end * members) for end in tpr.interval)
    guess, ratio = float(rate), tpr.value / float(rate)
    people = (
        f"Of {members:,} training records, about {round(tpr.value * members):,} "
        f"({low:,} to {high:,}) can be named while one in {ONE_IN[rate]} non-members "
        "is named wrongly."
    )
    if tpr.interval[0] <= guess:
        return (
            f"{people} A guess would name {guess * members:.0f}, which the interval "
            "does not exclude."
        )
    return (
        f"{people} A guess would name {guess * members:.0f}, so this is "
        f"{ratio:.0f} times a guess. Grade high begins at {TENFOLD:.0f} times, by the "
        "lower end."
    )


def nearness(report: Report, threshold: float) -> str:
    """Return how far the figure that decided was from deciding otherwise."""
    grade, strongest = report.verdict.grade, report.strongest
    if grade == "cannot tell":
        return "It was not reached: a control stands before it."
    if grade == "none found":
        low, high = strongest.auc_interval
        return (
            f"The AUC of the strongest attack is {strongest.auc:.3f} ({low:.3f} to "
            f"{high:.3f}), where chance is 0.500; its p-value is "
            f"{strongest.p_value_corrected:.2g}, where below "
            f"{1 - report.confidence:.2g} would have been a leak."
        )
    return f"{_by_high(strongest)} {_by_threshold(report, threshold)}"


def _by_high(strongest: AttackFigures) -> str:
    """Return how the figures stand to what the grade high asks for."""
    by_auc = (
        f"an AUC surely above {HIGH_AUC} beside the threshold; the lower end of the "
        f"AUC is {strongest.auc_interval[0]:.3f}."
    )
    lows = {
        rate: tpr.interval[0]
        for rate in LOW_RATES
        if (tpr := strongest.tpr_at_fpr[rate]).interval is not None
    }
    if not lows:
        return f"Grade high needs {by_auc}"
    # The one that is nearest to its own tenfold, or furthest above it.
    rate = max(lows, key=lambda each: lows[each] / float(each))
    low, needed = lows[rate], TENFOLD * float(rate)
    is_short = low < needed
    side = "short of" if is_short else "above"
    by_rate = (
        f"Grade high needs {needed:.0%} of the members found at {100 * float(rate):g}% "
        f"false positives; the lower end of the interval is {low:.1%}, "
        f"{100 * abs(low - needed):.1f} points {side} it."
    )
    return f"{by_rate} Or it needs {by_auc}" if is_short else by_rate


def _by_threshold(report: Report, threshold: float) -> str:
    """Return which of the three figures is nearest to the threshold, or short of it."""
    attacks = [a for a in report.attacks[:-1] if a.method == report.verdict.attack]
    attack = attacks[0] if attacks else report.strongest
    lows = {
        "accuracy": attack.accuracy_interval[0],
        "precision": attack.precision_interval[0] if attack.precision_interval else 0.0,
        "recall": attack.recall_interval[0],
    }
    name = min(lows, key=lambda each: lows[each])
    side = "above" if lows[name] > threshold else "below"
    return (
        f"Of the {threshold:.0%} rule on accuracy, precision and recall, {name} "
        f"decides: its lower end is {lows[name]:.1%}, "
        f"{100 * abs(lows[name] - threshold):.1f} points {side}."
    )


def more_references(report: Report) -> str:
    """Return what is known of more references."""
    count = report.references.count
    if not count:
        return (
            "Probably: there are none, so the attacks that compare the target with "
            "other models could not run. Set [references] count and audit again."
        )
    if report.outlook is not None:
        return report.outlook.sentence
    return (
        f"Not measured: of {count} references no half can be compared with all, or "
        "[attack] growth is false."
    )


def not_run(report: Report) -> list[str]:
    """Return the attacks of the catalogue that this audit did not run."""
    ran = {attack.method for attack in report.attacks}
    return [name for name in catalogue.names() if name not in ran]


def families(report: Report) -> list[AttackFigures]:
    """Return the attack of the highest AUC of each family, in the report's order."""
    best: dict[str, AttackFigures] = {}
    for attack in report.attacks[:-1]:
        if attack.family not in best or attack.auc > best[attack.family].auc:
            best[attack.family] = attack
    return list(best.values())
