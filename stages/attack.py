"""Run the attacks on the cached features."""

import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from pipeline import (
    cli,
    files,
    membership,
    metrics,
    plan,
    recalibration,
    search,
    signals,
    store,
)
from pipeline.attacks import grids, learned, names, roster, thresholds
from pipeline.attacks.evidence import evidence, together
from pipeline.config import Attack
from pipeline.errors import AuditError, LacksError

# Standard errors of the difference by which the favourite must be beaten.
BEYOND = 2.0
# What to do about an attack that lacks references.
LACKING = "give more references, or leave it out"


def compute(job: plan.Job) -> str:
    """Write search.json and timings.json, then every attack's scores."""
    settings = job.section(Attack)
    records = store.upstream(job, "records", store.Records)
    split = store.upstream(job, "split", store.Split)
    shard = store.read_features(job)
    known = np.isin(records.id, split.attack_train)
    seconds: dict[str, float] = {}

    # Before anything is computed: enough records of either side for every fold, and
    # enough references for every attack.
    search.fold_sides(records.member[known], settings.folds, settings.seed)
    inside = store.upstream(job, "references", store.References).member
    check(settings, inside[:, ~records.population])
    kept = kept_of(inside, records, known, settings.seed)
    given = all_given(job, settings, records, shard, known, inside, kept)
    scored = direct(settings, given, seconds)
    decided = {
        name: one.score
        > thresholds.best_threshold(one.score[known], given.member[known])
        for name, one in scored.items()
    }
    started = time.perf_counter()
    found = searched(job, settings, given, shard, scored) if settings.methods else []
    seconds["learned"] = time.perf_counter() - started
    for one in found:
        scored[one.name] = roster.Scored(one.score)
        decided[one.name] = one.decision

    chosen = strongest(scored, given)
    attacks = [described(name, found) for name in scored]
    table = {
        "key": job.key,
        "scikit-learn": version("scikit-learn"),
        "attacks": attacks,
        "strongest": {"chosen": chosen, "auc_on_attack_train": auc_of(scored, given)},
        "rmia_slope": given.slope if {*names.RMIA} & {*scored} else None,
        "methods": [search.summary(one) for one in found],
    }
    files.write_json(job.folder("attack") / plan.SEARCH, table)
    files.write_json(job.folder("attack") / plan.TIMINGS, {"seconds": seconds})
    # A million records of many references leave little room for their scores.
    del given
    scores = assembled(records, split, scored, decided)
    store.write_arrays(job.artifact("attack"), scores, key=job.key)
    n_candidates = sum(len(one.trials) for one in found)
    return f"{len(scored)} attacks, {n_candidates} candidates of {len(found)} learned"


def assembled(
    records: store.Records,
    split: store.Split,
    scored: dict[str, roster.Scored],
    decided: dict[str, NDArray[np.bool_]],
) -> store.Scores:
    """Return what is kept of the attacks: the scores of the audited records."""
    audited = ~records.population
    shape = len(scored), int(audited.sum())
    score, reading = np.empty(shape), np.full(shape, np.nan)
    for row, one in enumerate(scored.values()):
        score[row] = one.score[audited]
        if one.reading is not None:
            reading[row] = one.reading[audited]
    return store.Scores(
        id=records.id[audited],
        member=records.member[audited],
        evaluation=np.isin(records.id, split.attack_eval)[audited],
        method=np.array(list(scored), dtype="S"),
        score=score,
        decision=np.stack([decided[name][audited] for name in scored]),
        reading=reading,
    )


def wanted(settings: Attack) -> tuple[str, ...]:
    """Return the attacks to run that are not learned, all of them unless named."""
    return names.ALL if settings.attacks == "all" else settings.attacks


def kept_of(
    inside: NDArray[np.bool_],
    records: store.Records,
    known: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.bool_]:
    """Return which references count on a record, so that their number tells nothing.

    Raises:
        AuditError: if none would be left.
    """
    # All of them, without the room that a million records would take.
    kept = np.broadcast_to(np.True_, inside.shape)
    if not len(inside):
        return kept
    for remark in membership.gaps(inside[:, ~records.population]):
        cli.note(remark)
    if membership.tells(inside[:, known], records.member[known]):
        kept = membership.level(inside, seed) | records.population
        if not kept.any(axis=0).all():
            problem = "are trained on just what the target is not, or just what it is"
            fix = "give references trained on random halves of their own"
            raise AuditError("references", problem, fix)
        cli.note(
            "the number of references trained on a record tells whether the target is: "
            "some are left out at random, as many IN as OUT are kept of every record"
        )
    return kept


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


