"""Outside: attacks on records that no reference was trained on.

Each scores a record by what the models say of it alone, so that records which are
brought later change nothing that was learned, and have the scores that the attack of
that name gives to records of the audit. All scores are higher for a likelier member.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import percentiles, rmia
from pipeline.errors import LacksError
from pipeline.signals import margins


class Signals(NamedTuple):
    """What the models say of records."""

    target: NDArray[np.floating[Any]]  # (n_records, n_views) margins, nats
    references: NDArray[np.floating[Any]]  # (n_models, n_records, n_views) the same
    # (n_models, n_records) references that count, none of which was trained on it
    outside: NDArray[np.bool_]
    slope: float | None  # of RMIA, as the audit has it; None: it did not run


def chosen(auc: Mapping[str, float]) -> str:
    """Return the attack of this module that does best on attack-train.

    Args:
        auc: on attack-train, of each attack of the audit.

    Raises:
        LacksError: if the audit ran none of them.
    """
    ran = [name for name in ATTACKS if name in auc]
    if not ran:
        msg = f"none of {', '.join(ATTACKS)} was run"
        raise LacksError(msg)
    return max(ran, key=lambda name: auc[name])


def score(name: str, signals: Signals) -> NDArray[np.float64]:
    """Return (n_records,) scores by an attack of this module.

    Args:
        name: one of `ATTACKS`.
        signals: of the records, each with one reference that counts or more.
    """
    return ATTACKS[name](signals)


def _rmia(signals: Signals) -> NDArray[np.float64]:
    log_p = margins.log_mean_confidence(signals.references)
    log_out = margins.log_mean(log_p, signals.outside)
    prior = rmia.log_prior_offline(log_out, signals.slope or 0.0)
    return rmia.log_ratio(margins.log_mean_confidence(signals.target), prior)


def _attack_r(signals: Signals) -> NDArray[np.float64]:
    phi = _phi(signals.target)
    above = signals.outside & (signals.references.mean(axis=2) >= phi)
    count = signals.outside.sum(axis=0)
    return np.asarray(-percentiles.attack_r(above.sum(axis=0), count))


def _difficulty(signals: Signals) -> NDArray[np.float64]:
    log_p = margins.log_confidence(signals.references).mean(axis=2)
    usual = log_p.mean(axis=0, where=signals.outside)
    return np.asarray(margins.log_confidence(signals.target).mean(axis=1) - usual)


def _margin(signals: Signals) -> NDArray[np.float64]:
    return _phi(signals.target)


def _confidence(signals: Signals) -> NDArray[np.float64]:
    return margins.log_mean_confidence(signals.target)


def _loss(signals: Signals) -> NDArray[np.float64]:
    return margins.log_confidence(signals.target[:, 0])


def _phi(target: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    return np.asarray(np.asarray(target, dtype=np.float64).mean(axis=1))


# The names are those of the catalogue; of equally good ones the first is chosen.
ATTACKS: dict[str, Callable[[Signals], NDArray[np.float64]]] = {
    "rmia_offline": _rmia,
    "difficulty": _difficulty,
    "attack_r": _attack_r,
    "attack_p": _margin,
    "margin": _margin,
    "confidence": _confidence,
    "loss": _loss,
}
