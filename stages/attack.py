"""Run the attacks on the cached features."""

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np

from pipeline import cli, files, plan, search, signals, store
from pipeline.attacks import grids, learned
from pipeline.config import Attack
from pipeline.errors import AuditError


def compute(job: plan.Job) -> str:
    """Write search.json, then each method's scores on the attack-eval records."""
    settings = job.section(Attack)
    records = store.upstream(job, "records", store.Records)
    split = store.upstream(job, "split", store.Split)
    shard = store.read_features(job)

    exact = settings.loss == "exact"
    loss = shard.loss if exact else signals.clipped_loss(shard.logits, shard.label)
    features = learned.features(loss, shard.logits)
    train = np.isin(records.id, split.attack_train)
    evaluation = np.isin(records.id, split.attack_eval)
    search.fold_sides(records.member[train], settings.folds, settings.seed)
    candidates = grids_of(settings)
    with tempfile.TemporaryDirectory() as scratch:
        setting = search.Setting(
            train=Path(scratch) / "train.npy",
            member=Path(scratch) / "member.npy",
            evaluation=Path(scratch) / "evaluation.npy",
            memory=job.folder("attack") / "fits",
            key=plan.digest({**job.inputs, "loss": settings.loss}),
            folds=settings.folds,
            seed=settings.seed,
        )
        np.save(setting.train, features[train])
        np.save(setting.member, records.member[train])
        np.save(setting.evaluation, features[evaluation])
        found = search.best_of_each(
            candidates,
            setting,
            jobs=workers(),
            track=lambda fits, total: cli.tracked("attack", fits, total),
        )

    stopped = sum(not trial.converged for one in found for trial in one.trials)
    n_candidates = sum(len(one.trials) for one in found)
    if stopped:
        cli.note(f"{stopped} of {n_candidates} candidates reached max_iter first")
    table = {
        "key": job.key,
        "scikit-learn": version("scikit-learn"),
        "methods": [search.summary(one) for one in found],
    }
    files.write_json(job.folder("attack") / plan.SEARCH, table)
    scores = store.Scores(
        id=records.id[evaluation],
        member=records.member[evaluation],
        method=np.array([one.method for one in found], dtype="S"),
        score=np.stack([one.score for one in found]),
        decision=np.stack([one.decision for one in found]),
    )
    store.write_arrays(job.artifact("attack"), scores, key=job.key)
    return f"{n_candidates} candidates of {len(found)} methods"


def grids_of(settings: Attack) -> dict[str, list[grids.Candidate]]:
    """Return the candidates of each method in the config's order."""
    found: dict[str, list[grids.Candidate]] = {}
    for method in settings.methods:
        candidates, replaced = grids.candidates(method.method, method.params)
        for text in replaced:
            cli.note(text)
        if settings.search == "random":
            candidates = search.sample(candidates, settings.n_iter, settings.seed)
        found[method.method] = candidates
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
