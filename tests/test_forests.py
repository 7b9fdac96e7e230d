from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from pipeline.attacks import forests
from pipeline.attacks.forests import Limit

RNG = np.random.default_rng(0)
MEMBER = RNG.random(400) < 0.5
FEATURES = RNG.normal(size=(400, 5)).astype(np.float32) + 0.8 * MEMBER[:, None]
TRAIN, JUDGED = FEATURES[:250], FEATURES[250:]
LIMITS = [
    Limit(None, 2),
    Limit(1, 2),
    Limit(4, 2),
    Limit(None, 30),
    Limit(4, 30),
    Limit(99, 999),
]
SETTINGS: dict[str, Any] = {"n_estimators": 10, "random_state": 7}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_tree_that_draws_nothing_is_cut_to_scikit_learns_tree(limit: Limit) -> None:
    # Of features that split equally well one is drawn, so there is one alone.
    train, judged = TRAIN[:, :1], JUDGED[:, :1]
    grown = DecisionTreeClassifier(random_state=1).fit(train, MEMBER[:250])
    limited = DecisionTreeClassifier(**limit._asdict(), random_state=1)
    limited.fit(train, MEMBER[:250])
    share = forests.cut(grown.tree_, LIMITS)[grown.apply(judged), LIMITS.index(limit)]
    assert np.array_equal(share, limited.predict_proba(judged)[:, 1])


def walked(tree: Any, row: NDArray[Any], limit: Limit) -> float:
    """Follow one record from the root, by the definition of the limits."""
    node, depth = 0, 0
    while tree.children_left[node] >= 0:
        if limit.max_depth is not None and depth >= limit.max_depth:
            break
        if tree.n_node_samples[node] < limit.min_samples_split:
            break
        goes_left = row[tree.feature[node]] <= tree.threshold[node]
        node = (tree.children_left if goes_left else tree.children_right)[node]
        depth += 1
    return float(tree.value[node, 0, 1] / tree.value[node, 0].sum())


def said(limits: list[Limit], **more: Any) -> NDArray[np.float64]:
    params = {**SETTINGS, **more}
    return forests.probabilities(TRAIN, MEMBER[:250], [JUDGED], params, limits)


@pytest.fixture(params=["scikit-learn", "scikit-learn-intelex"])
def classifier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "scikit-learn":
        monkeypatch.setattr(forests, "find_spec", lambda _: None)
    else:
        pytest.importorskip("sklearnex")
    return forests._classifier()


def test_a_forest_says_the_mean_of_its_cut_trees(classifier: Any) -> None:
    grown = classifier(**SETTINGS, n_jobs=1).fit(TRAIN.astype(np.float32), MEMBER[:250])
    trees = [tree.tree_ for tree in grown.estimators_]
    expected = [
        [np.mean([walked(tree, row, limit) for tree in trees]) for row in JUDGED[:40]]
        for limit in LIMITS
    ]
    np.testing.assert_allclose(said(LIMITS)[:, :40], expected, rtol=1e-12)


def test_a_forest_that_is_not_cut_says_what_its_library_says(classifier: Any) -> None:
    grown = classifier(**SETTINGS, n_jobs=1).fit(TRAIN.astype(np.float32), MEMBER[:250])
    expected = grown.predict_proba(JUDGED.astype(np.float32))[:, 1]
    np.testing.assert_allclose(said([Limit(None, 2)])[0], expected, atol=1e-6)


@pytest.mark.usefixtures("classifier")
def test_what_one_limit_gives_does_not_depend_on_the_others() -> None:
    together = said(LIMITS)
    for place, limit in enumerate(LIMITS):
        assert np.array_equal(said([limit])[0], together[place])


@pytest.mark.parametrize("limit", [Limit(3, 2), Limit(None, 40)])
def test_a_cut_forest_is_a_draw_of_the_law_of_one_grown_with_the_limit(
    limit: Limit, classifier: Any
) -> None:
    # Of many trees, the means of two draws of one law come close to each other.
    params = {"n_estimators": 200, "random_state": 1, "min_samples_leaf": 3}
    cut = forests.probabilities(TRAIN, MEMBER[:250], [JUDGED], params, [limit])[0]
    grown = [
        classifier(**{**params, "random_state": n}, **limit._asdict(), n_jobs=1)
        .fit(TRAIN.astype(np.float32), MEMBER[:250])
        .predict_proba(JUDGED.astype(np.float32))[:, 1]
        for n in (2, 3)
    ]
    between = np.sqrt(np.mean((grown[0] - grown[1]) ** 2))
    assert np.sqrt(np.mean((cut - grown[0]) ** 2)) < 1.5 * between


def test_nobody_to_judge_gives_nothing() -> None:
    nobody = JUDGED[:0]
    scores = forests.probabilities(TRAIN, MEMBER[:250], [nobody], SETTINGS, LIMITS)
    assert scores.shape == (len(LIMITS), 0)


def test_records_may_come_in_parts() -> None:
    whole, parted = (
        forests.probabilities(TRAIN, MEMBER[:250], parts, SETTINGS, LIMITS)
        for parts in ([JUDGED], [JUDGED[:7], JUDGED[:0], JUDGED[7:]])
    )
    assert np.array_equal(whole, parted)


@pytest.mark.parametrize(
    "change",
    [
        {"max_leaf_nodes": 9},
        {"ccp_alpha": 0.1},
        {"random_state": None},
        {"min_samples_split": 1},
        {"min_samples_split": 0.1},
    ],
)
def test_forests_that_cannot_be_cut_are_left_to_scikit_learn(
    change: dict[str, Any],
) -> None:
    assert forests.suits(SETTINGS)
    assert not forests.suits({**SETTINGS, **change})
