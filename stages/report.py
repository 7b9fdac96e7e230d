"""Report what the attacks found, with a verdict."""

import json
from importlib.metadata import version
from typing import Any

from pipeline import cli, files, metrics, plan, reporting, store
from pipeline.attacks import names
from pipeline.config import Report

SCHEMA = 2
WIDTH = 80  # columns of report.txt
RATES = (0.1, 0.01, 0.001)  # false-positive rates that are told
TAIL = b"loss"  # the attack whose true-negative rates are told


def compute(job: plan.Job) -> str:
    """Write report.txt, then report.json."""
    settings = job.section(Report)
    records = store.upstream(job, "records", store.Records)
    split = store.upstream(job, "split", store.Split)
    scores = store.upstream(job, "attack", store.Scores)
    target = store.upstream_json(job, "target")
    features = store.upstream_json(job, "features")
    table = files.read_json(
        job.folder("attack") / plan.SEARCH,
        key=job.key_of("attack"),
        fix=job.remake("attack"),
    )

    references = store.upstream(job, "references", store.References)

    attacks = [attack(scores, row, about) for row, about in enumerate(table["attacks"])]
    chosen = next(
        one for one in attacks if one["method"] == table["strongest"]["chosen"]
    )
    attacks.append({**chosen, "method": names.STRONGEST, "chosen": chosen["method"]})
    member = scores.member[scores.evaluation]
    n_members, n_eval = int(member.sum()), len(member)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "audit": job.run.name,
        "target": {
            "train_accuracy": features["train_accuracy"],
            "test_accuracy": features["test_accuracy"],
            "checkpoint_sha256": target["checkpoint_sha256"],
        },
        "records": {
            "members": int(records.member.sum()),
            "nonmembers": int(records.nonmember.sum()),
            "population": int(records.population.sum()),
            "attack_train": len(split.attack_train),
            "attack_eval": len(split.attack_eval),
            "duplicates_dropped": int(records.duplicates_dropped),
            "canaries": int(records.canary.sum()),
        },
        "references": {
            "count": len(references.member),
            "models": features["references"],
            "rmia_slope": table["rmia_slope"],
        },
        "tail": tail(scores),
        "attacks": attacks,
        "verdict": reporting.verdict(
            attacks,
            n_members=n_members,
            n_nonmembers=n_eval - n_members,
            threshold=settings.threshold,
            min_records=settings.min_records,
        ),
        "provenance": {
            "key": job.key,
            "versions": {
                "mindspore": features["mindspore"],
                "scikit-learn": table["scikit-learn"],
                "numpy": version("numpy"),
            },
        },
    }
    text = reporting.text(report, WIDTH)

    timings = json.loads((job.folder("attack") / plan.TIMINGS).read_text())
    files.write_json(job.folder("report") / plan.TIMINGS, timings)
    files.write_text(job.folder("report") / plan.TEXT, text)
    files.write_json(job.artifact("report"), report)
    print(text)
    return "leak found" if report["verdict"]["leaks"] else "no leak shown"


def attack(scores: store.Scores, row: int, about: dict[str, Any]) -> dict[str, Any]:
    """Return an attack's entry in the report: how it does on attack-eval."""
    judged = scores.evaluation
    decision, member = scores.decision[row][judged], scores.member[judged]
    score = scores.score[row][judged]
    return {
        **about,
        "accuracy": metrics.accuracy(decision, member),
        "precision": metrics.precision(decision, member),
        "recall": metrics.recall(decision, member),
        "auc": metrics.auc(score, member),
        "tpr_at_fpr": {
            str(rate): metrics.tpr_at_fpr(score, member, rate) for rate in RATES
        },
    }


def tail(scores: store.Scores) -> dict[str, float | None] | None:
    """Return how many non-members the loss alone rules out; None if it did not run."""
    if TAIL not in (methods := list(scores.method)):
        return None
    judged = scores.evaluation
    score, member = scores.score[methods.index(TAIL)][judged], scores.member[judged]
    return {str(rate): metrics.tnr_at_fnr(score, member, rate) for rate in RATES}


if __name__ == "__main__":
    cli.stage(compute, __doc__)
