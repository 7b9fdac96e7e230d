import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
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

from pipeline import draws
from pipeline.attacks import grids, learned
from pipeline.audit import search
from pipeline.cache import documents, keys
from pipeline.errors import AuditError

GRIDS: dict[str, dict[str, Any]] = {
    "lr": {"C": [0.01, 1.0, 100.0]},
    "knn": {"n_neighbors": [3, 5, 7]},
    "mlp": {"hidden_layer_sizes": [(8,), (4, 4)], "alpha": [0.0001, 0.01]},
    "rf": {"n_estimators": [20], "max_depth": [2, None], "max_features": ["sqrt"]},
}
SEED = 5
STATE = draws.integer(SEED, "attack.fit")
PLAIN: dict[str, ClassifierMixin] = {
    "lr": LogisticRegression(max_iter=300, random_state=STATE),
    "knn": KNeighborsClassifier(),
    "mlp": MLPClassifier(max_iter=300, random_state=STATE),
    "rf": RandomForestClassifier(max_depth=2, random_state=STATE),
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
    np.save(folder / "attack_train.npy", np.arange(200) < 150)
    np.save(folder / "member.npy", member)
    for name in GRIDS:
        np.save(search.features_path(folder, name), features)
    usual: dict[str, Any] = {
        "folder": folder,
        "memory": folder / "fits",
        "data": dict.fromkeys(GRIDS, "digest"),
        "folds": 3,
        "seed": SEED,
        "accelerated": False,
    }
    return search.Setting(**(usual | more))


def candidates(**chosen: dict[str, Any]) -> dict[str, search.Grid]:
    return {
        method: search.Grid(method, grids.candidates(method, g)[0])
        for method, g in chosen.items()
    }


@pytest.mark.parametrize("method", GRIDS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_equals_scikit_learns(method: str, tmp_path: Path) -> None:
    where = setting(tmp_path)
    (choice,) = search.best_of_each(
        candidates(**{method: GRIDS[method]}), where, jobs=1, track=quiet
    )
    member = np.load(tmp_path / "member.npy")
    features = np.load(search.features_path(tmp_path, method))
    state = draws.integer(SEED, "attack.folds")
    folds = StratifiedKFold(3, shuffle=True, random_state=state)
    plain = GridSearchCV(PLAIN[method], GRIDS[method], cv=folds)
    plain.fit(features[:150], member[:150])
    scores = [trial.mean_accuracy for trial in choice.trials]
    np.testing.assert_allclose(scores, plain.cv_results_["mean_test_score"], rtol=1e-12)
    assert {k: choice.best.params[k] for k in plain.best_params_} == plain.best_params_
    assert np.array_equal(choice.decision[150:], plain.predict(features[150:]))
    expected = plain.predict_proba(features[150:])[:, 1]
    np.testing.assert_allclose(choice.score[150:], expected, rtol=1e-12)
    for train, judged in folds.split(features[:150], member[:150]):
        best = clone(plain.best_estimator_).fit(features[train], member[train])
        expected = best.predict_proba(features[judged])[:, 1]
        np.testing.assert_allclose(choice.score[judged], expected, rtol=1e-12)


def test_of_equal_candidates_the_first_is_chosen_whatever_the_order_of_folds() -> None:
    # Both have the mean .72666…, which two orders of summing round to two numbers.
    accuracies = (0.72, 0.7, 0.76), (0.74, 0.68, 0.76)
    trials = [
        search.Trial({"n_neighbors": place}, accuracy, accuracy, converged=True)
        for place, accuracy in enumerate(accuracies)
    ]
    assert trials[0].mean_accuracy < trials[1].mean_accuracy
    assert search._best(trials) is trials[0]


@pytest.mark.parametrize("accelerated", [False, True])
def test_the_number_of_jobs_changes_nothing(accelerated: bool, tmp_path: Path) -> None:
    chosen = candidates(lr=GRIDS["lr"], mlp=GRIDS["mlp"], rf=GRIDS["rf"])
    settings = [setting(tmp_path / name, accelerated=accelerated) for name in "12"]
    alone = search.best_of_each(chosen, settings[0], jobs=1, track=quiet)
    shared = search.best_of_each(chosen, settings[1], jobs=2, track=quiet)
    for first, second in zip(alone, shared, strict=True):
        assert search.summary(first) == search.summary(second)
        assert np.array_equal(first.score, second.score)


def test_a_few_quick_fits_start_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[str] = []

    def workers(tasks: Iterable[Any]) -> Iterator[Any]:
        handed.extend(task[0].method for _, (task, _), _ in tasks)
        return iter(())

    def fitted(*names: str) -> int:
        handed.clear()
        params = {
            name: candidates(**{name: GRIDS[name]})[name].candidates[0]
            for name in names
        }
        tasks = [[search.Fit(n, n, params[n], fold=0, keep=False)] for n in names]
        return len([*search._results(workers, tasks, setting(tmp_path))])

    assert fitted("knn", "lr", "lr") == 3
    assert handed == []
    assert fitted("mlp", "rf", "knn", "lr") == 2
    assert handed == ["mlp", "rf"]
    # Once they have taken long, the others are left to workers.
    monkeypatch.setattr(search, "START", -1.0)
    assert fitted("knn", "lr") == 0
    assert handed == ["knn", "lr"]


def test_what_was_fitted_is_not_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, chosen = setting(tmp_path), candidates(lr=GRIDS["lr"])
    first = search.best_of_each(chosen, where, jobs=1, track=quiet)

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(search, "_fit", forbidden)
    again = search.best_of_each(chosen, where, jobs=1, track=quiet)
    assert np.array_equal(first[0].score, again[0].score)


@pytest.mark.parametrize(
    "change", [{"data": {"knn": "other"}}, {"seed": 6}, {"folds": 4}]
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


@pytest.mark.parametrize("raised", ["version", "scikit-learn"])
def test_a_raised_version_and_another_library_fit_anew(
    raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, chosen = setting(tmp_path), candidates(knn={"n_neighbors": [3]})
    search.best_of_each(chosen, where, jobs=1, track=quiet)
    before = set((tmp_path / "fits").rglob("*.json"))
    # The same fits serve as long as neither changes.
    search.best_of_each(chosen, where, jobs=1, track=quiet)
    assert set((tmp_path / "fits").rglob("*.json")) == before
    if raised == "version":
        kind = keys.KINDS["fit"]
        raised_kind = keys.Kind(kind.version + 1, kind.libraries)
        monkeypatch.setitem(keys.KINDS, "fit", raised_kind)
    else:
        real = keys.installed
        versions = {"scikit-learn": "99.0"}
        monkeypatch.setattr(
            keys, "installed", lambda name: versions.get(name) or real(name)
        )
    search.best_of_each(chosen, where, jobs=1, track=quiet)
    after = set((tmp_path / "fits").rglob("*.json"))
    assert len(after - before) == len(before) == 7


def test_a_fit_says_what_it_ran_on(tmp_path: Path) -> None:
    chosen = candidates(knn={"n_neighbors": [3]})
    search.best_of_each(chosen, setting(tmp_path), jobs=1, track=quiet)
    for path in (tmp_path / "fits").rglob("*.json"):
        assert documents.checked(path, "")["origin"] == keys.origin("fit")


def only_its_key(text: str) -> str:
    return json.dumps({"key": json.loads(text)["key"]})


def with_a_digit_changed(text: str) -> str:
    content = json.loads(text)
    if "accuracy" in content:
        content["accuracy"] = 1 - content["accuracy"]
    else:
        content["score"] = content["score"][::-1]
    return json.dumps(content)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("damage", [lambda _: "{", only_its_key, with_a_digit_changed])
def test_a_fit_on_disk_that_is_corrupt_is_refused(
    damage: Callable[[str], str], keep: bool, tmp_path: Path
) -> None:
    where, chosen = setting(tmp_path), candidates(knn={"n_neighbors": [3]})
    search.best_of_each(chosen, where, jobs=1, track=quiet)
    path = next(
        path
        for path in sorted((tmp_path / "fits").rglob("*.json"))
        if ("score" in json.loads(path.read_text())) == keep
    )
    path.write_text(damage(path.read_text()))
    with pytest.raises(AuditError) as caught:
        search.best_of_each(chosen, where, jobs=1, track=quiet)
    assert str(caught.value) == f"{path}: is corrupt. Fix: run `rm {path}`."


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_candidate_that_fails_stops_the_search_by_name(
    jobs: int, accelerated: bool, tmp_path: Path
) -> None:
    chosen = candidates(rf={"min_samples_split": [2, 1], "n_estimators": [3]})
    where = setting(tmp_path, accelerated=accelerated)
    with pytest.raises(AuditError) as caught:
        search.best_of_each(chosen, where, jobs=jobs, track=quiet)
    line = str(caught.value)
    assert line.startswith("attack.methods.rf {")
    assert '"min_samples_split": 1' in line
    assert "cannot be fitted (InvalidParameterError: The 'min_samples_split'" in line
    assert "\n" not in line


def test_a_network_whose_weights_do_not_stay_finite_stops_the_search_by_name(
    tmp_path: Path,
) -> None:
    chosen = candidates(mlp={"hidden_layer_sizes": [[3]], "alpha": [0.01, 1e30]})
    with pytest.raises(AuditError) as caught:
        search.best_of_each(
            chosen, setting(tmp_path, accelerated=True), jobs=1, track=quiet
        )
    line = str(caught.value)
    assert line.startswith("attack.methods.mlp {")
    assert '"alpha": 1e+30' in line
    assert "gives scores that are not finite" in line


@pytest.mark.parametrize("accelerated", [False, True])
def test_alike_attacks_are_fitted_once_and_listed_twice(
    accelerated: bool, tmp_path: Path
) -> None:
    where = setting(tmp_path, accelerated=accelerated)
    grid = candidates(knn={"n_neighbors": [3, 5]})["knn"]
    first, second = search.best_of_each(
        {"knn": grid, "lr": grid}, where, jobs=1, track=quiet
    )
    assert np.array_equal(first.score, second.score)
    assert len([*(tmp_path / "fits").rglob("*.json")]) == 2 * 3 + 3 + 1


def test_of_a_grown_grid_only_the_new_value_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(
        method: str, params: Sequence[grids.Candidate], *rest: Any
    ) -> list[learned.Prediction]:
        fitted.extend(each["alpha"] for each in params)
        return real(method, params, *rest)

    fitted: list[float] = []
    real = learned.judge_together
    monkeypatch.setattr(learned, "judge_together", judged)
    where = setting(tmp_path, accelerated=True)
    grid = {"hidden_layer_sizes": [[4]], "max_iter": [5], "alpha": [0.1, 0.2]}
    search.best_of_each(candidates(mlp=grid), where, jobs=1, track=quiet)
    fitted.clear()
    grown = candidates(mlp={**grid, "alpha": [0.1, 0.2, 0.3]})
    (again,) = search.best_of_each(grown, where, jobs=1, track=quiet)
    assert {*fitted} == {0.3}
    # What it gives is no other than where all were fitted together.
    afresh = setting(tmp_path, accelerated=True, memory=tmp_path / "other")
    (at_once,) = search.best_of_each(grown, afresh, jobs=1, track=quiet)
    assert search.summary(again) == search.summary(at_once)
    assert np.array_equal(again.score, at_once.score)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_accelerated_candidates_do_as_well_as_scikit_learns(tmp_path: Path) -> None:
    grid = candidates(**{**GRIDS, "rf": {"max_depth": [2, None]}})
    plain, quick = (
        search.best_of_each(
            grid, setting(tmp_path, accelerated=accelerated), jobs=1, track=quiet
        )
        for accelerated in (False, True)
    )
    # Standard error of an accuracy of 150 records; those compared are the same ones.
    noise = np.sqrt(0.25 / 150)
    for one, other in zip(plain, quick, strict=True):
        for trial, again in zip(one.trials, other.trials, strict=True):
            assert trial.params == again.params
            assert abs(trial.mean_accuracy - again.mean_accuracy) < 1.5 * noise
        assert one.best.mean_accuracy - other.best.mean_accuracy < noise


def test_newtons_method_comes_to_the_optimum_of_scikit_learns_solver() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(300) < 0.5
    features = rng.normal(size=(300, 4)) * [1, 10, 0.1, 30] + member[:, None]
    params = {"C": 50.0, "max_iter": 300}
    (ours,) = learned.judge_together(
        "lr", [params], 1, features, member, lambda: [features]
    )
    usual, exact = (
        LogisticRegression(C=50.0, tol=tol, max_iter=max_iter)
        .fit(features, member)
        .predict_proba(features)[:, 1]
        for tol, max_iter in ((1e-4, 300), (1e-12, 10_000))
    )
    # Either stops at a gradient of 1e-4; features of unlike scales hold up the usual.
    error = np.abs(ours.score - exact).max()
    assert error < 5e-5 < np.abs(usual - exact).max()
    assert ours.converged


@pytest.mark.parametrize(
    "params",
    [
        {"solver": "liblinear", "C": 0.01},
        {"penalty": None},
        {"l1_ratio": 1.0, "solver": "saga"},
    ],
)
def test_a_regression_that_says_how_it_is_fitted_is_fitted_so(
    params: dict[str, Any],
) -> None:
    rng = np.random.default_rng(0)
    member = rng.random(90) < 0.5
    features = rng.normal(size=(90, 3)) + member[:, None]
    (ours,) = learned.judge_together(
        "lr", [params], 1, features, member, lambda: [features]
    )
    plain = learned.judge(
        learned.estimator("lr", params, 1), features, member, [features]
    )
    assert np.array_equal(ours.score, plain.score)


def test_candidates_are_fitted_together_where_they_differ_in_nothing_else() -> None:
    shared = partial(learned.shared, seed=1)
    assert shared("mlp", {"alpha": 0.1}) == shared("mlp", {"alpha": 0.2})
    assert shared("mlp", {"max_iter": 1}) != shared("mlp", {"max_iter": 2})
    sgd = [{"solver": "sgd", "alpha": alpha} for alpha in (0.1, 0.2)]
    assert shared("mlp", sgd[0]) != shared("mlp", sgd[1])
    assert shared("rf", {"max_depth": 2}) == shared("rf", {"max_depth": None})
    assert shared("rf", {"min_samples_leaf": 2}) != shared("rf", {})
    assert shared("lr", {"C": 0.1}) != shared("lr", {"C": 0.2})


def test_accelerated_or_not_has_fits_of_its_own(tmp_path: Path) -> None:
    chosen = candidates(knn={"n_neighbors": [3]})
    for accelerated in (False, True):
        where = setting(tmp_path, accelerated=accelerated)
        search.best_of_each(chosen, where, jobs=1, track=quiet)
    kept = [documents.checked(p, "") for p in (tmp_path / "fits").rglob("*.json")]
    origins = [keys.origin("fit"), keys.origin("accelerated")]
    assert [sum(each["origin"] == origin for each in kept) for origin in origins] == [
        7,
        7,
    ]


def test_more_folds_than_records_of_a_side_are_refused() -> None:
    member = np.arange(20) < 2
    with pytest.raises(AuditError, match="the smaller side of attack-train has 2"):
        search.fold_sides(member, 3, 1)


def test_folds_share_out_every_record_once() -> None:
    member = np.arange(31) % 3 == 0
    sides = search.fold_sides(member, 4, 1)
    everything = np.concatenate([judged for _, judged in sides])
    assert sorted(everything) == list(range(31))
    for train, judged in sides:
        assert not set(train) & set(judged)
        assert abs(member[judged].sum() - 11 / 4) < 1


@pytest.mark.parametrize("method", ["lr", "knn", "rf"])
def test_flipping_a_known_membership_leaves_that_records_own_score(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One candidate, and folds that do not depend on the memberships.
    grid = {
        "lr": {"C": [1.0]},
        "knn": {"n_neighbors": [5]},
        "rf": {"n_estimators": [9]},
    }
    member = np.load(setting(tmp_path / "data").folder / "member.npy")
    sides = search.fold_sides(member[:150], 3, SEED)
    monkeypatch.setattr(search, "fold_sides", lambda *_: sides)

    def scores(name: str) -> np.ndarray:
        where = setting(tmp_path / "data", memory=tmp_path / name)
        np.save(where.folder / "member.npy", member)
        chosen = candidates(**{method: grid[method]})
        return search.best_of_each(chosen, where, jobs=1, track=quiet)[0].score

    before = scores("before")
    for record in (3, 77, 149):
        member[record] = ~member[record]
        after = scores(str(record))
        assert after[record] == before[record]
        assert not np.array_equal(after, before)
        member[record] = ~member[record]


def test_scores_of_many_records_are_read_in_a_blink(tmp_path: Path) -> None:
    score = np.random.default_rng(0).random(1_000_000)
    kept = search.Predictions(
        converged=True, score=search._text(score), decision=search._text(score > 0.5)
    )
    path = tmp_path / "fit.json"
    documents.write(path, kept, key="k")
    started = time.process_time()
    again = documents.read(path, search.Predictions, key="k", fix="")
    # As a list, they would take some seconds.
    assert time.process_time() - started < 1
    assert again == kept


def test_a_random_search_draws_without_replacement_in_grid_order() -> None:
    grid = candidates(lr={"C": "logspace(-4, 2, 10)"})["lr"].candidates
    sampled = search.sample(grid, 4, seed=1)
    places = [grid.index(candidate) for candidate in sampled]
    assert places == sorted(set(places))
    assert len(places) == 4
    assert search.sample(grid, 4, seed=1) == sampled
    assert search.sample(grid, 99, seed=1) == grid


def test_class_weights_of_a_table_name_the_classes() -> None:
    weights = {"class_weight": {"0": 1.0, "1": 3.0}}
    classifier = learned.estimator("lr", weights, 1)
    assert classifier.class_weight == {0: 1.0, 1: 3.0}


def test_no_penalty_is_an_infinite_c() -> None:
    assert np.inf == learned.estimator("lr", {"penalty": None}, 1).C


def test_standardised_features_have_the_scale_of_attack_train() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack((rng.normal(5, 100, 500), np.full(500, 3.0)))
    train = np.arange(500) < 400
    features[450, 0] = 1e9
    ready = learned.scale(features[train]).of(features)
    np.testing.assert_allclose(ready[train, 0].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(ready[train, 0].std(), 1)
    assert (ready[:, 1] == 0).all()
    assert ready[450, 0] == learned.FARTHEST
