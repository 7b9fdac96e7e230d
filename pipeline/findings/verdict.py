"""Verdict: what may be claimed of the target, once the controls are passed."""

from collections.abc import Sequence

from pipeline.findings import contradiction
from pipeline.findings.schema import (
    AttackFigures,
    Controls,
    Grade,
    Resemblance,
    Sides,
    Units,
    Verdict,
)

# Low false-positive rates. At these, TENFOLD as many members as non-members are a leak.
LOW_RATES = ("0.01", "0.001")
TENFOLD = 10.0
HIGH_AUC = 0.8  # with an AUC above this, the chosen attack's leak is of grade "high"
LEAST_SIDE = 10  # records of either side that must be judged
# Share of the units with non-members at which it is told how many the target knows.
MANY_BOTH = 0.05
NAMED = 3  # statistics or references that a sentence names
RULE = (
    "cannot tell: see reasons. none found: no attack beats chance. low: some attack "
    "does (leaks). moderate: an attack that does exceeds the threshold in accuracy, "
    "precision and recall alike, by the lower ends of its intervals (exceeds). high: "
    "the chosen attack beats chance and finds, at a false-positive rate of 1% or "
    "0.1%, ten times that share of the members, by the lower end of its interval "
    "(exceeds, too); or it exceeds the threshold and has an AUC above "
    f"{HIGH_AUC}, by its lower end."
)


def verdict(
    attacks: Sequence[AttackFigures],
    controls: Controls,
    *,
    n_members: int,
    n_nonmembers: int,
    threshold: float,
    min_records: int,
    confidence: float,
    units: Units | None = None,
) -> Verdict:
    """Judge whether the target leaks its training records, and how much.

    Nothing is said if a control forbids it, or too few records were judged. Otherwise
    `RULE` decides. What is said of the attack that was chosen on attack-train does not
    depend on the other attacks: see `corrections.chosen_first`. So a leak that it shows
    is shown whatever else is listed.

    Args:
        attacks: as in the report; the last is the strongest.
        controls: as in the report.
        n_members: number of members judged.
        n_nonmembers: number of non-members judged.
        threshold: in [0, 1].
        min_records: fewest records that allow a verdict.
        confidence: of the report, in (0, 1); corrected p-values are compared with
            1 − confidence.
        units: as in the report.

    Source: on low rates Carlini et al. 2022, arXiv:2112.03570, section III.
    """
    n_eval = n_members + n_nonmembers
    reasons = [*_failures(controls), *_lack(n_members, n_nonmembers, min_records)]
    if reasons:
        return Verdict(
            leaks=None,
            exceeds=None,
            grade="cannot tell",
            rule=RULE,
            attack=None,
            methods=(),
            reasons=tuple(reasons),
            caveats=(),
            sentence=f"Cannot tell: {'; '.join(reasons)}.",
        )
    *single, strongest = attacks
    beyond = [attack for attack in single if attack.p_value_corrected < 1 - confidence]
    above = [attack for attack in beyond if attack.exceeds]
    is_shown = strongest.chosen in [attack.method for attack in beyond]
    low_rate = _low_rate(strongest) if is_shown else None
    grade = _grade(strongest, beyond, above, low_rate)
    spoken = _spoken(strongest, beyond, above, low_rate)
    if above or low_rate is not None:
        guess = max(n_members, n_nonmembers) / n_eval
        leak = _leak(spoken, above, low_rate, n_eval, guess)
    elif beyond:
        p = spoken.p_value_corrected
        leak = (
            f"the attack {spoken.method} does better than chance (AUC "
            f"{spoken.auc:.3f}, p {p:.1g}), but no attack exceeds {threshold:.0%} in "
            "accuracy, precision and recall alike, beyond what chance allows"
        )
    if beyond:
        sentence = (
            f"This model leaks which records it was trained on, to a {grade} degree: "
            f"{leak}."
        )
        if spoken.method != strongest.chosen:
            sentence += f" {_on_chosen(strongest, is_shown=is_shown)}"
    else:
        _, highest = strongest.auc_interval
        sentence = (
            f"No leak was found by these attacks on {n_eval} records: none does better "
            f"than chance, and the AUC of the strongest, {strongest.chosen}, is below "
            f"{highest:.3f} with {confidence:.0%} confidence."
        )
    caveats = [*_caveats(controls), *_about_both(units)]
    if controls.references is not None and controls.references.passed is False:
        unlike = _unlike(controls.references)
        sentence = f"{unlike}: {sentence[0].lower()}{sentence[1:]}"
    return Verdict(
        leaks=bool(beyond),
        exceeds=bool(above) or low_rate is not None,
        grade=grade,
        rule=RULE,
        attack=spoken.method,
        methods=tuple(attack.method for attack in above),
        reasons=(),
        caveats=tuple(caveats),
        sentence=" ".join([sentence, *caveats]),
    )


