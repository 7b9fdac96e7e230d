"""Verdict: what may be claimed of the target, once the controls are passed."""

from collections.abc import Mapping, Sequence
from typing import Any

# What the tutorial's rule looks at.
RULE = ("accuracy", "precision", "recall")
# Members found where this few non-members are, among which they are TENFOLD as many.
LOW_RATES = ("0.01", "0.001")
TENFOLD = 10.0
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

    Nothing is said if a control failed or too few records were judged. Else the target
    leaks if accuracy, precision and recall of some attack all exceed the threshold, the
    rule of MindArmour's tutorial, and that attack beats chance beyond all accident; or
    if the attack that was chosen on attack-train finds, at a low false-positive rate,
    at least ten times that share of members, by the lower end of the interval.

    Args:
        attacks: as in the report; the last is the one that was chosen.
        controls: as in the report.
        n_members: number of members judged.
        n_nonmembers: number of non-members judged.
        threshold: in [0, 1].
        min_records: fewest records that allow a verdict.
        confidence: 1 less the level of the p-values, which are Holm's over attacks.

    Returns:
        {"leaks", "status", "methods", "reasons", "sentence"}.

    Source: MindArmour's tutorial "Using Membership Inference to Test Model Security";
    on low rates Carlini et al. 2022, arXiv:2112.03570, section III.
    """
    reasons = _against(controls)
    n_eval = n_members + n_nonmembers
    if n_eval < min_records:
        reasons.append(
            f"only {n_eval} records were judged and {min_records} are needed"
        )
    *single, chosen = attacks
    beyond = [one for one in single if one["p_value_holm"] < 1 - confidence]
    above = [one for one in beyond if _exceeds(one, threshold)]
    low = None
    if any(one["method"] == chosen["chosen"] for one in beyond):
        low = _low_rate(chosen)
    guess = max(n_members, n_nonmembers) / n_eval
    if reasons:
        status, sentence = "cannot tell", f"Cannot tell: {'; '.join(reasons)}."
    elif above or low is not None:
        status = "leaks"
        sentence = "This model leaks which records it was trained on: "
        if above:
            best = max(above, key=lambda one: float(one["accuracy"]))
            sentence += (
                f"the attack {best['method']} told members from non-members rightly "
                f"for {best['accuracy']:.0%} of {n_eval} records, where a guess is "
                f"right for {guess:.0%}"
            )
        if low is not None:
            value = chosen["tpr_at_fpr"][low]["value"]
            finds = (
                f"finds {value:.0%} of the members at {float(low):.1%} false positives"
            )
            who = f"the attack {chosen['chosen']}"
            if above:
                who = "; it" if best["method"] == chosen["chosen"] else f"; {who}"
            sentence += f"{who} {finds}"
        sentence += "."
    elif beyond:
        status = "below the threshold"
        best = max(beyond, key=lambda one: float(one["auc"]))
        sentence = (
            f"This model leaks a little: the attack {best['method']} does better than "
            f"chance (AUC {best['auc']:.3f}, p {best['p_value_holm']:.1g}), but none "
            f"exceeds {threshold:.0%} in accuracy, precision and recall alike."
        )
    else:
        status = "no leak found"
        highest = chosen["auc_interval"][1]
        sentence = (
            f"No leak was found by these attacks on {n_eval} records: none does better "
            f"than chance, and the AUC of the strongest, {chosen['chosen']}, is below "
            f"{highest:.3f} with {confidence:.0%} confidence."
        )
    return {
        "leaks": None if reasons else status == "leaks",
        "status": status,
        "methods": [] if reasons else [one["method"] for one in above],
        "reasons": reasons,
        "sentence": sentence,
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


def _exceeds(attack: Mapping[str, Any], threshold: float) -> bool:
    return all((attack[name] or 0.0) > threshold for name in RULE)


def _low_rate(chosen: Mapping[str, Any]) -> str | None:
    """Return the lowest rate at which the attack finds members and little else."""
    found = None
    for rate in LOW_RATES:
        interval = chosen["tpr_at_fpr"][rate].get("interval")
        if interval is not None and interval[0] >= TENFOLD * float(rate):
            found = rate
    return found
