"""Experiment: every attack of a config on a division of the records."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.attacks import (
    catalogue,
    features,
    grids,
    learned,
    roster,
    thresholds,
)
from pipeline.attacks.evidence import blocks
from pipeline.attacks.view import Scored, View
from pipeline.audit import pool, search
from pipeline.cache import files, keys
from pipeline.config import Attack, AttackMethod
from pipeline.errors import AuditError, LacksError
from pipeline.findings.schema import AttackChoice
from pipeline.statistics import metrics, units

# Runs an attack by its name, as `roster.score`.
Runner = Callable[[str, View], Scored]
# Standard errors of the difference by which the favourite must be beaten.
BEYOND = 2.0
# What to do about an attack that lacks references, or what it reads of the target.
LACKING = "give more references, or leave it out"
UNKNOWN = "leave it out, or give what it needs"
LEARNABLE = 'with features = ["loss", "margin"] they can learn from margins'


class Decided(NamedTuple):
    """What an attack takes for members."""

    decision: NDArray[np.bool_]  # (n_records,)
    threshold: float | None  # of the score; a learned attack decides by itself


@dataclass(frozen=True)
class Outcome:
    """What the attacks say, and what was chosen for them, on attack-train alone."""

    scored: dict[str, Scored]
    decided: dict[str, Decided]
    learned: list[search.Choice]
    auc: dict[str, float]  # on attack-train
    strongest: str
    seconds: dict[str, float]


def run(
    settings: Attack,
    view: View,
    memory: Path,
    before: Mapping[str, Scored] | None = None,
    runner: Runner = roster.score,
) -> Outcome:
    """Run every attack.

    Args:
        settings: which attacks, and how the learned ones are searched.
        view: what they may look at, with a division.
        memory: folder of the fits that are kept.
        before: what the attacks said on another division of the same records. Those
            that saw no membership would say the same again, and are not run.
        runner: of those that are not learned.

    Raises:
        AuditError: if an attack lacks what it needs, or gives scores that are not
            finite.
    """
    seconds: dict[str, float] = {}
    settings, left_out = _possible(settings, view.unknown)
    if before is None:
        for reason, names in left_out.items():
            cli.note(f"left out ({reason}): {', '.join(names)}; {LEARNABLE}")
    scored = _direct(settings, view, seconds, before, runner)
    train, member = view.attack_train, view.member[view.attack_train]
    decided = {}
    for name, (score, *_) in scored.items():
        threshold = thresholds.best_threshold(score[train], member)
        decided[name] = Decided(score > threshold, threshold)
    started = time.perf_counter()
    choices = _searched(settings, view, scored, memory) if settings.methods else []
    seconds["learned"] = time.perf_counter() - started
    for choice in choices:
        scored[choice.name] = Scored(choice.score, informed=True)
        decided[choice.name] = Decided(choice.decision, None)
    auc = {
        name: metrics.auc(score[train], member) for name, (score, *_) in scored.items()
    }
    chosen = strongest(auc, scored, view)
    return Outcome(scored, decided, choices, auc, chosen, seconds)


def rerun(
    settings: Attack,
    view: View,
    outcome: Outcome,
    memory: Path,
    runner: Runner = roster.score,
) -> dict[str, NDArray[np.float64]]:
    """Run every attack once more, on other memberships of the same records.

    Attacks that saw no membership keep their scores. The learned ones keep the
    candidates that were chosen, and only fit them anew.

    Args:
        settings: of the first run.
        view: that of the first run, with other memberships.
        outcome: of the first run.
        memory: folder of the fits that are kept.
        runner: as of the first run.

    Returns:
        (n_records,) scores by name; only those of attack-eval are out of sample.
    """
    settings, _ = _possible(settings, view.unknown)
    scored = {
        name: runner(name, view) if before.informed else before
        for name, before in outcome.scored.items()
        if name in catalogue.names()
    }
    scores = {name: score for name, (score, *_) in scored.items()}
    if outcome.learned:
        with _prepared(settings, view, scored, memory) as setting:
            scores |= search.refitted(outcome.learned, setting, jobs=view.jobs)
    return {name: scores[name] for name in outcome.scored}


def decisions(
    settings: Attack, view: View, outcome: Outcome, memory: Path
) -> dict[str, NDArray[np.bool_]]:
    """Have the learned attacks decide on records that they have not seen.

    Args:
        settings: of the first run.
        view: with the records of the first run as attack-train, and others.
        outcome: of the first run.
        memory: folder of the fits that are kept.

    Returns:
        (n_others,) whether each of the others is taken for a member, by name.
    """
    with _prepared(settings, view, outcome.scored, memory) as setting:
        predicted = search.predicted(outcome.learned, setting, jobs=view.jobs)
    others = ~view.attack_train[~view.fitted]
    return {name: decision[others] for name, (_, decision) in predicted.items()}


def strongest(
    auc: Mapping[str, float], scored: Mapping[str, Scored], view: View
) -> str:
    """Return the attack that does best on attack-train.

    Among many attacks that are about equally good, chance decides which is best. So the
    favourite is chosen unless another is better by more than `BEYOND` standard errors.

    Args:
        auc: of each attack, on attack-train.
        scored: what they say.
        view: that they saw.
    """
    best = max(auc, key=lambda name: auc[name])
    if catalogue.FAVOURITE not in auc:
        return best
    train = view.attack_train
    error = metrics.auc_difference_error(
        scored[best].score[train],
        scored[catalogue.FAVOURITE].score[train],
        view.member[train],
        units.of(view.unit, train),
    )
    is_beaten = auc[best] - auc[catalogue.FAVOURITE] > BEYOND * error
    return best if is_beaten else catalogue.FAVOURITE


def described(name: str, outcome: Outcome) -> AttackChoice:
    """Return what was chosen for an attack on attack-train."""
    choices = {choice.name: choice for choice in outcome.learned}
    choice = choices.get(name)
    return AttackChoice(
        method=name,
        family="learned" if choice else catalogue.family_of(name),
        params=choice.best.params if choice else {},
        n_candidates=len(choice.trials) if choice else 1,
        threshold=outcome.decided[name].threshold,
    )


def wanted(settings: Attack) -> tuple[str, ...]:
    """Return the attacks to run that are not learned, all of them unless named."""
    return catalogue.names() if settings.attacks == "all" else settings.attacks


def check(
    settings: Attack,
    in_models: NDArray[np.bool_],
    unknown: frozenset[catalogue.Part] = frozenset(),
) -> None:
    """Refuse what the config names and these signals do not allow.

    Args:
        settings: which attacks and features it names.
        in_models: (n_models, n_audited) whether a reference was trained on a record.
        unknown: what is not known of the target, as `View.unknown`.

    Raises:
        AuditError: naming the attack, and what it needs.
    """
    if settings.loss == "clipped" and "logits" in unknown:
        problem = "is 'clipped', which is computed from logits, and there are none"
        raise AuditError("attack.loss", problem, "use 'exact'")
    for name in () if settings.attacks == "all" else settings.attacks:
        if reason := roster.lack(name, in_models, unknown):
            raise AuditError(f"attack.attacks ({name})", reason, _way_out(reason))
    for method in _possible(settings, unknown)[0].methods:
        for name in method.features:
            if reason := roster.lack(name, in_models, unknown):
                where = f"attack.methods.{method.title}.features"
                problem = f"names {name!r}, which {reason}"
                raise AuditError(where, problem, _way_out(reason))


def _way_out(reason: str) -> str:
    """Return what to do about what `roster.lack` says."""
    return UNKNOWN if reason in roster.UNKNOWN.values() else LACKING


def _possible(
    settings: Attack, unknown: frozenset[catalogue.Part]
) -> tuple[Attack, dict[str, list[str]]]:
    """Leave out the learned attacks whose usual features are not known.

    Attacks that are listed by name, and features of the user's own, are never left out.

    Returns:
        The settings of the others, and the titles left out under the reason.
    """
    kept: list[AttackMethod] = []
    left_out: dict[str, list[str]] = {}
    for method in settings.methods:
        lacking = [p for f in method.features for p in catalogue.reads(f)]
        reasons = [roster.UNKNOWN[part] for part in lacking if part in unknown]
        usual = method.features == catalogue.TUTORIAL and settings.attacks == "all"
        if reasons and usual:
            left_out.setdefault(reasons[0], []).append(method.title)
        else:
            kept.append(method)
    return settings.model_copy(update={"methods": tuple(kept)}), left_out


def _direct(
    settings: Attack,
    view: View,
    seconds: dict[str, float],
    before: Mapping[str, Scored] | None,
    runner: Runner,
) -> dict[str, Scored]:
    """Run the attacks that are not learned, and note how long each took."""
    scored: dict[str, Scored] = {}
    left_out: dict[str, list[str]] = {}
    for name in wanted(settings):
        started = time.perf_counter()
        if before is not None:
            if name not in before:
                continue  # it lacked references, and the first run said so
            if not before[name].informed:
                scored[name] = before[name]
                continue
        try:
            scored[name] = runner(name, view)
        except LacksError as error:
            if settings.attacks != "all":
                where = f"attack.attacks ({name})"
                raise AuditError(where, str(error), LACKING) from error
            left_out.setdefault(str(error), []).append(name)
        seconds[name] = time.perf_counter() - started
    for reason, lacking in left_out.items():
        # A user without references knows that attacks on them are left out.
        if len(view.references) or not all(map(catalogue.needs, lacking)):
            cli.note(f"left out ({reason}): {', '.join(lacking)}")
    for name, (score, *_) in scored.items():
        if not np.isfinite(score).all():
            problem = "gives scores that are not finite"
            fix = "look for records or references that are all alike, or leave it out"
            raise AuditError(f"attack.attacks ({name})", problem, fix)
    return scored


@contextmanager
def _prepared(
    settings: Attack, view: View, scored: Mapping[str, Scored], memory: Path
) -> Iterator[search.Setting]:
    """Yield what the fits of learned attacks have in common, their features on disk."""
    with tempfile.TemporaryDirectory(dir=pool.place(memory.parent)) as scratch:
        folder = Path(scratch)
        attack_train, member = folder / "attack_train.npy", folder / "member.npy"
        # To the search, what is not fitted to is judged by the fits, known or not.
        fitted = view.fitted
        np.save(attack_train, fitted)
        np.save(member, view.member)
        division = [attack_train, member]
        if view.unit is not None:
            division.append(folder / search.UNITS)
            np.save(division[-1], view.unit)
        data = {}
        for method in settings.methods:
            path = search.features_path(folder, method.title)
            _write_features(path, method, settings.loss, view, scored, fitted)
            # Without their names: an attack that is renamed keeps its fits.
            digests = [files.sha256(file) for file in (path, *division)]
            data[method.title] = keys.digest({"features and division": digests})
        yield search.Setting(
            folder=folder,
            memory=memory,
            data=data,
            folds=settings.folds,
            seed=settings.seed,
            accelerated=settings.accelerate == "auto",
        )


def _searched(
    settings: Attack, view: View, scored: Mapping[str, Scored], memory: Path
) -> list[search.Choice]:
    """Search the learned attacks."""
    candidates = _grids_of(settings)
    with _prepared(settings, view, scored, memory) as setting:
        choices = search.best_of_each(
            candidates,
            setting,
            jobs=view.jobs,
            track=lambda fits, total: cli.tracked("attack", fits, total),
        )
    trials = [trial for choice in choices for trial in choice.trials]
    if stopped := sum(not trial.converged for trial in trials):
        cli.note(f"{stopped} of {len(trials)} candidates reached max_iter first")
    return choices


def _write_features(
    path: Path,
    method: AttackMethod,
    loss: str,
    view: View,
    scored: Mapping[str, Scored],
    fitted: NDArray[np.bool_],
) -> None:
    """Write the features of a learned attack, block by block.

    Args:
        path: of a .npy file.
        method: the attack.
        loss: "exact", or "clipped" as MindArmour's.
        view: what there is to look at.
        scored: by the attacks that have run.
        fitted: (n_records,) as `View.fitted`, which draws anew each time.
    """
    try:
        columns = features.columns(method.features, view, scored, loss)
    except LacksError as error:
        where = f"attack.methods.{method.title}.features"
        raise AuditError(where, str(error), LACKING) from error
    scale = None
    if method.features != catalogue.TUTORIAL:
        scale = learned.scale(columns(np.flatnonzero(fitted)))
    shape = len(view.label), columns(slice(0)).shape[1]
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for rows in blocks(*shape):
            block = columns(rows)
            file.write((block if scale is None else scale.of(block)).tobytes())


def _grids_of(settings: Attack) -> dict[str, search.Grid]:
    """Return the candidates of each learned attack in the config's order."""
    candidates_of: dict[str, search.Grid] = {}
    for method in settings.methods:
        candidates, replaced = grids.candidates(method.method, method.params)
        for text in replaced:
            cli.note(text)
        if settings.search == "random":
            candidates = search.sample(candidates, settings.n_iter, settings.seed)
        candidates_of[method.title] = search.Grid(method.method, candidates)
    return candidates_of