def _grade(
    strongest: AttackFigures,
    beyond: Sequence[AttackFigures],
    above: Sequence[AttackFigures],
    low_rate: str | None,
) -> Grade:
    """Return the grade of a leak by `RULE`."""
    is_above = strongest.chosen in [attack.method for attack in above]
    if low_rate is not None or (is_above and strongest.auc_interval[0] > HIGH_AUC):
        return "high"
    if above:
        return "moderate"
    return "low" if beyond else "none found"


def _spoken(
    strongest: AttackFigures,
    beyond: Sequence[AttackFigures],
    above: Sequence[AttackFigures],
    low_rate: str | None,
) -> AttackFigures:
    """Return the attack to speak of: the chosen one, unless others alone show it."""
    chosen = strongest.model_copy(update={"method": strongest.chosen})
    showing = above or beyond
    names = [attack.method for attack in showing]
    if not showing or low_rate is not None or strongest.chosen in names:
        return chosen
    return min(showing, key=lambda attack: attack.p_value_corrected)


def _on_chosen(strongest: AttackFigures, *, is_shown: bool) -> str:
    """Say how the chosen attack does where another is spoken of."""
    how = (
        "beats chance as well, but does not exceed the threshold"
        if is_shown
        else "does not beat chance"
    )
    return (
        f"The attack {strongest.chosen}, which was chosen beforehand and which the "
        f"bounds of epsilon and the slices speak of, {how}."
    )


def _failures(controls: Controls) -> list[str]:
    """Return which failed controls forbid a verdict."""
    reasons = []
    if controls.labels.passed is False:
        reasons.append(
            f"the target is right on {controls.labels.accuracy:.1%} of its members, no "
            "more often than with shuffled labels, so labels, classes or checkpoint do "
            "not fit (check that labels stand in the order of the records and are "
            "numbered as in training, and that the checkpoint is the trained one)"
        )
    if controls.sides.passed is False:
        reasons.append(_exchanged(controls.sides))
    if controls.blind.passed is False:
        names = [differing.statistic for differing in controls.blind.differing][:NAMED]
        by = f" (by {', '.join(names)})" if names else ""
        reasons.append(f"the two sides differ without the model{by}")
    if not controls.null.passed:
        reasons.append("the attacks find members where memberships say nothing")
    return reasons


def _exchanged(sides: Sides) -> str:
    """Return that members do worse than non-members, and why that may be."""
    loss = "" if sides.loss_auc is None else f"; AUC of the loss {sides.loss_auc:.3f}"
    return (
        "the target does worse on members than on non-members (right on "
        f"{sides.members_accuracy:.1%} against {sides.nonmembers_accuracy:.1%}{loss}), "
        "so the sides look exchanged (check which records are marked as members; if "
        "they are right, non-members are easier and cannot be compared with them)"
    )


def _lack(n_members: int, n_nonmembers: int, min_records: int) -> list[str]:
    """Return that too few records were judged, if they are."""
    n_eval, fewest = n_members + n_nonmembers, min(n_members, n_nonmembers)
    if n_eval < min_records:
        return [f"only {n_eval} records were judged and {min_records} are needed"]
    if fewest < LEAST_SIDE:
        return [
            f"only {fewest} records of a side were judged and {LEAST_SIDE} are needed"
        ]
    return []


