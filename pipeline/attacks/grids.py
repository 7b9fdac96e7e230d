"""Grids: the parameters of the learned attacks, their allowed values, their candidates.

Method names, parameter names and allowed values are those of MindArmour's
``MembershipInference.train``, and scikit-learn's for ``gbm``. No heavy import here: a
config is checked in a blink.
"""

import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.errors import AuditError

Candidate = dict[str, Any]


class Rule(NamedTuple):
    """What a parameter may be: a test, and the same in words."""

    allows: Callable[[Any], bool]
    words: str


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _integer(least: int) -> Rule:
    return Rule(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= least,
        f"an integer >= {least}",
    )


def _among(*allowed: Any) -> Rule:
    return Rule(
        lambda v: (
            any(v is a if a is None else v == a for a in allowed)
            and (isinstance(v, bool) or True not in allowed)
        ),
        " or ".join(repr(a) for a in allowed),
    )


def _either(*rules: Rule) -> Rule:
    return Rule(
        lambda v: any(rule.allows(v) for rule in rules),
        " or ".join(rule.words for rule in rules),
    )


POSITIVE = Rule(lambda v: _is_number(v) and v > 0, "a number > 0")
NOT_NEGATIVE = Rule(lambda v: _is_number(v) and v >= 0, "a number >= 0")
BELOW_ONE = Rule(lambda v: _is_number(v) and 0 <= v < 1, "a number in [0, 1)")
COUNT = _integer(1)
FLAG = _among(True, False)
NONE = _among(None)
TEXT = Rule(lambda v: isinstance(v, str), "a name")
TABLE = Rule(lambda v: isinstance(v, dict) and _is_json(v), "a table of numbers")
SEED = _either(_integer(0), NONE)
LAYERS = Rule(
    lambda v: isinstance(v, list | tuple) and all(COUNT.allows(width) for width in v),
    "a list of integers >= 1",
)

PARAMETERS: dict[str, dict[str, Rule]] = {
    "knn": {
        "n_neighbors": COUNT,
        "weights": _among("uniform", "distance"),
        "algorithm": _among("auto", "ball_tree", "kd_tree", "brute"),
        "leaf_size": COUNT,
        "p": COUNT,
        "metric": TEXT,
        "metric_params": _either(TABLE, NONE),
    },
    "lr": {
        "penalty": _among("l1", "l2", "elasticnet", None),
        "dual": FLAG,
        "tol": POSITIVE,
        "C": POSITIVE,
        "fit_intercept": FLAG,
        "intercept_scaling": POSITIVE,
        "class_weight": _either(_among("balanced", None), TABLE),
        "random_state": SEED,
        "solver": _among("newton-cg", "lbfgs", "liblinear", "sag", "saga"),
    },
    "mlp": {
        "hidden_layer_sizes": LAYERS,
        "activation": _among("identity", "logistic", "tanh", "relu"),
        "solver": _among("lbfgs", "sgd", "adam"),
        "alpha": POSITIVE,
        "batch_size": _either(_among("auto"), COUNT),
        "learning_rate": _among("constant", "invscaling", "adaptive"),
        "learning_rate_init": POSITIVE,
        "power_t": POSITIVE,
        "max_iter": COUNT,
        "shuffle": FLAG,
        "random_state": SEED,
        "tol": POSITIVE,
        "verbose": FLAG,
        "warm_start": FLAG,
        "momentum": POSITIVE,
        "nesterovs_momentum": FLAG,
        "early_stopping": FLAG,
        "validation_fraction": BELOW_ONE,
        "beta_1": BELOW_ONE,
        "beta_2": BELOW_ONE,
        "epsilon": POSITIVE,
        "n_iter_no_change": COUNT,
        "max_fun": COUNT,
    },
    "gbm": {
        "learning_rate": POSITIVE,
        "max_iter": COUNT,
        "max_leaf_nodes": _either(_integer(2), NONE),
        "max_depth": _either(COUNT, NONE),
        "min_samples_leaf": COUNT,
        "l2_regularization": NOT_NEGATIVE,
        "max_bins": _integer(2),
        "early_stopping": FLAG,
        "random_state": SEED,
    },
    "rf": {
        "n_estimators": COUNT,
        "criterion": _among("gini", "entropy"),
        "max_depth": _either(COUNT, NONE),
        "min_samples_split": POSITIVE,
        "min_samples_leaf": POSITIVE,
        "min_weight_fraction_leaf": NOT_NEGATIVE,
        "max_features": _either(_among("auto", "sqrt", "log2", None), POSITIVE),
        "max_leaf_nodes": _either(COUNT, NONE),
        "min_impurity_decrease": NOT_NEGATIVE,
        "min_impurity_split": _either(POSITIVE, NONE),
        "bootstrap": FLAG,
        "n_jobs": _either(COUNT, NONE),
        "random_state": SEED,
        "verbose": _either(FLAG, _integer(0)),
        "warm_start": FLAG,
        "class_weight": _either(
            _among("balanced", "balanced_subsample"), TABLE, LAYERS
        ),
        "ccp_alpha": NOT_NEGATIVE,
        "max_samples": _either(COUNT, BELOW_ONE, NONE),
    },
}

# What every candidate of a method has unless its grid sets it. They are MindArmour's
# where these differ from scikit-learn's.
DEFAULTS: dict[str, Candidate] = {
    "knn": {},
    "lr": {"max_iter": 300},
    "mlp": {"max_iter": 300},
    "gbm": {"max_iter": 100, "learning_rate": 0.05, "early_stopping": False},
    "rf": {"max_depth": 2},
}

