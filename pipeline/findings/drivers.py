"""Drivers: how differently a model treats members and non-members.

Attacks have nothing else to go by. The gaps do not say how much leaks: a model without
any gap in accuracy may leak, and references show more of it than the gaps do.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.findings import schema
from pipeline.findings.schema import AccuracyGap, Calibrations, Drivers, LossGap
from pipeline.statistics import calibration, intervals, units
from pipeline.statistics.units import Units


def drivers(
    correct: NDArray[np.bool_],
    loss: NDArray[np.float64],
    sureness: NDArray[np.float64],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Drivers:
    """Return the gaps between the sides in accuracy, loss and calibration.

    Args:
        correct: (n_records,) whether the target puts a record into its class.
        loss: (n_records,) the target's, in nats.
        sureness: (n_records,) probability that it gives to the class it names; NaN
            where only margins are known, which leaves calibration out.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: of the intervals, in (0, 1).
        unit: (n_records,) or None.

    Source: on the gaps as what attacks go by, Yeom et al. 2018, arXiv:1709.01604.
    """
    inside, outside = (float(loss[side].mean()) for side in (member, ~member))
    right, right_others = (float(correct[side].mean()) for side in (member, ~member))
    return Drivers(
        accuracy=AccuracyGap(
            members=right,
            nonmembers=right_others,
            difference=right - right_others,
            interval=intervals.advantage(correct, member, confidence, unit),
        ),
        loss=LossGap(
            members=inside,
            nonmembers=outside,
            difference=outside - inside,
            interval=intervals.mean_difference(loss, member, confidence, unit)
            if units.fewest(unit, member) > 1
            else None,
        ),
        calibration=Calibrations(
            members=_calibration(sureness[member], correct[member]),
            nonmembers=_calibration(sureness[~member], correct[~member]),
        )
        if np.isfinite(sureness).all()
        else None,
    )


def _calibration(
    sureness: NDArray[np.float64], correct: NDArray[np.bool_]
) -> schema.Calibration:
    bins = calibration.reliability(sureness, correct)
    return schema.Calibration(
        expected_error=calibration.expected_error(bins),
        confidence=float(sureness.mean()),
        accuracy=float(correct.mean()),
        bins=tuple(
            schema.ConfidenceBin(
                low=float(bins.edges[row]),
                high=float(bins.edges[row + 1]),
                records=int(bins.records[row]),
                confidence=float(bins.confidence[row]),
                accuracy=float(bins.accuracy[row]),
            )
            for row in np.flatnonzero(bins.records)
        ),
    )
