"""Search: the best candidate of each learned attack by cross-validation, in one pool.

The result of every fit is kept in a file under its key, so that a grid that grows by
one value costs only the fits of that value.
"""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

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
from pipeline.statistics import metrics, units
from pipeline.statistics.units import Units

DIGITS = 12  # of mean accuracies that are compared
KIND = "fit"  # of `keys.KINDS`
UNITS = "unit.npy"  # beside the features, where records have units
JUDGED_ROWS, READ_ROWS = 50_000, 8192  # predicted, and read, at once
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


@dataclass(frozen=True)
class Fit:
    """One task of the pool: a candidate on one fold, or on all of attack-train."""

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

    def results(processes: joblib.Parallel) -> Iterator[dict[str, Result]]:
        yield from _run(processes, fits, setting)
        finals = [
            fit
            for name, grid in grids.items()
            for fit in _finals(name, grid, setting, done)
        ]
        yield from _run(processes, finals, setting)

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
        for result in _run(processes, fits, setting):
            done.update(result)
    return {fit.name: _scores(fit, setting, done) for fit in fits}


def _finals(
    name: str, grid: Grid, setting: Setting, done: Mapping[str, Result]
) -> list[Fit]:
    """Return the fits of the best candidate: on all, and on all but each fold."""
    params = _best(_trials(name, grid, setting, done)).params
    parts = (None, *range(setting.folds))
    return [Fit(name, grid.method, params, part, keep=True) for part in parts]


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
    processes: joblib.Parallel, fits: Sequence[Fit], setting: Setting
) -> Iterator[dict[str, Result]]:
    """Yield the result of each fit under its key, read from its file or fitted now."""
    missing = []
    for fit in fits:
        key = _key(fit, setting)
        path = _path(key, setting)
        if path.exists():
            yield {key: _read(path, fit, key)}
        else:
            missing.append((key, fit))
    tasks = (joblib.delayed(_fit)(key, fit, setting) for key, fit in missing)
    for key, result in processes(tasks):
        # Written here and not in the worker: with one writer, a run that is stopped
        # loses no fit but those under way.
        path = _path(key, setting)
        documents.write(path, result, key=key, origin=keys.origin(KIND))
        yield {key: result}


def _read(path: Path, fit: Fit, key: str) -> Result:
    fix = f"run `rm {path}`"
    if fit.keep:
        return documents.read(path, Predictions, key=key, fix=fix)
    return documents.read(path, Measure, key=key, fix=fix)


def _fit(key: str, fit: Fit, setting: Setting) -> tuple[str, Result]:
    """Fit one candidate in a worker; all it needs is read from disk."""
    where = f"attack.methods.{fit.name} {json.dumps(fit.params)}"
    path = features_path(setting.folder, fit.name)
    attack_train, member = _division(setting)
    train, judged = np.flatnonzero(attack_train), np.flatnonzero(~attack_train)
    if fit.fold is not None:
        train, judged = (train[side] for side in _folds(setting)[fit.fold])
    try:
        state = draws.integer(setting.seed, "attack.fit")
        classifier = learned.estimator(fit.method, fit.params, state)
        # On a cluster a forest would otherwise add up its trees as they come.
        with joblib.parallel_config("sequential", n_jobs=1):
            prediction = learned.judge(
                classifier,
                _rows(path, train),
                member[train],
                (_rows(path, part) for part in _parts(judged, JUDGED_ROWS)),
            )
    except AuditError:
        raise
    except Exception as error:
        problem = f"cannot be fitted ({modules.summary(error)})"
        raise AuditError(where, problem, "correct or remove this candidate") from error
    if not np.isfinite(prediction.score).all():
        problem = "gives scores that are not finite"
        raise AuditError(where, problem, "correct or remove this candidate")
    if fit.keep:
        return key, Predictions(
            converged=prediction.converged,
            score=_text(prediction.score.astype("<f8")),
            decision=_text(prediction.decision),
        )
    return key, Measure(
        converged=prediction.converged,
        accuracy=metrics.accuracy(prediction.decision, member[judged]),
        auc=metrics.auc(prediction.score, member[judged]),
    )


def _rows(path: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read some rows of features."""
    # Mapped anew for each part, so that what was read does not stay in the process.
    return np.concatenate(
        [np.load(path, mmap_mode="r")[part] for part in _parts(rows, READ_ROWS)]
    )


def _parts(rows: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Return rows in parts of so many, of which there is one at least."""
    return np.split(rows, range(most, len(rows), most))


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
    return keys.key(KIND, settings=settings, inputs={"data": setting.data[fit.name]})


def _path(key: str, setting: Setting) -> Path:
    return setting.memory / key[:2] / f"{key}.json"
