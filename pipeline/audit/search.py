"""Search: the best candidate of each learned attack by cross-validation, in one pool.

What a fit found is remembered under the digest of all that decides it, so a grid that
grows by one value costs the fits of that value.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from numpy.typing import NDArray
from pydantic import ConfigDict
from sklearn.model_selection import StratifiedKFold

from pipeline.attacks import learned
from pipeline.attacks.grids import Candidate
from pipeline.cache import documents, keys
from pipeline.data import modules
from pipeline.errors import AuditError
from pipeline.record import Record
from pipeline.statistics import metrics

Result = dict[str, Any]  # what a fit found, as JSON


class Loose(Record):
    """To be replaced by records with fields."""

    model_config = ConfigDict(extra="allow")


# The slowest methods first, so that none of their fits is left for the end.
SLOWEST_FIRST = ("mlp", "gbm", "rf", "knn", "lr")


@dataclass(frozen=True)
class Trial:
    """A candidate and how it did in cross-validation."""

    params: Candidate
    accuracy: tuple[float, ...]  # of each fold
    auc: tuple[float, ...]  # of each fold
    converged: bool  # in every fold

    @property
    def mean_accuracy(self) -> float:
        """The mean over the folds, by which candidates are ranked."""
        return math.fsum(self.accuracy) / len(self.accuracy)


@dataclass(frozen=True)
class Found:
    """The best candidate of a learned attack, fitted on all of attack-train."""

    name: str
    method: str
    trials: tuple[Trial, ...]  # in the grid's order
    best: Trial
    # Of an attack-train record by a fit on the folds without it.
    score: NDArray[np.float64]  # (n_records,) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_records,)


@dataclass(frozen=True)
class Setting:
    """What all fits of a search have in common."""

    folder: Path  # of known.npy and member.npy, and the features of each attack
    memory: Path  # folder of remembered fits
    keys: Mapping[str, str]  # digest of the features and the split, for each attack
    folds: int
    seed: int


@dataclass(frozen=True)
class Fit:
    """One task of the pool: a candidate on one fold, or, without, on all."""

    name: str
    method: str
    params: Candidate
    fold: int | None
    keep: bool  # what it says of each record, not only how well it does


@dataclass(frozen=True)
class Grid:
    """The candidates of a learned attack."""

    method: str
    candidates: Sequence[Candidate]


def best_of_each(
    grids: Mapping[str, Grid],
    setting: Setting,
    *,
    jobs: int,
    track: Callable[[Iterator[Any], int], Iterator[Any]],
) -> list[Found]:
    """Find the best candidate of each attack and let it judge every record.

    Candidates are ranked by mean accuracy over the folds; of equal ones the first wins,
    as in scikit-learn's GridSearchCV.

    Args:
        grids: the candidates of each attack.
        setting: the data, the folds and the seed.
        jobs: number of worker processes. The result does not depend on it.
        track: wraps the stream of finished fits of a known total to show progress.

    Raises:
        AuditError: if a candidate fails or gives a score that is not finite.
    """
    fits = [
        Fit(name, grid.method, params, fold, keep=False)
        for name, grid in sorted(
            grids.items(), key=lambda item: SLOWEST_FIRST.index(item[1].method)
        )
        for params in grid.candidates
        for fold in range(setting.folds)
    ]
    done: dict[str, Result] = {}

    def results(pool: joblib.Parallel) -> Iterator[dict[str, Result]]:
        yield from _run(pool, fits, setting)
        finals = [
            fit
            for name, grid in grids.items()
            for fit in _finals(name, grid, setting, done)
        ]
        yield from _run(pool, finals, setting)

    with joblib.parallel_config("loky", inner_max_num_threads=1):
        pool = joblib.Parallel(jobs, return_as="generator_unordered", max_nbytes=None)
        total = len(fits) + len(grids) * (1 + setting.folds)
        for result in track(results(pool), total):
            done.update(result)
    return [_found(name, grid, setting, done) for name, grid in grids.items()]


def refitted(
    found: Sequence[Found], setting: Setting, *, jobs: int
) -> dict[str, NDArray[np.float64]]:
    """Fit the best candidate of each attack anew, on other data.

    Args:
        found: the attacks.
        setting: the data and the seed.
        jobs: number of worker processes.

    Returns:
        (n_records,) scores by name; NaN of the records that were fitted.

    Raises:
        AuditError: as `best_of_each`.
    """
    fits = [
        Fit(one.name, one.method, one.best.params, None, keep=True) for one in found
    ]
    done: dict[str, Result] = {}
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        pool = joblib.Parallel(jobs, return_as="generator_unordered", max_nbytes=None)
        for result in _run(pool, fits, setting):
            done.update(result)
    known = _sides(setting)[0]
    scores = {fit.name: np.full(len(known), np.nan) for fit in fits}
    for fit in fits:
        scores[fit.name][~known] = done[_digest(fit, setting)]["score"]
    return scores


def _finals(
    name: str, grid: Grid, setting: Setting, done: Mapping[str, Result]
) -> list[Fit]:
    """Return the fits of the best candidate: on all, and on all but each fold."""
    params = _best(_trials(name, grid, setting, done)).params
    parts = (None, *range(setting.folds))
    return [Fit(name, grid.method, params, part, keep=True) for part in parts]


def _found(
    name: str, grid: Grid, setting: Setting, done: Mapping[str, Result]
) -> Found:
    """Put together what the best candidate says of every record."""
    known, member = _sides(setting)
    score, decision = np.empty(len(known)), np.empty(len(known), dtype=bool)
    own = np.flatnonzero(known)
    folds = fold_sides(member[known], setting.folds, setting.seed)
    for fit in _finals(name, grid, setting, done):
        judged = ~known if fit.fold is None else own[folds[fit.fold][1]]
        result = done[_digest(fit, setting)]
        score[judged], decision[judged] = result["score"], result["decision"]
    trials = _trials(name, grid, setting, done)
    return Found(name, grid.method, trials, _best(trials), score, decision)


def _sides(setting: Setting) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return np.load(setting.folder / "known.npy"), np.load(setting.folder / "member.npy")


def _trials(
    name: str, grid: Grid, setting: Setting, done: Mapping[str, Result]
) -> tuple[Trial, ...]:
    """Put the folds of each candidate together."""
    trials = []
    for params in grid.candidates:
        fits = [
            Fit(name, grid.method, params, fold, keep=False)
            for fold in range(setting.folds)
        ]
        rows = [done[_digest(fit, setting)] for fit in fits]
        accuracy = tuple(row["accuracy"] for row in rows)
        auc = tuple(row["auc"] for row in rows)
        trials.append(Trial(params, accuracy, auc, all(r["converged"] for r in rows)))
    return tuple(trials)


def _best(trials: Sequence[Trial]) -> Trial:
    # max takes the first of equals.
    return max(trials, key=lambda trial: trial.mean_accuracy)


def summary(found: Found) -> dict[str, Any]:
    """Return the whole cross-validation table of a method as JSON."""
    return {
        "name": found.name,
        "method": found.method,
        "best_params": found.best.params,
        "candidates": [
            {
                "params": trial.params,
                "mean_accuracy": trial.mean_accuracy,
                "accuracy": trial.accuracy,
                "auc": trial.auc,
                "converged": trial.converged,
            }
            for trial in found.trials
        ],
    }


def sample(candidates: Sequence[Candidate], n_iter: int, seed: int) -> list[Candidate]:
    """Return at most `n_iter` candidates drawn without replacement, in grid order."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(candidates))[:n_iter]
    return [candidates[index] for index in sorted(chosen)]


