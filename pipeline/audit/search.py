"""Search: the best candidate of each learned attack by cross-validation, in one pool.

The result of every fit is kept in a file under its key, so that a grid that grows by
one value costs only the fits of that value. Accelerated, fits that share most of their
work are one task of the pool; what each gives does not depend on that.
"""

import base64
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from pipeline import draws
from pipeline.attacks import learned
from pipeline.attacks.folds import drawn as draw_folds
from pipeline.attacks.grids import Candidate
from pipeline.audit.pool import pool
from pipeline.cache import documents, keys
from pipeline.data import modules
from pipeline.errors import AuditError
from pipeline.findings import schema
from pipeline.record import Record
from pipeline.signals.stored import parts
from pipeline.statistics import metrics, units
from pipeline.statistics.units import Units

DIGITS = 12  # of mean accuracies that are compared
# Of `keys.KINDS`, without and with acceleration.
KINDS = {False: "fit", True: "accelerated"}
UNITS = "unit.npy"  # beside the features, where records have units
JUDGED_ROWS, READ_ROWS = 50_000, 8192  # predicted, and read, at once
# The slowest methods first, so that none of their fits is left for the end.
SLOWEST_FIRST = ("mlp", "gbm", "rf", "knn", "lr")
QUICK = SLOWEST_FIRST[-2:]
START = 1.0  # seconds of quick fits before workers are started


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
class Choice:
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

    # Of attack_train.npy, member.npy, unit.npy, and the features of each attack.
    folder: Path
    memory: Path  # folder of the fits that are kept
    data: Mapping[str, str]  # digest of the features and the division, for each attack
    folds: int
    seed: int
    accelerated: bool  # by `learned.judge_together`, else each fit by scikit-learn


@dataclass(frozen=True)
class Fit:
    """A candidate on one fold, or on all of attack-train."""

    name: str
    method: str
    params: Candidate
    fold: int | None  # None: all
    keep: bool  # its scores of all records, not only how well it does


class Measure(Record):
    """How well a fit does on the records of its fold."""

    converged: bool
    accuracy: float
    auc: float


class Predictions(Record):
    """What a fit says of the records that it was not fitted to.

    Arrays are kept as text, which is exact and takes far less time to read than a list
    of a million numbers.
    """

    converged: bool
    score: str  # base64 of (n_records,) little-endian float64
    decision: str  # base64 of (n_records,) bytes, 0 or 1


Result = Measure | Predictions


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
) -> list[Choice]:
    """Choose the best candidate of each attack, and score every record by it.

    Candidates are ranked by mean accuracy over the folds; among equals the first wins,
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
    ready: dict[str, Result] = {}

    def results(processes: joblib.Parallel) -> Iterator[dict[str, Result]]:
        yield from _run(processes, fits, setting, ready)
        finals = [
            fit
            for name, grid in grids.items()
            for fit in _finals(name, grid, setting, done)
        ]
        yield from _run(processes, finals, setting, ready)

    with pool(jobs) as processes:
        total = len(fits) + len(grids) * (1 + setting.folds)
        for result in track(results(processes), total):
            done.update(result)
    return [_choice(name, grid, setting, done) for name, grid in grids.items()]


def refitted(
    choices: Sequence[Choice], setting: Setting, *, jobs: int
) -> dict[str, NDArray[np.float64]]:
    """Fit the best candidate of each attack anew, on other data.

    Args:
        choices: the attacks.
        setting: the data and the seed.
        jobs: number of worker processes.

    Returns:
        (n_records,) scores by name; NaN on the records of attack-train.

    Raises:
        AuditError: as `best_of_each`.
    """
    attack_train = _division(setting)[0]
    scores = {}
    for name, (score, _) in predicted(choices, setting, jobs=jobs).items():
        scores[name] = np.full(len(attack_train), np.nan)
        scores[name][~attack_train] = score
    return scores


def predicted(
    choices: Sequence[Choice], setting: Setting, *, jobs: int
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Fit the best candidate of each attack on attack-train, and judge the others.

    Args:
        choices: the attacks.
        setting: the data and the seed.
        jobs: number of worker processes.

    Returns:
        Scores and decisions by name, (n_others,) each: of the records that are not in
        attack-train.

    Raises:
        AuditError: as `best_of_each`.
    """
    fits = [
        Fit(choice.name, choice.method, choice.best.params, None, keep=True)
        for choice in choices
    ]
    done: dict[str, Result] = {}
    with pool(jobs) as processes:
        for result in _run(processes, fits, setting, {}):
            done.update(result)
    return {fit.name: _scores(fit, setting, done) for fit in fits}