def _unlike(references: Resemblance) -> str:
    """Return in what the references do not resemble the target."""
    pairs = (
        ("on their members", references.train_accuracy),
        ("on other records", references.test_accuracy),
    )
    parts = [
        f"right {where} on {pair.references:.1%} where the target is on "
        f"{pair.target:.1%}"
        for where, pair in pairs
        if pair is not None and pair.passed is False
    ]
    return f"By references that do not resemble the target ({', '.join(parts)})"


def _memorise_less(references: Resemblance) -> bool:
    """Return whether the references memorise less than the target.

    That is told by how much better a model does on what it was trained on.
    """
    inside, outside = references.train_accuracy, references.test_accuracy
    gap = 0.0 if inside is None else inside.references - inside.target
    return gap < (0.0 if outside is None else outside.references - outside.target)


def _caveats(controls: Controls) -> list[str]:
    """Return what a verdict leaves open."""
    caveats = []
    if controls.blind.auc is None:
        caveats.append(
            "The records themselves were not compared: whether members differ from "
            "non-members without the model is not known."
        )
    labels = controls.labels.contradicted
    if contradiction.is_notable(labels):
        caveats.append(
            f"{labels.records} of {labels.of} records have a label that no model "
            "gives that was trained on them, though these models are right on "
            f"{labels.accuracy_on_others:.0%} of the others: a part of the labels may "
            "be out of order, or wrong and not learned. It blunts every attack."
        )
    references = controls.references
    if references is not None and references.passed is False:
        where = (
            "LiRA most" if _memorise_less(references) else "at the lowest rates most"
        )
        caveats.append(
            "References that differ so blunt the attacks that compare with them, "
            f"{where}: the leak may be larger than shown."
        )
    elif references is not None and references.passed is None:
        pairs = (references.train_accuracy, references.test_accuracy)
        why = [pair.reason for pair in pairs if pair is not None and pair.reason]
        caveats.append(
            "Whether the references resemble the target is not known: "
            f"{why[0] if why else 'they have no records to compare'}."
        )
    if controls.independence is not None and not controls.independence.passed:
        agreeing = controls.independence.agreeing
        names = ", ".join(
            f"{model.reference} ({model.agreement:.0%} alike)"
            for model in agreeing[:NAMED]
        )
        more = f" and {len(agreeing) - NAMED} more" if len(agreeing) > NAMED else ""
        caveats.append(
            "The references were not drawn independently of the target, as their "
            f"memberships show: {names}{more}."
        )
    return caveats


def _about_both(units: Units | None) -> list[str]:
    """Return that many units have records on both sides, if they do."""
    if units is None or not units.both:
        return []
    n_nonmembers = units.nonmembers + units.both
    if units.both < MANY_BOTH * n_nonmembers:
        return []
    return [
        f"Of the {n_nonmembers} units with non-members, {units.both} are known to the "
        "target by other records: by units, the leak may be larger than shown."
    ]


def _leak(
    spoken: AttackFigures,
    above: Sequence[AttackFigures],
    low_rate: str | None,
    n_eval: int,
    guess: float,
) -> str:
    """Return what the attack that is spoken of shows."""
    parts = []
    if spoken.method in [attack.method for attack in above]:
        parts.append(
            f"told members from non-members rightly for {spoken.accuracy:.0%} of "
            f"{n_eval} records, where a guess is right for {guess:.0%}"
        )
    if low_rate is not None:
        parts.append(
            f"finds {spoken.tpr_at_fpr[low_rate].value:.0%} of the members at "
            f"{float(low_rate):.1%} false positives"
        )
    return f"the attack {spoken.method} {'; it '.join(parts)}"


def _low_rate(strongest: AttackFigures) -> str | None:
    """Return the lowest rate at which the attack finds members and little else."""
    lowest = None
    for rate in LOW_RATES:
        interval = strongest.tpr_at_fpr[rate].interval
        if interval is not None and interval[0] >= TENFOLD * float(rate):
            lowest = rate
    return lowest