# The grids of MindArmour's tutorial; its "auto" of max_features, which scikit-learn has
# dropped, meant the square root.
TUTORIAL: dict[str, dict[str, str | list[Any]]] = {
    "lr": {"C": "logspace(-4, 2, 10)"},
    "knn": {"n_neighbors": [3, 5, 7]},
    "mlp": {
        "hidden_layer_sizes": [[64], [32, 32]],
        "solver": ["adam"],
        "alpha": [0.0001, 0.001, 0.01],
    },
    "rf": {
        "n_estimators": [100],
        "max_features": ["sqrt"],
        "max_depth": [5, 10, 20, "None"],
        "min_samples_split": [2, 5, 10],
        "min_samples_leaf": [1, 2, 4],
    },
}

# Settings that change how a fit runs but not its result.
WITHOUT_EFFECT = ("n_jobs", "verbose", "warm_start")

_RANGE = re.compile(r"(logspace|linspace)\((.+),(.+),(.+)\)")


def values(where: str, setting: str | Sequence[Any]) -> list[Any]:
    """Return the values of one grid parameter as Python objects.

    Args:
        where: the setting's name, for the error.
        setting: a list, in which "None" and "none" stand for None, or a range written
            ``logspace(first exponent, last exponent, count)`` with base 10 or
            ``linspace(first, last, count)``, both ends included.

    Raises:
        AuditError: if a range is malformed or the list is empty.
    """
    if isinstance(setting, list | tuple):
        if not setting:
            problem = "is an empty list"
            raise AuditError(where, problem, "give at least one value")
        return [None if v in ("None", "none") else v for v in setting]
    try:
        kind, first, last, count = _RANGE.fullmatch(
            str(setting).replace(" ", "")
        ).groups()  # type: ignore[union-attr]
        low, high, steps = float(first), float(last), int(count)
        points = [low + i * (high - low) / max(steps - 1, 1) for i in range(steps)]
        points = points if kind == "linspace" else [10.0**point for point in points]
        if not points or not all(map(math.isfinite, points)):
            raise ValueError(setting)
    except (AttributeError, ValueError, OverflowError):
        problem = f"is {setting!r}, neither a list nor a range"
        fix = 'write a list, or a range such as "logspace(-4, 2, 10)"'
        raise AuditError(where, problem, fix) from None
    return points


def check(method: str, grid: Mapping[str, str | Sequence[Any]]) -> None:
    """Refuse a grid with an unknown parameter or a value that is not allowed.

    Args:
        method: "lr", "knn", "mlp", "rf" or "gbm".
        grid: parameter name to values.

    Raises:
        AuditError: naming the parameter, the value and what is allowed.
    """
    rules = PARAMETERS[method]
    for name, setting in grid.items():
        where = f"attack.methods.{method}.{name}"
        if name not in rules:
            raise AuditError(where, "is not a parameter", nearest(name, rules))
        for value in values(where, setting):
            if not rules[name].allows(value):
                problem = f"has the value {value!r}"
                raise AuditError(where, problem, f"use {rules[name].words}")


def nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Return advice that names the nearest known name, or all of them."""
    lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f"use {lower[near[0]]}" if near else f"use one of {', '.join(known)}"


def candidates(
    method: str, grid: Mapping[str, str | Sequence[Any]]
) -> tuple[list[Candidate], list[str]]:
    """Return every distinct candidate of a grid, in the order of scikit-learn's grid.

    Values that scikit-learn no longer takes are replaced by their present meaning;
    candidates that become equal are kept once, at their first place.

    Args:
        method: "lr", "knn", "mlp", "rf" or "gbm".
        grid: parameter name to values, as accepted by `check`.

    Returns:
        The candidates, and a sentence for each replacement made.
    """
    notes: dict[str, None] = {}
    distinct: dict[str, Candidate] = {}
    names = sorted(grid)
    columns = [values(f"attack.methods.{method}.{name}", grid[name]) for name in names]
    for combination in itertools.product(*columns):
        params = dict(zip(names, combination, strict=True))
        candidate = _modern(method, {**DEFAULTS[method], **params}, notes)
        distinct.setdefault(json.dumps(candidate, sort_keys=True), candidate)
    return list(distinct.values()), list(notes)


def _modern(method: str, candidate: Candidate, notes: dict[str, None]) -> Candidate:
    """Return the candidate in today's terms; say in `notes` what was replaced."""

    def replaced(name: str, old: Any, new: str) -> None:
        where = f"attack.methods.{method}.{name}"
        notes[f"{where}: {old!r} is no longer known to scikit-learn, using {new}"] = (
            None
        )

    modern = dict(candidate)
    for name in WITHOUT_EFFECT:
        if name in modern:
            del modern[name]
            notes[f"attack.methods.{method}.{name}: changes no result, left out"] = None
    if modern.get("max_features") == "auto":
        # For classifiers "auto" meant the square root, until scikit-learn 1.3.
        modern["max_features"] = "sqrt"
        replaced("max_features", "auto", "'sqrt', its meaning for a classifier")
    if "min_impurity_split" in modern:
        limit = modern.pop("min_impurity_split")
        if limit is None:
            replaced("min_impurity_split", None, "no limit")
        else:
            modern["min_impurity_decrease"] = limit
            replaced("min_impurity_split", limit, f"min_impurity_decrease = {limit!r}")
    if method == "lr" and "penalty" in modern:
        penalty = modern.pop("penalty")
        if penalty is None:
            # JSON knows no infinity, which is how scikit-learn spells it now.
            modern.pop("C", None)
            modern["penalty"] = None
            replaced("penalty", "none", "C = inf, no penalty")
        elif penalty == "elasticnet":
            modern["l1_ratio"] = 0.5
            replaced("penalty", "elasticnet", "l1_ratio = 0.5")
        elif penalty == "l1":
            modern["l1_ratio"] = 1.0
            replaced("penalty", "l1", "l1_ratio = 1, the same")
    return modern