def _finals(
    name: str, grid: Grid, setting: Setting, done: Mapping[str, Result]
) -> list[Fit]:
    """Return the fits of the best candidate: on all, and on all but each fold."""
    params = _best(_trials(name, grid, setting, done)).params
    sides = (None, *range(setting.folds))
    return [Fit(name, grid.method, params, fold, keep=True) for fold in sides]


def _choice(
    name: str, grid: Grid, setting: Setting, done: Mapping[str, Result]
) -> Choice:
    """Put together what the best candidate says of every record."""
    attack_train, _ = _division(setting)
    n_records = len(attack_train)
    score, decision = np.empty(n_records), np.empty(n_records, dtype=bool)
    own = np.flatnonzero(attack_train)
    folds = _folds(setting)
    for fit in _finals(name, grid, setting, done):
        judged = ~attack_train if fit.fold is None else own[folds[fit.fold][1]]
        score[judged], decision[judged] = _scores(fit, setting, done)
    trials = _trials(name, grid, setting, done)
    return Choice(name, grid.method, trials, _best(trials), score, decision)


def _measure(fit: Fit, setting: Setting, done: Mapping[str, Result]) -> Measure:
    """Return how well a fit does that keeps no scores."""
    result = done[_key(fit, setting)]
    assert isinstance(result, Measure)
    return result


