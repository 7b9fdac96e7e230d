import datetime
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ParameterGrid

from pipeline.attacks import grids, learned
from pipeline.errors import AuditError

# Those of MindArmour's tutorial "Using Membership Inference to Test Model Security".
TUTORIAL: dict[str, dict[str, Any]] = {
    "lr": {"C": "logspace(-4, 2, 10)"},
    "knn": {"n_neighbors": [3, 5, 7]},
    "mlp": {
        "hidden_layer_sizes": [[64], [32, 32]],
        "solver": ["adam"],
        "alpha": [0.0001, 0.001, 0.01],
    },
    "rf": {
        "n_estimators": [100],
        "max_features": ["auto", "sqrt"],
        "max_depth": [5, 10, 20, "None"],
        "min_samples_split": [2, 5, 10],
        "min_samples_leaf": [1, 2, 4],
    },
}
NAMES = [(method, name) for method, rules in grids.PARAMETERS.items() for name in rules]


def test_a_list_is_taken_as_it_is() -> None:
    assert grids.values("C", [1, 0.5, "auto", True]) == [1, 0.5, "auto", True]


@pytest.mark.parametrize("word", ["None", "none"])
def test_the_word_none_stands_for_none(word: str) -> None:
    assert grids.values("max_depth", [5, word]) == [5, None]


def test_logspace_gives_the_powers_of_ten() -> None:
    values = grids.values("C", "logspace(-4, 2, 10)")
    exact = [
        float(Decimal(10) ** (Decimal(-4) + Decimal(6 * i) / 9)) for i in range(10)
    ]
    assert values == pytest.approx(exact, rel=1e-15)


def test_logspace_gives_the_values_of_numpy() -> None:
    values = grids.values("C", "logspace(-4, 2, 10)")
    # NumPy's exponents are rounded once more, and half an ulp of an exponent below 4
    # is 2 ** -52, which is 5e-16 of the value; so its own are off by 1.4e-15.
    assert values == pytest.approx(np.logspace(-4, 2, 10), rel=2.5e-15)


def test_linspace_gives_the_values_of_numpy() -> None:
    values = grids.values("alpha", "linspace(0.1, 1, 10)")
    assert values == pytest.approx(np.linspace(0.1, 1, 10), rel=1e-15)


@pytest.mark.parametrize("text", ["logspace(2,3,1)", " logspace( 2 , 3 , 1 ) "])
def test_a_range_of_one_value_is_its_first(text: str) -> None:
    assert grids.values("C", text) == [100.0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.0",
        "arange(0, 1, 2)",
        "logspace(-4, 2)",
        "logspace(-4, 2, 10, 10)",
        "logspace(-4, 2, 10",
        "logspace(-4, 2, 0)",
        "logspace(-4, 2, 2.5)",
        "logspace(400, 401, 2)",
        "linspace(0, nan, 3)",
        "linspace(0, inf, 3)",
        "linspace(a, b, 3)",
        "linspace(0, 1, -3)",
    ],
)
def test_a_malformed_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AuditError) as caught:
        grids.values("attack.methods.lr.C", text)
    assert str(caught.value) == (
        f"attack.methods.lr.C: is {text!r}, neither a list nor a range. "
        'Fix: write a list, or a range such as "logspace(-4, 2, 10)".'
    )


def test_an_empty_list_is_refused() -> None:
    message = "lr.C: is an empty list. Fix: give at least one value."
    with pytest.raises(AuditError, match=message):
        grids.values("lr.C", [])


@pytest.mark.parametrize("method", TUTORIAL)
def test_the_tutorials_grids_are_allowed(method: str) -> None:
    assert grids.check(method, TUTORIAL[method]) is None


