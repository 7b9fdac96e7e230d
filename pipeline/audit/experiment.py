"""Experiment: every attack of a config on one division of the records."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.attacks import catalogue, grids, learned, roster, thresholds
from pipeline.audit import search
from pipeline.cache import files, keys
from pipeline.config import Attack
from pipeline.errors import AuditError, LacksError
from pipeline.signals import margins
from pipeline.statistics import metrics

# Standard errors of the difference by which the favourite must be beaten.
BEYOND = 2.0
# What to do about an attack that lacks references.
LACKING = "give more references, or leave it out"


class Decided(NamedTuple):
    """What an attack takes for members."""

    decision: NDArray[np.bool_]  # (n_records,)
    threshold: float | None  # of the score; a learned attack decides by itself


@dataclass(frozen=True)
class Outcome:
    """What the attacks say, and what was chosen for them, on attack-train alone."""

    scored: dict[str, roster.Scored]
    decided: dict[str, Decided]
    found: list[search.Found]  # of the learned attacks
    auc: dict[str, float]  # on attack-train
    strongest: str
    seconds: dict[str, float]


def run(
    settings: Attack,
    given: roster.Given,
    memory: Path,
    before: Mapping[str, roster.Scored] | None = None,
) -> Outcome:
    """Run every attack.

    Args:
        settings: which ones, and how the learned ones are searched.
        given: what they may look at.
        memory: folder of remembered fits.
        before: what the attacks said on another division of the same records. One that
            was given no membership then would say the same again, and is not run.

    Raises:
        AuditError: if an attack lacks what it needs, or gives scores that are not
            finite.
    """
    seconds: dict[str, float] = {}
    scored = _direct(settings, given, seconds, before)
    known, member = given.known, given.member[given.known]
    decided = {}
    for name, one in scored.items():
        threshold = thresholds.best_threshold(one.score[known], member)
        decided[name] = Decided(one.score > threshold, threshold)
    started = time.perf_counter()
    found = _searched(settings, given, scored, memory) if settings.methods else []
    seconds["learned"] = time.perf_counter() - started
    for one_found in found:
        scored[one_found.name] = roster.Scored(one_found.score, informed=True)
        decided[one_found.name] = Decided(one_found.decision, None)
    auc = {name: metrics.auc(one.score[known], member) for name, one in scored.items()}
    chosen = strongest(auc, scored, given)
    return Outcome(scored, decided, found, auc, chosen, seconds)


def rerun(
    settings: Attack, given: roster.Given, outcome: Outcome, memory: Path
) -> dict[str, NDArray[np.float64]]:
    """Run every attack once more, on other memberships of the same records.

    One that was given no membership says what it said. The candidates of the learned
    ones are chosen already and only fitted anew.

    Args:
        settings: of the first run.
        given: as at the first run, but for the memberships.
        outcome: of the first run.
        memory: folder of remembered fits.

    Returns:
        (n_records,) scores by name; only those of attack-eval are out of sample.
    """
    scored = {
        name: roster.score(name, given) if one.informed else one
        for name, one in outcome.scored.items()
        if name in catalogue.ALL
    }
    scores = {name: one.score for name, one in scored.items()}
    if outcome.found:
        with _prepared(settings, given, scored, memory) as setting:
            scores |= search.refitted(outcome.found, setting, jobs=given.jobs)
    return {name: scores[name] for name in outcome.scored}


def strongest(
    auc: Mapping[str, float], scored: Mapping[str, roster.Scored], given: roster.Given
) -> str:
    """Return the attack that does best on attack-train.

    Of many that are about equal the best is so by accident; the favourite gives way
    only to what is better beyond that.

    Args:
        auc: of each attack, on attack-train.
        scored: what they say.
        given: what they were given.
    """
    best = max(auc, key=lambda name: auc[name])
    if catalogue.FAVOURITE not in auc:
        return best
    known = given.known
    error = metrics.auc_difference_error(
        scored[best].score[known],
        scored[catalogue.FAVOURITE].score[known],
        given.member[known],
    )
    is_beaten = auc[best] - auc[catalogue.FAVOURITE] > BEYOND * error
    return best if is_beaten else catalogue.FAVOURITE


def described(name: str, outcome: Outcome) -> dict[str, Any]:
    """Return the name, family, parameters and threshold of an attack, as JSON."""
    for one in outcome.found:
        if one.name == name:
            about = ("learned", one.best.params, len(one.trials))
            break
    else:
        about = (catalogue.family_of(name), {}, 1)
    family, params, n_candidates = about
    return {
        "method": name,
        "family": family,
        "params": params,
        "n_candidates": n_candidates,
        "threshold": outcome.decided[name].threshold,
    }


def wanted(settings: Attack) -> tuple[str, ...]:
    """Return the attacks to run that are not learned, all of them unless named."""
    return catalogue.ALL if settings.attacks == "all" else settings.attacks


def check(settings: Attack, inside: NDArray[np.bool_]) -> None:
    """Refuse what the config names and these references do not allow.

    Raises:
        AuditError: naming the attack, and what it needs.
    """
    for name in () if settings.attacks == "all" else settings.attacks:
        if reason := roster.lack(name, inside):
            raise AuditError(f"attack.attacks ({name})", reason, LACKING)
    for method in settings.methods:
        for name in method.features:
            if reason := roster.lack(name, inside):
                where = f"attack.methods.{method.title}.features"
                raise AuditError(where, f"names {name!r}, which {reason}", LACKING)


def _direct(
    settings: Attack,
    given: roster.Given,
    seconds: dict[str, float],
    before: Mapping[str, roster.Scored] | None,
) -> dict[str, roster.Scored]:
    """Run the attacks that are not learned, and tell how long each took."""
    found: dict[str, roster.Scored] = {}
    left_out: dict[str, list[str]] = {}
    for name in wanted(settings):
        started = time.perf_counter()
        if before is not None:
            if name not in before:
                continue  # for lack of references, as was said before
            if not before[name].informed:
                found[name] = before[name]
                continue
        try:
            found[name] = roster.score(name, given)
        except LacksError as error:
            if settings.attacks != "all":
                where = f"attack.attacks ({name})"
                raise AuditError(where, str(error), LACKING) from error
            left_out.setdefault(str(error), []).append(name)
        seconds[name] = time.perf_counter() - started
    for reason, lacking in left_out.items():
        # Who has no references need not be told so of each attack.
        if len(given.references) or not {*lacking} <= {*catalogue.NEEDED}:
            cli.note(f"left out ({reason}): {', '.join(lacking)}")
    for name, one in found.items():
        if not np.isfinite(one.score).all():
            problem = "gives scores that are not finite"
            fix = "look for records or references that are all alike, or leave it out"
            raise AuditError(f"attack.attacks ({name})", problem, fix)
    return found


@contextmanager
def _prepared(
    settings: Attack,
    given: roster.Given,
    scored: Mapping[str, roster.Scored],
    memory: Path,
) -> Iterator[search.Setting]:
    """Yield what the fits of learned attacks have in common, their features on disk."""
    known, member = given.known, given.member
    with tempfile.TemporaryDirectory() as scratch:
        digests = {}
        np.save(Path(scratch) / "known.npy", known)
        np.save(Path(scratch) / "member.npy", member)
        for method in settings.methods:
            features = _features_of(method.title, method.features, given, scored)
            if settings.loss == "clipped" and "loss" in method.features:
                place = method.features.index("loss")
                before = _features_of("", method.features[:place], given, scored)
                clipped = margins.clipped_loss(given.logits[:, 0], given.label)
                features[:, before.shape[1]] = clipped
            if method.features != catalogue.TUTORIAL:
                features = learned.standardised(features, known)
            path = Path(scratch) / f"{method.title}.npy"
            np.save(path, features)
            parts = [path, Path(scratch) / "known.npy", Path(scratch) / "member.npy"]
            digests[method.title] = keys.digest(
                {p.name: files.sha256(p) for p in parts}
            )
        yield search.Setting(
            folder=Path(scratch),
            memory=memory,
            keys=digests,
            folds=settings.folds,
            seed=settings.seed,
        )


def _searched(
    settings: Attack,
    given: roster.Given,
    scored: Mapping[str, roster.Scored],
    memory: Path,
) -> list[search.Found]:
    """Search the learned attacks."""
    candidates = _grids_of(settings)
    with _prepared(settings, given, scored, memory) as setting:
        found = search.best_of_each(
            candidates,
            setting,
            jobs=given.jobs,
            track=lambda fits, total: cli.tracked("attack", fits, total),
        )
    stopped = sum(not trial.converged for one in found for trial in one.trials)
    if stopped:
        total = sum(len(one.trials) for one in found)
        cli.note(f"{stopped} of {total} candidates reached max_iter first")
    return found


def _features_of(
    title: str,
    features: tuple[str, ...],
    given: roster.Given,
    scored: Mapping[str, roster.Scored],
) -> NDArray[np.float64]:
    """Return the features of a learned attack; see `roster.features`."""
    if not features:
        return np.empty((len(given.known), 0))
    try:
        return roster.features(features, given, scored)
    except LacksError as error:
        where = f"attack.methods.{title}.features"
        raise AuditError(where, str(error), LACKING) from error


def _grids_of(settings: Attack) -> dict[str, search.Grid]:
    """Return the candidates of each learned attack in the config's order."""
    found: dict[str, search.Grid] = {}
    for method in settings.methods:
        candidates, replaced = grids.candidates(method.method, method.params)
        for text in replaced:
            cli.note(text)
        if settings.search == "random":
            candidates = search.sample(candidates, settings.n_iter, settings.seed)
        found[method.title] = search.Grid(method.method, candidates)
    return found
