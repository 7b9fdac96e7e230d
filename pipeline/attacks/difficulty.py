"""Difficulty: a record's loss against its usual loss among OUT references.

Source: Watson et al. 2022, "On the Importance of Difficulty Calibration in Membership
Inference Attacks", arXiv:2111.08440, equation 7.
"""

import numpy as np

from pipeline.attacks.view import Scored, View
from pipeline.signals import margins


def score(view: View) -> Scored:
    """Score by the mean loss over the OUT references less the target's loss, in nats.

    Losses are averaged over the views. A record without OUT references has the mean of
    the others as its usual loss.
    """
    count = view.evidence.out_side.margin.count
    total = np.zeros(len(count))
    # Model by model: all together need as much room again as their signals.
    for margin, is_out in zip(view.references, view.out_models, strict=True):
        log_p = margins.log_confidence(margin).mean(axis=1)
        total += np.where(is_out, log_p, 0.0)
    usual = total / np.maximum(count, 1)
    usual = np.where(count > 0, usual, usual[count > 0].mean())
    return Scored(margins.log_confidence(view.margin).mean(axis=1) - usual)
