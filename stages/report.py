"""Report what the attacks found, with a verdict."""

from importlib.metadata import version
from typing import Any

from pipeline import cli, files, metrics, plan, reporting, store
from pipeline.config import Report

SCHEMA = 1
WIDTH = 80  # columns of report.txt


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

    attacks = [
        attack(scores, row, table["methods"][row]) for row in range(len(scores.method))
    ]
    n_members, n_eval = int(scores.member.sum()), len(scores.member)
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
            "nonmembers": int((~records.member).sum()),
            "attack_train": len(split.attack_train),
            "attack_eval": len(split.attack_eval),
            "duplicates_dropped": int(records.duplicates_dropped),
            "canaries": int(records.canary.sum()),
        },
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

    files.write_text(job.folder("report") / plan.TEXT, text)
    files.write_json(job.artifact("report"), report)
    print(text)
    return "leak found" if report["verdict"]["leaks"] else "no leak shown"


def attack(scores: store.Scores, row: int, searched: dict[str, Any]) -> dict[str, Any]:
    """Return a method's entry in the report."""
    decision, member = scores.decision[row], scores.member
    return {
        "method": searched["method"],
        "family": "learned",
        "params": searched["best_params"],
        "accuracy": metrics.accuracy(decision, member),
        "precision": metrics.precision(decision, member),
        "recall": metrics.recall(decision, member),
        "auc": metrics.auc(scores.score[row], member),
        "n_candidates": len(searched["candidates"]),
    }


if __name__ == "__main__":
    cli.stage(compute, __doc__)
