from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from pipeline.attacks import grids, learned
from pipeline.audit import search
from pipeline.errors import AuditError

GRIDS: dict[str, dict[str, Any]] = {
    "lr": {"C": [0.01, 1.0, 100.0]},
    "knn": {"n_neighbors": [3, 5, 7]},
    "mlp": {"hidden_layer_sizes": [(8,), (4, 4)], "alpha": [0.0001, 0.01]},
    "rf": {"n_estimators": [20], "max_depth": [2, None], "max_features": ["sqrt"]},
}
PLAIN: dict[str, ClassifierMixin] = {
    "lr": LogisticRegression(max_iter=300, random_state=5),
    "knn": KNeighborsClassifier(),
    "mlp": MLPClassifier(max_iter=300, random_state=5),
    "rf": RandomForestClassifier(max_depth=2, random_state=5),
}


def quiet(fits: Iterator[Any], total: int) -> Iterator[Any]:
    n_fits = 0
    for fit in fits:
        n_fits += 1
        yield fit
    assert n_fits == total


def setting(folder: Path, **more: Any) -> search.Setting:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    member = rng.random(200) < 0.5
    features = rng.normal(size=(200, 4)) + 0.7 * member[:, None]
    np.save(folder / "known.npy", np.arange(200) < 150)
    np.save(folder / "member.npy", member)
    for name in GRIDS:
        np.save(folder / f"{name}.npy", features)
    given: dict[str, Any] = {
        "folder": folder,
        "memory": folder / "fits",
        "keys": dict.fromkeys(GRIDS, "k"),
        "folds": 3,
        "seed": 5,
    }
    return search.Setting(**(given | more))


def candidates(**chosen: dict[str, Any]) -> dict[str, search.Grid]:
    return {
        method: search.Grid(method, grids.candidates(method, g)[0])
        for method, g in chosen.items()
    }


