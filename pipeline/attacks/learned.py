"""Learned attacks: classifiers that predict membership from a record's signals."""

import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
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

from pipeline.attacks import forests, perceptrons

ESTIMATORS: dict[str, Callable[..., ClassifierMixin]] = {
    "lr": LogisticRegression,
    "knn": KNeighborsClassifier,
    "mlp": MLPClassifier,
    "rf": RandomForestClassifier,
    "gbm": HistGradientBoostingClassifier,
}
FARTHEST = 6.0  # standard deviations
# What a logistic regression needs a solver of its own for.
PENALTIES = ("penalty", "l1_ratio", "dual")
# From 1.8 on l1_ratio alone says which penalty a logistic regression has.
PENALTY_BY_RATIO = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)


class Prediction(NamedTuple):
    """What a fitted attack says of records."""

    score: NDArray[np.float64]  # (n_records,) probability of being a member
    decision: NDArray[np.bool_]  # (n_records,) taken for a member
    converged: bool  # False if the fit stopped at its limit of iterations


class Scale(NamedTuple):
    """Location and scale of features."""

    centre: NDArray[np.float64]  # (n_features,)
    spread: NDArray[np.float64]  # (n_features,)

    def of(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return features less their location, in units of their scale, clipped."""
        away = (features - self.centre) / self.spread
        return np.asarray(np.clip(away, -FARTHEST, FARTHEST))


def scale(features: NDArray[np.float64]) -> Scale:
    """Return the means and deviations by which features are standardised.

    Scores of attacks differ in scale by orders of magnitude.

    Args:
        features: (n_records, n_features) of the records that are fitted to.
    """
    spread = features.std(axis=0)
    return Scale(features.mean(axis=0), np.where(spread > 0, spread, 1.0))


def estimator(method: str, params: Mapping[str, Any], seed: int) -> ClassifierMixin:
    """Return the unfitted classifier of a candidate.

    Args:
        method: "lr", "knn", "mlp", "rf" or "gbm".
        params: as `grids.candidates` returns them, or the same read from JSON.
        seed: of `draws.integer`; a `random_state` among the parameters overrides it.
    """
    return ESTIMATORS[method](**_settings(method, params, seed))


def _settings(method: str, params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the parameters of a candidate in scikit-learn's terms."""
    settings = dict(params)
    if method != "knn":
        settings.setdefault("random_state", seed)
    if isinstance(layers := settings.get("hidden_layer_sizes"), list):
        settings["hidden_layer_sizes"] = tuple(layers)
    if isinstance(weights := settings.get("class_weight"), dict):
        # Keys of TOML and JSON are text; the classes are 0, non-member, and 1, member.
        settings["class_weight"] = {int(name): w for name, w in weights.items()}
    if settings.get("penalty", "") is None:
        del settings["penalty"]
        settings["C"] = math.inf
    if "l1_ratio" in settings and not PENALTY_BY_RATIO:
        ratio = settings["l1_ratio"]
        settings["penalty"] = "l1" if ratio == 1 else "elasticnet"
        settings["l1_ratio"] = None if ratio == 1 else ratio
    return settings


def judge(
    classifier: ClassifierMixin,
    train: NDArray[np.float64],
    member: NDArray[np.bool_],
    others: Iterable[NDArray[np.float64]],
) -> Prediction:
    """Fit a classifier on records of known membership and predict that of others.

    Args:
        classifier: unfitted.
        train: (n_train, n_features).
        member: (n_train,) whether each is a member.
        others: (n_rows, n_features) each; there may be none.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier.fit(train, member.astype(np.int64))
        scores, decisions = [np.empty(0)], [np.empty(0, dtype=bool)]
        for rows in others:
            if len(rows):
                scores.append(classifier.predict_proba(rows)[:, 1])
                decisions.append(classifier.predict(rows) == 1)
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    score = np.concatenate(scores, dtype=np.float64)
    return Prediction(score, np.concatenate(decisions), not stopped)


def shared(method: str, params: Mapping[str, Any], seed: int) -> str:
    """Return what candidates have in common that `judge_together` takes at once.

    Args:
        method: as of `estimator`.
        params: of a candidate.
        seed: as of `estimator`.

    Returns:
        JSON, the same of candidates that can be fitted together.
    """
    settings = _settings(method, params, seed)
    varied = _varied(method, settings)
    kept = {name: value for name, value in settings.items() if name not in varied}
    return json.dumps([method, kept], sort_keys=True)


def judge_together(
    method: str,
    candidates: Sequence[Mapping[str, Any]],
    seed: int,
    train: NDArray[np.float64],
    member: NDArray[np.bool_],
    others: Callable[[], Iterable[NDArray[np.float64]]],
) -> list[Prediction]:
    """Fit candidates that share most of the work, and predict as `judge` does.

    What one predicts does not depend on which others there are. A logistic regression
    is fitted by Newton's method where the candidate names no solver.

    Args:
        method: as of `estimator`.
        candidates: one, or several of which `shared` returns the same.
        seed: as of `estimator`.
        train: (n_train, n_features).
        member: (n_train,) whether each is a member.
        others: returns (n_rows, n_features) each; there may be none.
    """
    settings = [_settings(method, params, seed) for params in candidates]
    if not _varied(method, settings[0]):
        by_newton = method == "lr" and not {*candidates[0]} & {"solver", *PENALTIES}
        more = {"solver": "newton-cholesky"} if by_newton else {}
        return [
            judge(estimator(method, {**params, **more}, seed), train, member, others())
            for params in candidates
        ]
    if method == "mlp":
        alphas = [MLPClassifier(**each).alpha for each in settings]
        fitted = perceptrons.fitted(train, member, settings[0], alphas)
        parts = [
            np.empty((len(alphas), 0)),
            *map(fitted.networks.probability, others()),
        ]
        scores = np.concatenate(parts, axis=1, dtype=np.float64)
        return [*map(Prediction, scores, scores > 0.5, map(bool, fitted.converged))]
    classifiers = [RandomForestClassifier(**each) for each in settings]
    limits = [
        forests.Limit(each.max_depth, each.min_samples_split) for each in classifiers
    ]
    scores = forests.probabilities(train, member, others(), settings[0], limits)
    return [Prediction(score, score > 0.5, converged=True) for score in scores]


def _varied(method: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parameters in which candidates fitted at once may differ."""
    if method == "mlp" and perceptrons.suits(settings):
        return ("alpha",)
    if method == "rf" and forests.suits(settings):
        return forests.LIMITS
    return ()
