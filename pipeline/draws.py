"""Draws: every random stream of an audit, named by what it is for.

A stream is decided by a seed of the config, by its purpose, and, where there are many
of a kind, by their index. The purpose is hashed into the entropy, so two purposes share
no stream, even where two seeds of the config are equal. No other module makes a
generator.
"""

import hashlib
import random

import numpy as np

# What each stream decides. Of those with an index, its meaning stands in brackets.
PURPOSES = {
    "data.canaries": "which records get a wrong label, and which label",
    "data.members": "the order in which members are chosen",
    "data.nonmembers": "the order in which non-members are chosen",
    "blind.folds": "the folds of the classifier that never sees the model",
    "blind.trees": "its trees [fold]",
    "blind.permutation": "the shuffles that show which features it used",
    "split.evaluation": "which records are held out for attack-eval [draw]",
    "target.weights": "the target's first weights",
    "target.order": "the order of its records in training, and their augmentation",
    "target.recipe": "what else its recipe, or the network itself, draws in training",
    "references.halves": "the records that a pair of references is trained on [pair]",
    "references.weights": "a reference's first weights [reference]",
    "references.order": "the order of its records, and their augmentation [reference]",
    "references.recipe": "what else its recipe or network draws [reference]",
    "features.augmentation": "how members are augmented for comparison",
    "recalibration.sample": "the records that corrections are fitted to",
    "attack.candidates": "the candidates of a random search",
    "attack.fitted": "the records that learned attacks are fitted to, of very many",
    "attack.folds": "the folds of the cross-validation",
    "attack.fit": "what a learned attack draws while it is fitted",
    "attack.null": "the shuffled memberships of the null control [side]",
    "attack.kept": "the references left out, so that their number reveals nothing",
    "attack.growth": "the order in which references join, pair by pair",
    "per_class.folds": "the folds of thresholds per class",
    "qmia.folds": "the folds of quantile regression",
    "qmia.fitted": "the non-members that quantiles are fitted to, of very many",
    "qmia.trees": "its trees [fold]",
    "actors.playable": "the stand-ins that show whether references can play [actor]",
    "rmia.records": "the records by which RMIA's slope is tuned",
    "rmia.stand_ins": "the references left out beside an actor [actor]",
    "amortised.order": "the order of records, which decides folds and samples",
    "amortised.stand_ins": "the references left out beside an actor [fold, actor]",
    "amortised.networks": "first weights and order of rows [fold, network]",
    "amortised.folds": "the folds where the target's own labels are learned from",
    "report.ties": "the order of equal scores, and who is dropped [side]",
}
# Sizes of what scikit-learn and MindSpore take as a seed.
SEED_BITS = 31


def sequence(seed: int, purpose: str, *index: int) -> np.random.SeedSequence:
    """Return the entropy of a stream.

    Args:
        seed: of the config, >= 0.
        purpose: one of `PURPOSES`.
        index: which one of several streams of this purpose.

    Raises:
        KeyError: if the purpose is not listed.

    Source: NumPy's SeedSequence (O'Neill 2015), which mixes entropy of any length.
    """
    if purpose not in PURPOSES:
        raise KeyError(purpose)
    words = np.frombuffer(hashlib.sha256(purpose.encode()).digest(), dtype="<u4")
    return np.random.SeedSequence([*map(int, words), seed], spawn_key=index)


def rng(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator of a stream; see `sequence`."""
    return np.random.default_rng(sequence(seed, purpose, *index))


def integer(seed: int, purpose: str, *index: int) -> int:
    """Return the stream as a seed for a library that takes a whole number below 2³¹."""
    state = sequence(seed, purpose, *index).generate_state(1)[0]
    return int(state >> (32 - SEED_BITS))


def seed_globally(seed: int) -> None:
    """Seed the generators that other people's code draws from unasked.

    Nothing of this project draws from them.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  it is the one that they use