def all_given(
    job: plan.Job,
    settings: Attack,
    records: store.Records,
    shard: store.Shard,
    known: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> roster.Given:
    """Return all that attacks may look at."""
    shape = (*inside.shape, shard.margin.shape[1])
    references = np.empty(shape, dtype=shard.margin.dtype)
    used = {*names.AMORTISED} & {*wanted(settings)}
    recalibrated = np.empty(shape if used else (0, *shape[1:]), dtype=np.float32)
    found = []
    # Block by block into one place: all blocks besides would be as much again.
    for block in store.reference_blocks(job):
        references[:, block.rows] = block.margin
        if used:
            recalibrated[:, block.rows] = block.recalibrated
        own = kept[:, block.rows]
        found.append(evidence(block.margin, block.member & own, ~block.member & own))
    chosen = recalibration.sample(~records.population)
    correction = recalibration.fitted(shard.logits[chosen], shard.label[chosen])
    return roster.Given(
        logits=shard.logits,
        margin=shard.margin,
        recalibrated=recalibration.margin(shard.logits, shard.label, correction),
        label=records.label,
        audited=~records.population,
        known=known,
        member=records.member,
        references=references,
        references_recalibrated=recalibrated,
        inside=inside,
        kept=kept,
        evidence=together(found),
        seed=settings.seed,
        jobs=workers(),
    )


def direct(
    settings: Attack, given: roster.Given, seconds: dict[str, float]
) -> dict[str, roster.Scored]:
    """Run the attacks that are not learned, and tell how long each took.

    Raises:
        AuditError: if one that the config names lacks what it needs.
    """
    found: dict[str, roster.Scored] = {}
    left_out: dict[str, list[str]] = {}
    for name in wanted(settings):
        started = time.perf_counter()
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
        if len(given.references) or not {*lacking} <= {*names.NEEDED}:
            cli.note(f"left out ({reason}): {', '.join(lacking)}")
    for name, one in found.items():
        if not np.isfinite(one.score).all():
            problem = "gives scores that are not finite"
            fix = "look for records or references that are all alike, or leave it out"
            raise AuditError(f"attack.attacks ({name})", problem, fix)
    return found


def searched(
    job: plan.Job,
    settings: Attack,
    given: roster.Given,
    shard: store.Shard,
    scored: dict[str, roster.Scored],
) -> list[search.Found]:
    """Search the learned attacks."""
    known, member = given.known, given.member
    candidates = grids_of(settings)
    with tempfile.TemporaryDirectory() as scratch:
        keys = {}
        np.save(Path(scratch) / "known.npy", known)
        np.save(Path(scratch) / "member.npy", member)
        for method in settings.methods:
            features = features_of(method.title, method.features, given, scored)
            if settings.loss == "clipped" and "loss" in method.features:
                place = method.features.index("loss")
                before = features_of("", method.features[:place], given, scored)
                clipped = signals.clipped_loss(shard.logits[:, 0], shard.label)
                features[:, before.shape[1]] = clipped
            if method.features != names.TUTORIAL:
                features = learned.standardised(features, known)
            path = Path(scratch) / f"{method.title}.npy"
            np.save(path, features)
            parts = [path, Path(scratch) / "known.npy", Path(scratch) / "member.npy"]
            keys[method.title] = plan.digest({p.name: files.sha256(p) for p in parts})
        setting = search.Setting(
            folder=Path(scratch),
            memory=job.folder("attack") / "fits",
            keys=keys,
            folds=settings.folds,
            seed=settings.seed,
        )
        found = search.best_of_each(
            candidates,
            setting,
            jobs=workers(),
            track=lambda fits, total: cli.tracked("attack", fits, total),
        )
    stopped = sum(not trial.converged for one in found for trial in one.trials)
    if stopped:
        total = sum(len(one.trials) for one in found)
        cli.note(f"{stopped} of {total} candidates reached max_iter first")
    return found


def features_of(
    title: str,
    wanted: tuple[str, ...],
    given: roster.Given,
    scored: dict[str, roster.Scored],
) -> NDArray[np.float64]:
    """Return the features of a learned attack; see `roster.features`."""
    if not wanted:
        return np.empty((len(given.known), 0))
    try:
        return roster.features(wanted, given, scored)
    except LacksError as error:
        where = f"attack.methods.{title}.features"
        raise AuditError(where, str(error), LACKING) from error


def auc_of(scored: dict[str, roster.Scored], given: roster.Given) -> dict[str, float]:
    """Return each attack's AUC on attack-train; of the learned ones out of fold."""
    known = given.known
    return {
        name: metrics.auc(one.score[known], given.member[known])
        for name, one in scored.items()
    }


def strongest(scored: dict[str, roster.Scored], given: roster.Given) -> str:
    """Return the attack that does best on attack-train.

    Of many that are about equal the best is so by accident; the favourite gives way
    only to what is better beyond that.
    """
    found = auc_of(scored, given)
    best = max(found, key=lambda name: found[name])
    if names.FAVOURITE not in found:
        return best
    known = given.known
    error = metrics.auc_difference_error(
        scored[best].score[known],
        scored[names.FAVOURITE].score[known],
        given.member[known],
    )
    is_beaten = found[best] - found[names.FAVOURITE] > BEYOND * error
    return best if is_beaten else names.FAVOURITE


def described(name: str, found: list[search.Found]) -> dict[str, Any]:
    """Return the name, family and parameters of an attack."""
    for one in found:
        if one.name == name:
            return {
                "method": name,
                "family": "learned",
                "params": one.best.params,
                "n_candidates": len(one.trials),
            }
    family = names.family_of(name)
    return {"method": name, "family": family, "params": {}, "n_candidates": 1}


def grids_of(settings: Attack) -> dict[str, search.Grid]:
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


def workers() -> int:
    """Return the number of worker processes: JOBS, or the processors at hand.

    Raises:
        AuditError: if JOBS is not a positive number.
    """
    given = os.environ.get("JOBS") or str(joblib.cpu_count())
    if not given.isdigit() or int(given) < 1:
        raise AuditError("JOBS", f"is {given!r}", "give a whole number >= 1")
    return int(given)


if __name__ == "__main__":
    cli.stage(compute, __doc__)