@pytest.mark.parametrize("method", GRIDS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_equals_scikit_learns(method: str, tmp_path: Path) -> None:
    where = setting(tmp_path)
    (found,) = search.best_of_each(
        candidates(**{method: GRIDS[method]}), where, jobs=1, track=quiet
    )
    member = np.load(tmp_path / "member.npy")
    features = np.load(tmp_path / f"{method}.npy")
    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    plain = GridSearchCV(PLAIN[method], GRIDS[method], cv=folds)
    plain.fit(features[:150], member[:150])
    scores = [trial.mean_accuracy for trial in found.trials]
    np.testing.assert_allclose(scores, plain.cv_results_["mean_test_score"], rtol=1e-12)
    assert {k: found.best.params[k] for k in plain.best_params_} == plain.best_params_
    assert np.array_equal(found.decision[150:], plain.predict(features[150:]))
    expected = plain.predict_proba(features[150:])[:, 1]
    np.testing.assert_allclose(found.score[150:], expected, rtol=1e-12)
    for known, unknown in folds.split(features[:150], member[:150]):
        best = clone(plain.best_estimator_).fit(features[known], member[known])
        expected = best.predict_proba(features[unknown])[:, 1]
        np.testing.assert_allclose(found.score[unknown], expected, rtol=1e-12)


def test_the_number_of_jobs_changes_nothing(tmp_path: Path) -> None:
    chosen = candidates(lr=GRIDS["lr"], mlp=GRIDS["mlp"], rf=GRIDS["rf"])
    one = search.best_of_each(chosen, setting(tmp_path / "1"), jobs=1, track=quiet)
    two = search.best_of_each(chosen, setting(tmp_path / "2"), jobs=2, track=quiet)
    for first, second in zip(one, two, strict=True):
        assert search.summary(first) == search.summary(second)
        assert np.array_equal(first.score, second.score)


def test_what_was_fitted_is_not_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, chosen = setting(tmp_path), candidates(lr=GRIDS["lr"])
    first = search.best_of_each(chosen, where, jobs=1, track=quiet)

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(learned, "judge", forbidden)
    again = search.best_of_each(chosen, where, jobs=1, track=quiet)
    assert np.array_equal(first[0].score, again[0].score)


@pytest.mark.parametrize(
    "change", [{"keys": {"knn": "other"}}, {"seed": 6}, {"folds": 4}]
)
def test_other_data_seeds_and_folds_are_fitted_anew(
    change: dict[str, Any], tmp_path: Path
) -> None:
    chosen = candidates(knn={"n_neighbors": [3]})
    search.best_of_each(chosen, setting(tmp_path), jobs=1, track=quiet)
    before = set((tmp_path / "fits").rglob("*.json"))
    search.best_of_each(chosen, setting(tmp_path, **change), jobs=1, track=quiet)
    after = set((tmp_path / "fits").rglob("*.json"))
    assert len(after - before) == 2 * change.get("folds", 3) + 1


def test_a_remembered_fit_that_is_corrupt_is_refused(tmp_path: Path) -> None:
    where, chosen = setting(tmp_path), candidates(knn={"n_neighbors": [3]})
    search.best_of_each(chosen, where, jobs=1, track=quiet)
    path = next((tmp_path / "fits").rglob("*.json"))
    path.write_text("{")
    with pytest.raises(AuditError) as caught:
        search.best_of_each(chosen, where, jobs=1, track=quiet)
    assert str(caught.value) == f"{path}: is corrupt. Fix: run `rm {path}`."


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_candidate_that_fails_stops_the_search_by_name(
    jobs: int, tmp_path: Path
) -> None:
    chosen = candidates(rf={"min_samples_split": [2, 1], "n_estimators": [3]})
    with pytest.raises(AuditError) as caught:
        search.best_of_each(chosen, setting(tmp_path), jobs=jobs, track=quiet)
    line = str(caught.value)
    assert line.startswith("attack.methods.rf {")
    assert '"min_samples_split": 1' in line
    assert "cannot be fitted (InvalidParameterError: The 'min_samples_split'" in line
    assert "\n" not in line


def test_more_folds_than_records_of_a_side_are_refused() -> None:
    member = np.arange(20) < 2
    with pytest.raises(AuditError, match="the smaller side of attack-train has 2"):
        search.fold_sides(member, 3, 1)


def test_folds_share_out_every_record_once() -> None:
    member = np.arange(31) % 3 == 0
    sides = search.fold_sides(member, 4, 1)
    judged = np.concatenate([unknown for _, unknown in sides])
    assert sorted(judged) == list(range(31))
    for known, unknown in sides:
        assert not set(known) & set(unknown)
        assert abs(member[unknown].sum() - 11 / 4) < 1


def test_a_random_search_draws_without_replacement_in_grid_order() -> None:
    grid = candidates(lr={"C": "logspace(-4, 2, 10)"})["lr"].candidates
    drawn = search.sample(grid, 4, seed=1)
    places = [grid.index(candidate) for candidate in drawn]
    assert places == sorted(set(places))
    assert len(places) == 4
    assert search.sample(grid, 4, seed=1) == drawn
    assert search.sample(grid, 99, seed=1) == grid


def test_class_weights_of_a_table_name_the_classes() -> None:
    weights = {"class_weight": {"0": 1.0, "1": 3.0}}
    classifier = learned.estimator("lr", weights, 1)
    assert classifier.class_weight == {0: 1.0, 1: 3.0}


def test_no_penalty_is_an_infinite_c() -> None:
    assert np.inf == learned.estimator("lr", {"penalty": None}, 1).C


def test_standardised_features_have_the_scale_of_the_known_records() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack((rng.normal(5, 100, 500), np.full(500, 3.0)))
    known = np.arange(500) < 400
    features[450, 0] = 1e9
    found = learned.standardised(features, known)
    np.testing.assert_allclose(found[known, 0].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(found[known, 0].std(), 1)
    assert (found[:, 1] == 0).all()
    assert found[450, 0] == learned.FARTHEST
