"""Search: the best candidate of each method by cross-validation, in one pool of fits.

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
from sklearn.model_selection import StratifiedKFold

from pipeline import files, metrics, modules
from pipeline.attacks import learned
from pipeline.attacks.grids import Candidate
from pipeline.errors import AuditError

Result = dict[str, Any]  # what a fit found, as JSON

# The slowest methods first, so that none of their fits is left for the end.
SLOWEST_FIRST = ("mlp", "rf", "knn", "lr")


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
    """The best candidate of a method, fitted on all of attack-train."""

    method: str
    trials: tuple[Trial, ...]  # in the grid's order
    best: Trial
    score: NDArray[np.float64]  # (n_eval,) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_eval,)


@dataclass(frozen=True)
class Setting:
    """What all fits of a search have in common."""

    train: Path  # .npy of (n_train, n_features)
    member: Path  # .npy of (n_train,)
    evaluation: Path  # .npy of (n_eval, n_features)
    memory: Path  # folder of remembered fits
    key: str  # digest of the features and the split
    folds: int
    seed: int


@dataclass(frozen=True)
class Fit:
    """One task of the pool: a candidate on one fold, or, without, on all."""

    method: str
    params: Candidate
    fold: int | None


def best_of_each(
    grids: Mapping[str, Sequence[Candidate]],
    setting: Setting,
    *,
    jobs: int,
    track: Callable[[Iterator[Any], int], Iterator[Any]],
) -> list[Found]:
    """Find the best candidate of each method and let it judge the attack-eval records.

    Candidates are ranked by mean accuracy over the folds; of equal ones the first wins,
    as in scikit-learn's GridSearchCV.

    Args:
        grids: the candidates of each method.
        setting: the data, the folds and the seed.
        jobs: number of worker processes. The result does not depend on it.
        track: wraps the stream of finished fits of a known total to show progress.

    Raises:
        AuditError: if a candidate fails or gives a score that is not finite.
    """
    fits = [
        Fit(method, params, fold)
        for method in sorted(grids, key=SLOWEST_FIRST.index)
        for params in grids[method]
        for fold in range(setting.folds)
    ]
    done: dict[str, Result] = {}

    def results(pool: joblib.Parallel) -> Iterator[dict[str, Result]]:
        yield from _run(pool, fits, setting)
        winners = {m: _best(_trials(m, grids[m], setting, done)) for m in grids}
        finals = [Fit(m, winner.params, None) for m, winner in winners.items()]
        yield from _run(pool, finals, setting)

    with joblib.parallel_config("loky", inner_max_num_threads=1):
        pool = joblib.Parallel(jobs, return_as="generator_unordered", max_nbytes=None)
        for result in track(results(pool), len(fits) + len(grids)):
            done.update(result)
    found = []
    for method in grids:
        trials = _trials(method, grids[method], setting, done)
        winner = _best(trials)
        final = done[_digest(Fit(method, winner.params, None), setting)]
        score, decision = np.array(final["score"]), np.array(final["decision"])
        found.append(Found(method, trials, winner, score, decision))
    return found


def _trials(
    method: str,
    candidates: Sequence[Candidate],
    setting: Setting,
    done: Mapping[str, Result],
) -> tuple[Trial, ...]:
    """Put the folds of each candidate together."""
    trials = []
    for params in candidates:
        fits = [Fit(method, params, fold) for fold in range(setting.folds)]
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
            content = files.read_json(path, key=digest, fix=f"run `rm {path}`")
            yield {digest: content["result"]}
        else:
            missing.append((digest, fit))
    tasks = (joblib.delayed(_fit)(d, fit, setting) for d, fit in missing)
    for digest, fit, result in pool(tasks):
        # Written here and not in the worker: one writer, and no fit lost but those
        # under way when the run is stopped.
        content = {"key": digest, "fit": _content(fit, setting), "result": result}
        files.write_json(_remembered(digest, setting), content)
        yield {digest: result}


def _fit(digest: str, fit: Fit, setting: Setting) -> tuple[str, Fit, Result]:
    """Fit one candidate in a worker; all it needs is read from disk."""
    where = f"attack.methods.{fit.method} {json.dumps(fit.params)}"
    train = np.load(setting.train, mmap_mode="r")
    member = np.load(setting.member)
    try:
        classifier = learned.estimator(fit.method, fit.params, setting.seed)
        if fit.fold is None:
            evaluation = np.load(setting.evaluation, mmap_mode="r")
            judged = learned.judge(classifier, train, member, evaluation)
        else:
            sides = fold_sides(member, setting.folds, setting.seed)
            known, unknown = sides[fit.fold]
            judged = learned.judge(
                classifier, train[known], member[known], train[unknown]
            )
    except AuditError:
        raise
    except Exception as error:
        problem = f"cannot be fitted ({modules.summary(error)})"
        raise AuditError(where, problem, "correct or remove this candidate") from error
    if not np.isfinite(judged.score).all():
        problem = "gives scores that are not finite"
        raise AuditError(where, problem, "correct or remove this candidate")
    result: Result = {"converged": judged.converged}
    if fit.fold is None:
        result["score"] = judged.score.tolist()
        result["decision"] = judged.decision.tolist()
    else:
        result["accuracy"] = metrics.accuracy(judged.decision, member[unknown])
        result["auc"] = metrics.auc(judged.score, member[unknown])
    return digest, fit, result


def _content(fit: Fit, setting: Setting) -> dict[str, Any]:
    """Return all that decides the result of a fit."""
    return {
        "method": fit.method,
        "params": fit.params,
        "fold": fit.fold,
        "folds": setting.folds,
        "seed": setting.seed,
        "data": setting.key,
        "scikit-learn": sklearn.__version__,
    }


def _digest(fit: Fit, setting: Setting) -> str:
    content = json.dumps(_content(fit, setting), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _remembered(digest: str, setting: Setting) -> Path:
    return setting.memory / digest[:2] / f"{digest}.json"
