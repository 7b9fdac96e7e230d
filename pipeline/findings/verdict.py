"""Verdict: what may be claimed of the target, once the controls are passed."""

from collections.abc import Mapping, Sequence
from typing import Any

# Members found where this few non-members are, among which they are TENFOLD as many.
LOW_RATES = ("0.01", "0.001")
TENFOLD = 10.0
LEAST_SIDE = 10  # records of either side that must be judged
NAMED = 3  # statistics that a sentence names


def reached(
    attacks: Sequence[Mapping[str, Any]],
    controls: Mapping[str, Any],
    *,
    n_members: int,
    n_nonmembers: int,
    threshold: float,
    min_records: int,
    confidence: float,
) -> dict[str, Any]:
    """Judge whether the target leaks its training records.

    Nothing is said if the null or the blind control failed or too few records were
    judged. Else the target leaks if some attack exceeds the threshold, as
    `estimates.exceeds` tells with a correction for the number of attacks, and beats
    chance beyond all accident; or if the attack that was chosen on attack-train does
    so, and finds at a low false-positive rate at least ten times that share of members,
    by the lower end of the interval.

    Args:
        attacks: as in the report, with exact intervals; the last is the one chosen.
        controls: as in the report.
        n_members: number of members judged.
        n_nonmembers: number of non-members judged.
        threshold: in [0, 1].
        min_records: fewest records that allow a verdict.
        confidence: 1 less the level of the p-values, which are Holm's over attacks.

    Returns:
        {"leaks", "status", "methods", "reasons", "caveats", "sentence"}.

    Source: on low rates Carlini et al. 2022, arXiv:2112.03570, section III.
    """
    n_eval, fewest = n_members + n_nonmembers, min(n_members, n_nonmembers)
    reasons = _against(controls)
    if n_eval < min_records:
        few = f"only {n_eval} records were judged and {min_records} are needed"
        reasons.append(few)
    elif fewest < LEAST_SIDE:
        few = f"only {fewest} records of a side were judged and {LEAST_SIDE} are needed"
        reasons.append(few)
    *single, chosen = attacks
    beyond = [one for one in single if one["p_value_holm"] < 1 - confidence]
    above = [one for one in beyond if one["exceeds"]]
    low = None
    if any(one["method"] == chosen["chosen"] for one in beyond):
        low = _low_rate(chosen)
    if reasons:
        status, sentence = "cannot tell", f"Cannot tell: {'; '.join(reasons)}."
    elif above or low is not None:
        status = "leaks"
        guess = max(n_members, n_nonmembers) / n_eval
        sentence = _leak(above, chosen, low, n_eval, guess)
    elif beyond:
        status = "below the threshold"
        best = min(beyond, key=lambda one: float(one["p_value_holm"]))
        sentence = (
            f"This model leaks a little: the attack {best['method']} does better than "
            f"chance (AUC {best['auc']:.3f}, p {best['p_value_holm']:.1g}), but none "
            f"exceeds {threshold:.0%} in accuracy, precision and recall alike, beyond "
            "what chance allows."
        )
    else:
        status = "no leak found"
        highest = chosen["auc_interval"][1]
        sentence = (
            f"No leak was found by these attacks on {n_eval} records: none does better "
            f"than chance, and the AUC of the strongest, {chosen['chosen']}, is below "
            f"{highest:.3f} with {confidence:.0%} confidence."
        )
    caveats = [] if reasons else _caveats(controls)
    return {
        "leaks": None if reasons else status == "leaks",
        "status": status,
        "methods": [] if reasons else [one["method"] for one in above],
        "reasons": reasons,
        "caveats": caveats,
        "sentence": " ".join([sentence, *caveats]),
    }


def _against(controls: Mapping[str, Any]) -> list[str]:
    """Return why nothing can be said."""
    found = []
    blind = controls["blind"]
    if blind["passed"] is False:
        names = [one["statistic"] for one in blind["differing"]][:NAMED]
        by = f" (by {', '.join(names)})" if names else ""
        found.append(f"the two sides differ without the model{by}")
    if not controls["null"]["passed"]:
        found.append("the attacks find members where memberships say nothing")
    return found


def _caveats(controls: Mapping[str, Any]) -> list[str]:
    """Return what a verdict leaves open."""
    found = []
    if controls["blind"]["auc"] is None:
        found.append(
            "The records themselves were not compared: whether members differ from "
            "non-members without the model is not known."
        )
    references = controls["references"]
    if references is not None and references["passed"] is False:
        found.append("The references do not fit as the target does.")
    return found


def _leak(
    above: Sequence[Mapping[str, Any]],
    chosen: Mapping[str, Any],
    low: str | None,
    n_eval: int,
    guess: float,
) -> str:
    """Return the sentence of a leak: by the chosen attack, if it shows it."""
    names = [one["method"] for one in above]
    parts = []
    if above:
        at = names.index(chosen["chosen"]) if chosen["chosen"] in names else 0
        parts.append(
            f"the attack {names[at]} told members from non-members rightly for "
            f"{above[at]['accuracy']:.0%} of {n_eval} records, where a guess is right "
            f"for {guess:.0%}"
        )
    if low is not None:
        who = "it" if chosen["chosen"] in names else f"the attack {chosen['chosen']}"
        parts.append(
            f"{who} finds {chosen['tpr_at_fpr'][low]['value']:.0%} of the members at "
            f"{float(low):.1%} false positives"
        )
    told = "; ".join(parts)
    return f"This model leaks which records it was trained on: {told}."


def _low_rate(chosen: Mapping[str, Any]) -> str | None:
    """Return the lowest rate at which the attack finds members and little else."""
    found = None
    for rate in LOW_RATES:
        interval = chosen["tpr_at_fpr"][rate].get("interval")
        if interval is not None and interval[0] >= TENFOLD * float(rate):
            found = rate
    return found