@pytest.mark.parametrize(
    ("method", "name", "nearest"),
    [
        ("knn", "n_neighbours", "n_neighbors"),
        ("lr", "Cs", "C"),
        ("mlp", "hidden_layers", "hidden_layer_sizes"),
        ("rf", "n_estimator", "n_estimators"),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_name(
    method: str, name: str, nearest: str
) -> None:
    with pytest.raises(AuditError) as caught:
        grids.check(method, {name: [1]})
    assert str(caught.value) == (
        f"attack.methods.{method}.{name}: is not a parameter. Fix: use {nearest}."
    )


def test_a_parameter_like_no_other_is_refused_with_all_names() -> None:
    message = "Fix: use one of n_neighbors, weights, algorithm, leaf_size, p, metric"
    with pytest.raises(AuditError, match=message):
        grids.check("knn", {"zzz": [1]})


@pytest.mark.parametrize(
    ("method", "name", "value", "allowed"),
    [
        ("knn", "n_neighbors", 0, "an integer >= 1"),
        ("knn", "n_neighbors", 3.0, "an integer >= 1"),
        ("knn", "n_neighbors", True, "an integer >= 1"),
        ("knn", "weights", "near", "'uniform' or 'distance'"),
        ("lr", "C", 0, "a number > 0"),
        ("lr", "C", True, "a number > 0"),
        ("lr", "C", math.nan, "a number > 0"),
        ("lr", "dual", 1, "True or False"),
        ("lr", "dual", 0, "True or False"),
        ("lr", "penalty", "l3", "'l1' or 'l2' or 'elasticnet' or None"),
        ("mlp", "hidden_layer_sizes", [64, 0], "a list of integers >= 1"),
        ("mlp", "beta_1", 1.0, "a number in [0, 1)"),
        ("rf", "max_depth", 2.5, "an integer >= 1 or None"),
        ("rf", "ccp_alpha", -0.1, "a number >= 0"),
        ("rf", "random_state", -1, "an integer >= 0 or None"),
        ("rf", "criterion", None, "'gini' or 'entropy'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_those_that_are(
    method: str, name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(AuditError) as caught:
        grids.check(method, {name: [value]})
    assert str(caught.value) == (
        f"attack.methods.{method}.{name}: has the value {value!r}. Fix: use {allowed}."
    )


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("rf", "max_features", 0.5),
        ("rf", "max_features", 3),
        ("rf", "max_features", "log2"),
        ("rf", "max_depth", "None"),
        ("lr", "penalty", "none"),
        ("lr", "class_weight", {"0": 1, "1": 2}),
        ("mlp", "batch_size", "auto"),
        ("rf", "verbose", True),
        ("knn", "metric_params", "none"),
    ],
)
def test_a_value_of_either_kind_is_allowed(method: str, name: str, value: Any) -> None:
    assert grids.check(method, {name: [value]}) is None


@settings(derandomize=True, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["n_neighbors", "p", "leaf_size"]),
        st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True),
    )
)
def test_candidates_come_in_the_order_of_scikit_learns_grid(
    grid: dict[str, list[int]],
) -> None:
    candidates, _ = grids.candidates("knn", grid)
    assert candidates == list(ParameterGrid(grid))


def test_the_order_of_the_parameters_changes_nothing() -> None:
    grid = {"C": [1, 2], "tol": [0.1, 0.2]}
    reverse = dict(reversed(grid.items()))
    assert grids.candidates("lr", grid) == grids.candidates("lr", reverse)


@pytest.mark.parametrize(
    ("method", "count"), [("lr", 10), ("knn", 3), ("mlp", 6), ("rf", 36)]
)
def test_the_tutorials_grids_have_as_many_distinct_candidates(
    method: str, count: int
) -> None:
    # Of the forest's 72 the halves with "auto" and with "sqrt" are the same.
    candidates, _ = grids.candidates(method, TUTORIAL[method])
    assert (
        len({json.dumps(c, sort_keys=True) for c in candidates})
        == len(candidates)
        == count
    )


def test_auto_becomes_sqrt_with_a_note() -> None:
    candidates, notes = grids.candidates("rf", {"max_features": ["auto", "log2"]})
    assert [candidate["max_features"] for candidate in candidates] == ["sqrt", "log2"]
    assert notes == [
        "attack.methods.rf.max_features: 'auto' is no longer known to scikit-learn, "
        "using 'sqrt', its meaning for a classifier"
    ]


