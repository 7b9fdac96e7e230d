"""Learned attacks: classifiers that tell members from non-members by their signals."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

ESTIMATORS: dict[str, Callable[..., ClassifierMixin]] = {
    "lr": LogisticRegression,
    "knn": KNeighborsClassifier,
    "mlp": MLPClassifier,
    "rf": RandomForestClassifier,
    "gbm": HistGradientBoostingClassifier,
}
FARTHEST = 6.0  # standard deviations
# From 1.8 on l1_ratio alone says which penalty a logistic regression has.
PENALTY_BY_RATIO = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)


class Verdicts(NamedTuple):
    """What a fitted attack says of records."""

    score: NDArray[np.float64]  # (n_records,) probability of being a member
    decision: NDArray[np.bool_]  # (n_records,) taken for a member
    converged: bool  # False if the fit stopped at its limit of iterations


def standardised(
    features: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return features of mean 0 and deviation 1 on known records, clipped far out.

    Scores of attacks differ in scale by orders of magnitude.

    Args:
        features: (n_records, n_features).
        known: (n_records,) the attack-train records.
    """
    spread = features[known].std(axis=0)
    centred = features - features[known].mean(axis=0)
    ready = centred / np.where(spread > 0, spread, 1.0)
    return np.asarray(np.clip(ready, -FARTHEST, FARTHEST))


def estimator(method: str, params: Mapping[str, Any], seed: int) -> ClassifierMixin:
    """Return the unfitted classifier of a candidate.

    Args:
        method: "lr", "knn", "mlp", "rf" or "gbm".
        params: as `grids.candidates` gives them, or as JSON gives them back.
        seed: for the methods that draw random numbers, unless the candidate has one.
    """
    settings = dict(params)
    if method != "knn":
        settings.setdefault("random_state", seed)
    if isinstance(layers := settings.get("hidden_layer_sizes"), list):
        settings["hidden_layer_sizes"] = tuple(layers)
    if isinstance(weights := settings.get("class_weight"), dict):
        # TOML and JSON know names only; the classes are 0, non-member, and 1, member.
        settings["class_weight"] = {int(name): w for name, w in weights.items()}
    if settings.get("penalty", "") is None:
        del settings["penalty"]
        settings["C"] = math.inf
    if "l1_ratio" in settings and not PENALTY_BY_RATIO:
        ratio = settings["l1_ratio"]
        settings["penalty"] = "l1" if ratio == 1 else "elasticnet"
        settings["l1_ratio"] = None if ratio == 1 else ratio
    return ESTIMATORS[method](**settings)


def judge(
    classifier: ClassifierMixin,
    known: NDArray[np.float64],
    member: NDArray[np.bool_],
    unknown: NDArray[np.float64],
) -> Verdicts:
    """Fit a classifier on records of known membership and judge others by it.

    Args:
        classifier: unfitted.
        known: (n_known, n_features).
        member: (n_known,) whether each is a member.
        unknown: (n_unknown, n_features).
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier.fit(known, member.astype(np.int64))
        score = classifier.predict_proba(unknown)[:, 1]
        decision = classifier.predict(unknown) == 1
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return Verdicts(np.asarray(score, dtype=np.float64), decision, not stopped)