def fold_sides(
    member: NDArray[np.bool_], folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows to fit and the rows to judge of each fold, stratified.

    Args:
        member: (n_train,) whether each attack-train record is a member.
        folds: how many.
        seed: decides which rows.

    Raises:
        AuditError: if a side has fewer records than there are folds.
    """
    n_members = int(member.sum())
    fewest = min(n_members, len(member) - n_members)
    if fewest < folds:
        problem = (
            f"is {folds}, but the smaller side of attack-train has {fewest} records"
        )
        fix = "audit more records (data.members) or lower attack.folds"
        raise AuditError("attack.folds", problem, fix)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(member)), member))


def _run(
    pool: joblib.Parallel, fits: Sequence[Fit], setting: Setting
) -> Iterator[dict[str, Result]]:
    """Yield the result of each fit under its digest, remembered or fitted now."""
    missing = []
    for fit in fits:
        digest = _digest(fit, setting)
        path = _remembered(digest, setting)
        if path.exists():
            content = documents.checked(path, f"run `rm {path}`")
            yield {digest: content["result"]}
        else:
            missing.append((digest, fit))
    tasks = (joblib.delayed(_fit)(d, fit, setting) for d, fit in missing)
    for digest, fit, result in pool(tasks):
        # Written here and not in the worker: one writer, and no fit lost but those
        # under way when the run is stopped.
        content = {"key": digest, "fit": _content(fit, setting), "result": result}
        documents.write(
            _remembered(digest, setting),
            Loose.model_validate(content),
            key=digest,
            origin=keys.origin("fit"),
        )
        yield {digest: result}


def _fit(digest: str, fit: Fit, setting: Setting) -> tuple[str, Fit, Result]:
    """Fit one candidate in a worker; all it needs is read from disk."""
    where = f"attack.methods.{fit.name} {json.dumps(fit.params)}"
    features = np.load(setting.folder / f"{fit.name}.npy", mmap_mode="r")
    known, member = _sides(setting)
    train, judged = np.flatnonzero(known), np.flatnonzero(~known)
    if fit.fold is not None:
        sides = fold_sides(member[known], setting.folds, setting.seed)
        train, judged = (train[side] for side in sides[fit.fold])
    try:
        classifier = learned.estimator(fit.method, fit.params, setting.seed)
        said = learned.judge(
            classifier, features[train], member[train], features[judged]
        )
    except AuditError:
        raise
    except Exception as error:
        problem = f"cannot be fitted ({modules.summary(error)})"
        raise AuditError(where, problem, "correct or remove this candidate") from error
    if not np.isfinite(said.score).all():
        problem = "gives scores that are not finite"
        raise AuditError(where, problem, "correct or remove this candidate")
    result: Result = {"converged": said.converged}
    if fit.keep:
        result["score"] = said.score.tolist()
        result["decision"] = said.decision.tolist()
    else:
        result["accuracy"] = metrics.accuracy(said.decision, member[judged])
        result["auc"] = metrics.auc(said.score, member[judged])
    return digest, fit, result


def _content(fit: Fit, setting: Setting) -> dict[str, Any]:
    """Return all that decides the result of a fit."""
    return {
        "method": fit.method,
        "params": fit.params,
        "fold": fit.fold,
        "keep": fit.keep,
        "folds": setting.folds,
        "seed": setting.seed,
        "data": setting.keys[fit.name],
        "scikit-learn": sklearn.__version__,
    }


def _digest(fit: Fit, setting: Setting) -> str:
    content = json.dumps(_content(fit, setting), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _remembered(digest: str, setting: Setting) -> Path:
    return setting.memory / digest[:2] / f"{digest}.json"