def _scores(
    fit: Fit, setting: Setting, done: Mapping[str, Result]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the scores and the decisions of a fit that keeps them."""
    result = done[_key(fit, setting)]
    assert isinstance(result, Predictions)
    score = np.frombuffer(base64.b64decode(result.score), dtype="<f8")
    return score, np.frombuffer(base64.b64decode(result.decision), dtype=np.bool_)


def _division(setting: Setting) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which records are in attack-train, and which of these are members."""
    folder = setting.folder
    return np.load(folder / "attack_train.npy"), np.load(folder / "member.npy")


def _folds(setting: Setting) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the folds of attack-train; see `fold_sides`."""
    attack_train, member = _division(setting)
    path = setting.folder / UNITS
    unit = np.load(path)[attack_train] if path.exists() else None
    return fold_sides(member[attack_train], setting.folds, setting.seed, unit)


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
        measures = [_measure(fit, setting, done) for fit in fits]
        trials.append(
            Trial(
                params,
                tuple(measure.accuracy for measure in measures),
                tuple(measure.auc for measure in measures),
                all(measure.converged for measure in measures),
            )
        )
    return tuple(trials)


def _best(trials: Sequence[Trial]) -> Trial:
    # max takes the first of equals, which may differ by the rounding of their means.
    return max(trials, key=lambda trial: round(trial.mean_accuracy, DIGITS))


def features_path(folder: Path, name: str) -> Path:
    """Return where the features of an attack lie; no attack's name has a dash."""
    return folder / f"features-{name}.npy"


def summary(choice: Choice) -> schema.Learned:
    """Return the whole cross-validation table of a learned attack as a record."""
    return schema.Learned(
        name=choice.name,
        method=choice.method,
        best_params=choice.best.params,
        candidates=tuple(
            schema.Candidate(
                params=trial.params,
                mean_accuracy=trial.mean_accuracy,
                accuracy=trial.accuracy,
                auc=trial.auc,
                converged=trial.converged,
            )
            for trial in choice.trials
        ),
    )


def sample(candidates: Sequence[Candidate], n_iter: int, seed: int) -> list[Candidate]:
    """Return at most `n_iter` candidates drawn without replacement, in grid order."""
    rng = draws.rng(seed, "attack.candidates")
    chosen = rng.permutation(len(candidates))[:n_iter]
    return [candidates[index] for index in sorted(chosen)]


def fold_sides(
    member: NDArray[np.bool_], folds: int, seed: int, unit: Units = None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows to fit and the rows to judge of each fold, stratified.

    Args:
        member: (n_train,) whether each attack-train record is a member.
        folds: how many.
        seed: of the config, for the draw.
        unit: (n_train,) or None; each is in one fold.

    Raises:
        AuditError: if a side has fewer records, or units, than there are folds.
    """
    shared, what = units.shared(unit), "records"
    n_members = int(member.sum())
    fewest = min(n_members, len(member) - n_members)
    if shared is not None:
        what = "units"
        fewest = min(len(np.unique(shared[side])) for side in (member, ~member))
    if fewest < folds:
        problem = (
            f"is {folds}, but the smaller side of attack-train has {fewest} {what}"
        )
        fix = "audit more records (data.members) or lower attack.folds"
        raise AuditError("attack.folds", problem, fix)
    if shared is not None:
        sides = member, ~member
        fold = draw_folds(sides, folds, seed, "attack.folds", shared)
        return [
            (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
            for number in range(folds)
        ]
    state = draws.integer(seed, "attack.folds")
    splitter = StratifiedKFold(folds, shuffle=True, random_state=state)
    return list(splitter.split(np.zeros(len(member)), member))


def _run(
    processes: joblib.Parallel,
    fits: Sequence[Fit],
    setting: Setting,
    ready: dict[str, Result],
) -> Iterator[dict[str, Result]]:
    """Yield the result of each fit under its key: kept, at hand, or fitted now.

    Args:
        processes: to fit in.
        fits: the longest first.
        setting: the data, the folds and the seed.
        ready: results at hand by key. Every fit on a fold adds its predictions, as the
            best candidate's are wanted later.
    """
    missing: dict[str, list[Fit]] = {}
    for fit in fits:
        key = _key(fit, setting)
        path = _path(key, setting)
        if path.exists():
            yield {key: _read(path, fit, key)}
        elif key in ready:
            yield {key: _written(key, ready[key], setting)}
        else:
            # Of two attacks that are alike, one is fitted.
            missing.setdefault(key, []).append(fit)
    if not missing:
        return
    tasks = _tasks([same[0] for same in missing.values()], setting)
    for results in _results(processes, tasks, setting):
        ready |= results
        for key in missing.keys() & results.keys():
            # Written here and not in the worker: with one writer, a run that is stopped
            # loses no fit but those under way.
            result = _written(key, results[key], setting)
            yield from ({key: result} for _ in missing[key])


def _results(
    processes: joblib.Parallel, tasks: list[list[Fit]], setting: Setting
) -> Iterator[dict[str, Result]]:
    """Yield the results of tasks as they are finished, whatever fits them."""
    started = time.monotonic()
    # Workers take longer to start than a few quick fits take.
    while tasks and tasks[-1][0].method in QUICK:
        if time.monotonic() - started > START:
            break
        yield _fit(tasks.pop(), setting)
    if tasks:
        yield from processes(joblib.delayed(_fit)(task, setting) for task in tasks)


def _tasks(fits: Sequence[Fit], setting: Setting) -> list[list[Fit]]:
    """Put fits that share most of their work together, in the order of the first."""
    if not setting.accelerated:
        return [[fit] for fit in fits]
    tasks: dict[tuple[object, ...], list[Fit]] = {}
    for fit in fits:
        alike = learned.shared(fit.method, fit.params, _state(setting))
        tasks.setdefault((fit.name, fit.fold, fit.keep, alike), []).append(fit)
    return [*tasks.values()]


def _written(key: str, result: Result, setting: Setting) -> Result:
    """Keep a result in its file."""
    origin = keys.origin(KINDS[setting.accelerated])
    documents.write(_path(key, setting), result, key=key, origin=origin)
    return result


def _read(path: Path, fit: Fit, key: str) -> Result:
    fix = f"run `rm {path}`"
    if fit.keep:
        return documents.read(path, Predictions, key=key, fix=fix)
    return documents.read(path, Measure, key=key, fix=fix)


def _fit(task: Sequence[Fit], setting: Setting) -> dict[str, Result]:
    """Fit the candidates of a task in a worker; all it needs is read from disk.

    Returns:
        Their predictions by key; of a fold, also how well they do.
    """
    first = task[0]
    path = features_path(setting.folder, first.name)
    attack_train, member = _division(setting)
    train, judged = np.flatnonzero(attack_train), np.flatnonzero(~attack_train)
    if first.fold is not None:
        train, judged = (train[side] for side in _folds(setting)[first.fold])
    try:
        # On a cluster a forest would otherwise add up its trees as they come.
        with threadpool_limits(1), joblib.parallel_config("sequential", n_jobs=1):
            predictions = _predictions(
                task,
                setting,
                _rows(path, train),
                member[train],
                lambda: (_rows(path, part) for part in parts(judged, JUDGED_ROWS)),
            )
    except AuditError:
        raise
    except Exception as error:
        problem = f"cannot be fitted ({modules.summary(error)})"
        fix = "correct or remove this candidate"
        raise AuditError(_where(first), problem, fix) from error
    results: dict[str, Result] = {}
    for fit, prediction in zip(task, predictions, strict=True):
        if not np.isfinite(prediction.score).all():
            problem = "gives scores that are not finite"
            fix = "correct or remove this candidate"
            raise AuditError(_where(fit), problem, fix)
        results[_key(replace(fit, keep=True), setting)] = Predictions(
            converged=prediction.converged,
            score=_text(prediction.score.astype("<f8")),
            decision=_text(prediction.decision),
        )
        if not fit.keep:
            results[_key(fit, setting)] = Measure(
                converged=prediction.converged,
                accuracy=metrics.accuracy(prediction.decision, member[judged]),
                auc=metrics.auc(prediction.score, member[judged]),
            )
    return results


def _predictions(
    task: Sequence[Fit],
    setting: Setting,
    train: NDArray[np.float64],
    member: NDArray[np.bool_],
    others: Callable[[], Iterator[NDArray[np.float64]]],
) -> list[learned.Prediction]:
    """Return what each candidate of a task predicts; see `learned.judge`."""
    method, state = task[0].method, _state(setting)
    if setting.accelerated:
        candidates = [fit.params for fit in task]
        return learned.judge_together(method, candidates, state, train, member, others)
    classifiers = [learned.estimator(method, fit.params, state) for fit in task]
    return [learned.judge(each, train, member, others()) for each in classifiers]


def _state(setting: Setting) -> int:
    """Return the seed of what classifiers draw."""
    return draws.integer(setting.seed, "attack.fit")


def _where(fit: Fit) -> str:
    """Return how a candidate is named to the user."""
    return f"attack.methods.{fit.name} {json.dumps(fit.params)}"


def _rows(path: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read some rows of features."""
    # Mapped anew for each part, so that what was read does not stay in the process.
    return np.concatenate(
        [np.load(path, mmap_mode="r")[part] for part in parts(rows, READ_ROWS)]
    )


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _key(fit: Fit, setting: Setting) -> str:
    """Return the digest of all that decides the result of a fit."""
    settings = {
        "method": fit.method,
        "params": fit.params,
        "fold": fit.fold,
        "keep": fit.keep,
        "folds": setting.folds,
        "seed": setting.seed,
    }
    kind, inputs = KINDS[setting.accelerated], {"data": setting.data[fit.name]}
    return keys.key(kind, settings=settings, inputs=inputs)


def _path(key: str, setting: Setting) -> Path:
    return setting.memory / key[:2] / f"{key}.json"
