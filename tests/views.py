"""Views of drawn records, for the tests of attacks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks.division import Division
from pipeline.attacks.evidence import evidence
from pipeline.attacks.view import View
from pipeline.data import selection
from pipeline.signals import margins, recalibration

N_CLASSES = 4


def plain(logits: NDArray[Any], label: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (n_records, n_views) margins of a model."""
    n_views = logits.shape[1]
    columns = [margins.margin(logits[:, view], label) for view in range(n_views)]
    return np.stack(columns, axis=1)


def recalibrated(logits: NDArray[Any], label: NDArray[Any]) -> NDArray[np.float32]:
    """Return the (n_records, n_views) margins of a model's corrected logits."""
    return recalibration.margin(logits, label, recalibration.fitted(logits, label))


def drawn(
    n_models: int = 6,
    n_records: int = 200,
    population: int = 0,
    n_views: int = 2,
    leak: float = 2.0,
    seed: int = 0,
) -> View:
    """Return a target and references that know their members by `leak` nats.

    Attack-train is four fifths of the audited records; memberships of all records
    stand in the division. Arrays are read-only.
    """
    rng = np.random.default_rng(seed)
    n = n_records + population
    in_models = selection.halves(n, n_models, seed)
    audited = np.arange(n) < n_records
    member = (rng.permutation(n) % 2 == 0) & audited
    label = rng.integers(0, N_CLASSES, n).astype(np.int32)
    own = np.arange(N_CLASSES) == label[:, None, None]
    learned = np.vstack((member[None], in_models))[..., None, None]
    shape = n_models + 1, n, n_views, N_CLASSES
    logits = rng.normal(size=shape) + own * (1 + leak * learned)
    margin, corrected = (
        np.stack([of(model, label) for model in logits]) for of in (plain, recalibrated)
    )
    attack_train = audited & (np.arange(n) % 5 > 0)
    for array in (
        *(logits, label, member, in_models, audited),
        *(margin, corrected, attack_train),
    ):
        array.flags.writeable = False
    return View(
        logits=logits[0],
        margin=margin[0],
        recalibrated=corrected[0],
        label=label,
        audited=audited,
        division=Division(audited, attack_train, member),
        references=margin[1:],
        references_recalibrated=corrected[1:],
        in_models=in_models,
        kept=np.ones_like(in_models),
        evidence=evidence(margin[1:], in_models, ~in_models),
        seed=1,
    )