def test_equal_candidates_are_kept_at_their_first_place() -> None:
    candidates, _ = grids.candidates("rf", {"max_features": ["auto", "log2", "sqrt"]})
    assert [candidate["max_features"] for candidate in candidates] == ["sqrt", "log2"]


def test_a_value_known_to_scikit_learn_is_not_noted() -> None:
    _, notes = grids.candidates("knn", TUTORIAL["knn"])
    assert notes == []


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        ("l1", {"C": 2.0, "l1_ratio": 1.0}),
        ("l2", {"C": 2.0}),
        ("elasticnet", {"C": 2.0, "l1_ratio": 0.5}),
        ("none", {"penalty": None}),
    ],
)
def test_a_penalty_is_put_in_todays_terms(penalty: str, expected: Any) -> None:
    candidates, _ = grids.candidates("lr", {"C": [2.0], "penalty": [penalty]})
    assert candidates == [{"max_iter": 300, **expected}]


def test_no_penalty_makes_the_values_of_c_one_candidate() -> None:
    candidates, _ = grids.candidates("lr", {"C": [1.0, 2.0], "penalty": ["none"]})
    assert candidates == [{"max_iter": 300, "penalty": None}]


def test_min_impurity_split_becomes_min_impurity_decrease_with_a_note() -> None:
    candidates, notes = grids.candidates("rf", {"min_impurity_split": [0.25]})
    assert candidates == [{"max_depth": 2, "min_impurity_decrease": 0.25}]
    assert len(notes) == 1
    assert "using min_impurity_decrease = 0.25" in notes[0]


def test_min_impurity_split_of_none_is_no_limit() -> None:
    candidates, _ = grids.candidates("rf", {"min_impurity_split": ["None"]})
    assert candidates == [{"max_depth": 2}]


@pytest.mark.parametrize(
    ("name", "values"),
    [("n_jobs", [1, 4]), ("verbose", [0, 1]), ("warm_start", [True, False])],
)
def test_settings_without_effect_are_left_out_with_a_note(
    name: str, values: list[Any]
) -> None:
    candidates, notes = grids.candidates("rf", {name: values})
    assert candidates == [{"max_depth": 2}]
    assert notes == [f"attack.methods.rf.{name}: changes no result, left out"]


@pytest.mark.parametrize(
    ("method", "defaults"),
    [
        ("knn", {}),
        ("lr", {"max_iter": 300}),
        ("mlp", {"max_iter": 300}),
        ("rf", {"max_depth": 2}),
    ],
)
def test_an_empty_grid_is_one_candidate_of_mindarmours_defaults(
    method: str, defaults: Any
) -> None:
    assert grids.candidates(method, {}) == ([defaults], [])


@pytest.mark.parametrize(("method", "name"), NAMES)
def test_every_parameter_is_one_that_scikit_learn_knows_or_is_mapped_to_one(
    method: str, name: str
) -> None:
    allowed = grids.PARAMETERS[method][name].allows
    samples = [1, 2, 0.5, True, None, "auto", "sgd", "l1", "lbfgs", "uniform", "gini"]
    samples += ["relu", "constant", "minkowski", [8], {"1": 2}]
    values = ["None" if v is None else v for v in samples if allowed(v)]
    assert values
    for candidate in grids.candidates(method, {name: values})[0]:
        known = learned.ESTIMATORS[method]().get_params()
        assert candidate.keys() <= known.keys()


def test_advice_names_the_nearest_of_the_known_names() -> None:
    assert grids.nearest("sede", ["seed", "folds"]) == "use seed"


def test_advice_names_all_known_names_if_none_is_near() -> None:
    assert grids.nearest("zzz", ["seed", "folds"]) == "use one of seed, folds"


def test_a_date_in_a_table_of_parameters_is_refused() -> None:
    with pytest.raises(AuditError, match="use a table of numbers or None"):
        grids.check("knn", {"metric_params": [{"V": datetime.date(2020, 1, 1)}]})
