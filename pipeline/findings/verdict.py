"""Verdict: what may be claimed of the target, once the controls are passed."""

from collections.abc import Sequence

from pipeline.findings.schema import AttackFigures, Controls, Status, Verdict

# Low false-positive rates. At these, TENFOLD as many members as non-members are a leak.
LOW_RATES = ("0.01", "0.001")
TENFOLD = 10.0
LEAST_SIDE = 10  # records of either side that must be judged
NAMED = 3  # statistics or references that a sentence names


def verdict(
    attacks: Sequence[AttackFigures],
    controls: Controls,
    *,
    n_members: int,
    n_nonmembers: int,
    threshold: float,
    min_records: int,
    confidence: float,
) -> Verdict:
    """Judge whether the target leaks its training records.

    Nothing is said if the null or the blind control failed, or too few records were
    judged. Otherwise the target leaks in either of two cases. First, if some attack
    beats chance and exceeds the threshold, both corrected for the number of attacks:
    see `figures.exceeds`. Second, if the attack that was chosen on attack-train beats
    chance, and finds at a low false-positive rate at least ten times that share of the
    members, by the lower end of the interval.

    Args:
        attacks: as in the report; the last is the strongest.
        controls: as in the report.
        n_members: number of members judged.
        n_nonmembers: number of non-members judged.
        threshold: in [0, 1].
        min_records: fewest records that allow a verdict.
        confidence: of the report, in (0, 1); p-values, which are Holm's over attacks,
            are compared with 1 − confidence.

    Source: on low rates Carlini et al. 2022, arXiv:2112.03570, section III.
    """
    n_eval = n_members + n_nonmembers
    reasons = [*_failures(controls), *_lack(n_members, n_nonmembers, min_records)]
    *single, strongest = attacks
    beyond = [attack for attack in single if attack.p_value_holm < 1 - confidence]
    above = [attack for attack in beyond if attack.exceeds]
    low_rate = None
    if strongest.chosen in [attack.method for attack in beyond]:
        low_rate = _low_rate(strongest)
    status: Status
    if reasons:
        status, sentence = "cannot tell", f"Cannot tell: {'; '.join(reasons)}."
    elif above or low_rate is not None:
        status = "leaks"
        guess = max(n_members, n_nonmembers) / n_eval
        sentence = _leak(above, strongest, low_rate, n_eval, guess)
    elif beyond:
        status = "below the threshold"
        best = min(beyond, key=lambda attack: attack.p_value_holm)
        sentence = (
            f"This model leaks a little: the attack {best.method} does better than "
            f"chance (AUC {best.auc:.3f}, p {best.p_value_holm:.1g}), but none "
            f"exceeds {threshold:.0%} in accuracy, precision and recall alike, beyond "
            "what chance allows."
        )
    else:
        status = "no leak found"
        _, highest = strongest.auc_interval
        sentence = (
            f"No leak was found by these attacks on {n_eval} records: none does better "
            f"than chance, and the AUC of the strongest, {strongest.chosen}, is below "
            f"{highest:.3f} with {confidence:.0%} confidence."
        )
    caveats = [] if reasons else _caveats(controls)
    return Verdict(
        leaks=None if reasons else status == "leaks",
        status=status,
        methods=() if reasons else tuple(attack.method for attack in above),
        reasons=tuple(reasons),
        caveats=tuple(caveats),
        sentence=" ".join([sentence, *caveats]),
    )


def _failures(controls: Controls) -> list[str]:
    """Return which failed controls forbid a verdict."""
    reasons = []
    if controls.blind.passed is False:
        names = [differing.statistic for differing in controls.blind.differing][:NAMED]
        by = f" (by {', '.join(names)})" if names else ""
        reasons.append(f"the two sides differ without the model{by}")
    if not controls.null.passed:
        reasons.append("the attacks find members where memberships say nothing")
    return reasons


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


def _caveats(controls: Controls) -> list[str]:
    """Return what a verdict leaves open."""
    caveats = []
    if controls.blind.auc is None:
        caveats.append(
            "The records themselves were not compared: whether members differ from "
            "non-members without the model is not known."
        )
    if controls.references is not None and controls.references.passed is False:
        caveats.append("The references do not fit as the target does.")
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


def _leak(
    above: Sequence[AttackFigures],
    strongest: AttackFigures,
    low_rate: str | None,
    n_eval: int,
    guess: float,
) -> str:
    """Return the sentence of a leak, by the strongest attack if it shows the leak."""
    names = [attack.method for attack in above]
    parts = []
    if above:
        shown = above[names.index(strongest.chosen) if strongest.chosen in names else 0]
        parts.append(
            f"the attack {shown.method} told members from non-members rightly for "
            f"{shown.accuracy:.0%} of {n_eval} records, where a guess is right "
            f"for {guess:.0%}"
        )
    if low_rate is not None:
        who = "it" if strongest.chosen in names else f"the attack {strongest.chosen}"
        parts.append(
            f"{who} finds {strongest.tpr_at_fpr[low_rate].value:.0%} of the members at "
            f"{float(low_rate):.1%} false positives"
        )
    return f"This model leaks which records it was trained on: {'; '.join(parts)}."


def _low_rate(strongest: AttackFigures) -> str | None:
    """Return the lowest rate at which the attack finds members and little else."""
    lowest = None
    for rate in LOW_RATES:
        interval = strongest.tpr_at_fpr[rate].interval
        if interval is not None and interval[0] >= TENFOLD * float(rate):
            lowest = rate
    return lowest
