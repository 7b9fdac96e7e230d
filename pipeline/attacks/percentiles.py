"""Percentiles: a record's place among others' signals, as a p-value.

The p-value of a non-member is uniform, up to ties; a small one makes a member.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks.view import Scored, View


def attack_p(
    signal: NDArray[np.floating[Any]], population: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the p-value of each record against a population of non-members.

    Args:
        signal: (n_records,) higher for a likelier member.
        population: (n_population,) signals of records that the target was not
            trained on and that are not among those attacked.

    Returns:
        (n_records,) (1 + number of the population at or above) / (1 + n_population).

    Source: Ye et al. 2022, arXiv:2111.09679, attack P; the added one makes it valid
    (Phipson and Smyth 2010, arXiv:1603.05766).
    """
    below = np.searchsorted(np.sort(population), signal, side="left")
    return np.asarray((1 + len(population) - below) / (1 + len(population)))


def attack_r(
    above: NDArray[np.integer[Any]], count: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return the p-value of each record against its own OUT references.

    Args:
        above: (n_records,) OUT references whose signal is at or above the target's.
        count: (n_records,) OUT references; without any the p-value is 1.

    Source: Ye et al. 2022, arXiv:2111.09679, attack R.
    """
    return np.asarray((1 + above) / (1 + count))


# The attacks of the catalogue.


def score_p(view: View) -> Scored:
    """Score by the margin, in nats; the reading is `attack_p`."""
    phi = view.phi[:, 0]
    return Scored(phi, attack_p(phi, phi[view.population]))


def score_r(view: View) -> Scored:
    """Score by `attack_r`, negated; the reading is the p-value itself."""
    phi, count = view.phi[:, 0], view.evidence.out_side.margin.count
    above = np.zeros(len(phi), dtype=np.int64)
    # Model by model: all together need as much room again as their signals.
    for margin, is_out in zip(view.references, view.out_models, strict=True):
        above += is_out & (margin.mean(axis=1) >= phi)
    p = attack_r(above, count)
    return Scored(-p, p)
