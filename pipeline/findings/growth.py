"""Growth: what attacks reach by ever more references, and what more would change."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks.growth import Point
from pipeline.findings.figures import tpr_at_fpr
from pipeline.findings.schema import Growth, Outlook
from pipeline.statistics import intervals, metrics
from pipeline.statistics.units import Units
from pipeline.texts import signed

# A gain of the AUC that would change no decision.
HARDLY = 0.02


def growth(
    points: Sequence[Point],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> tuple[Growth, ...]:
    """Return what each point reaches, in their order.

    Args:
        points: of some attacks by some of the references and by all, on attack-eval.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: of the intervals, in (0, 1).
        unit: (n_records,) or None.
    """
    return tuple(
        Growth(
            attack=point.attack,
            references=point.references,
            auc=metrics.auc(point.score, member),
            auc_interval=intervals.auc(point.score, member, confidence, unit),
            tpr_at_fpr=tpr_at_fpr(point.score, member, confidence, unit),
        )
        for point in points
    )


def outlook(
    points: Sequence[Point],
    member: NDArray[np.bool_],
    attacks: Sequence[str],
    confidence: float,
    unit: Units = None,
) -> Outlook | None:
    """Return what the last doubling gave the first attack that has two points.

    Each doubling usually gives less than the one before. So if the last gave hardly
    anything, more references will not either.

    Args:
        points: as in `growth`.
        member: (n_records,) whether a record is a member.
        attacks: to speak of, the one preferred first.
        confidence: of the interval, in (0, 1).
        unit: (n_records,) or None.
    """
    for attack in attacks:
        own = sorted(
            (point for point in points if point.attack == attack),
            key=lambda point: point.references,
        )
        if len(own) < 2:
            continue
        before, after = own[-2:]
        gain = metrics.auc(after.score, member) - metrics.auc(before.score, member)
        interval = intervals.auc_difference(
            after.score, before.score, member, confidence, unit
        )
        return Outlook(
            attack=attack,
            fewer=before.references,
            references=after.references,
            gain=gain,
            gain_interval=interval,
            sentence=(
                f"From {before.references} to {after.references} references the AUC of "
                f"{attack} {'fell' if gain < 0 else 'rose'} by {abs(gain):.3f} (gain "
                f"between {signed(interval.low, 3)} and {signed(interval.high, 3)}): "
                f"{_more(interval)}."
            ),
        )
    return None


def _more(gain: intervals.Interval) -> str:
    if gain.high <= HARDLY:
        return "more would hardly change it"
    if gain.low > 0:
        return "more would probably raise it further"
    return "these records cannot tell whether more would raise it"
