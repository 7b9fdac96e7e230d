"""Report what the attacks found, with a verdict."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from pipeline import cli
from pipeline.attacks import catalogue
from pipeline.audit import terminal
from pipeline.cache import arrays, documents, files, keys, kinds, tables
from pipeline.cache.stages import SEARCH, TEXT, TIMINGS
from pipeline.cache.stamps import Job
from pipeline.config import Report
from pipeline.data import membership
from pipeline.findings import controls, exposure, figures, slices, verdict
from pipeline.record import Record
from pipeline.statistics import corrections, epsilon, metrics


class Loose(Record):
    """To be replaced by records with fields."""

    model_config = ConfigDict(extra="allow")


SCHEMA = 3
WIDTH = 80  # columns of report.txt
TAIL = b"loss"  # the attack whose true-negative rates are told


def compute(job: Job) -> str:
    """Write report.txt, the table of the records, then report.json."""
    settings = job.section(Report)
    records = arrays.upstream(job, "records", kinds.Records)
    scores = arrays.upstream(job, "attack", kinds.Scores)

    def loose(path: Path, stage: str) -> dict[str, Any]:
        content = documents.checked(path, job.remake(stage))
        files.check_key(path, content["key"], job.key_of(stage), job.remake(stage))
        return content

    target = loose(job.artifact("target"), "target")
    features = loose(job.artifact("features"), "features")
    blind = loose(job.artifact("blind"), "blind")
    blind = {k: v for k, v in blind.items() if k not in ("key", "origin")}
    features |= features["target"] | {"mindspore": features["origin"].get("mindspore")}
    references = arrays.upstream(job, "references", kinds.References)
    table = loose(job.folder("attack") / SEARCH, "attack")
    group = groups(settings, records)

    judged, member = scores.evaluation, scores.member[scores.evaluation]
    n_members, n_eval = int(member.sum()), len(member)
    attacks = described(scores, table, settings, settings.intervals)
    # The bootstrap's intervals are too short to rest a verdict on.
    sure = (
        attacks
        if settings.intervals == "exact"
        else described(scores, table, settings, "exact")
    )
    control = {
        "null": table["null"],
        "blind": blind_control(blind),
        "references": controls.resemblance(
            features,
            features["references"],
            {
                "train_accuracy": int(records.member.sum()),
                "test_accuracy": int(records.nonmember.sum()),
            },
        ),
        "resolution": controls.resolution(n_eval - n_members, figures.RATES),
    }
    row = list(scores.method).index(attacks[-1]["chosen"].encode())
    risks = by_record(records, scores, row, group, settings)
    parts = {"class": scores.label, "outcome": outcome(scores.correct)}
    if group is not None:
        parts["group"] = group
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "audit": job.run.name,
        "controls": control,
        "target": {
            "train_accuracy": features["train_accuracy"],
            "test_accuracy": features["test_accuracy"],
            "checkpoint_sha256": target["checkpoint_sha256"],
        },
        "records": {
            "members": int(records.member.sum()),
            "nonmembers": int(records.nonmember.sum()),
            "population": int(records.population.sum()),
            "attack_train": len(scores.id) - n_eval,
            "attack_eval": n_eval,
            "duplicates_dropped": int(records.duplicates_dropped),
            "canaries": int(records.canary.sum()),
        },
        "references": {
            "count": len(references.member),
            "models": features["references"],
            "rmia_slope": table["rmia_slope"],
        },
        "confidence": settings.confidence,
        "intervals": (
            figures.EXACT if settings.intervals == "exact" else figures.BOOTSTRAP
        ),
        "tail": tail(scores, settings.confidence),
        "attacks": attacks,
        "epsilon": bounds(scores, row, attacks[-1]["chosen"], settings),
        "slices": {
            "attack": attacks[-1]["chosen"],
            **slices.told(
                {kind: values[judged] for kind, values in parts.items()},
                scores.score[row][judged],
                member,
                settings.confidence,
            ),
        },
        "risk": {
            "records": len(scores.id),
            "flagged": int(risks["flagged"].sum()),
            "flagged_members": int((risks["flagged"] & scores.member).sum()),
            "false_discoveries": settings.false_discoveries,
            "prior": settings.prior,
        },
        "repeats": repeats(table["repeats"]),
        "choices": terminal.CHOICES,
        "verdict": verdict.reached(
            sure,
            control,
            n_members=n_members,
            n_nonmembers=n_eval - n_members,
            threshold=settings.threshold,
            min_records=settings.min_records,
            confidence=settings.confidence,
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
    text = terminal.text(report, WIDTH)

    timings = json.loads((job.folder("attack") / TIMINGS).read_text())
    folder = job.folder("report")
    files.write_json(folder / TIMINGS, timings)
    tables.write(folder, risks, key=job.key)
    files.write_text(folder / TEXT, text)
    documents.write(
        job.artifact("report"),
        Loose.model_validate(json.loads(json.dumps(report))),
        key=job.key,
        origin=keys.origin("report"),
    )
    print(text)
    return str(report["verdict"]["status"])


def blind_control(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the stage blind found as a control; null if nothing was compared."""
    rest = {k: v for k, v in found.items() if k not in ("key", "tripped")}
    tripped = found["tripped"]
    return {"passed": None if tripped is None else not tripped, **rest}


def described(
    scores: kinds.Scores, table: dict[str, Any], settings: Report, how: str
) -> list[dict[str, Any]]:
    """Return each attack's entry in the report, last that of the one chosen.

    Args:
        scores: of all attacks.
        table: what was chosen for them.
        settings: of the report.
        how: the intervals come about, "exact" or "bootstrap".
    """
    judged = scores.evaluation
    member = scores.member[judged]
    score, decision = scores.score[:, judged], scores.decision[:, judged]
    if how == "exact":
        own_figures = [
            figures.exact(one, own, member, settings.confidence)
            for one, own in zip(score, decision, strict=True)
        ]
    else:
        own_figures = figures.resampled(
            score,
            decision,
            member,
            settings.confidence,
            settings.resamples,
            settings.seed,
        )
    each = 1 - (1 - settings.confidence) / len(score)
    p = np.array([metrics.p_value(one, member) for one in score])
    attacks = [
        {
            **about,
            **own,
            "exceeds": figures.exceeds(taken, member, settings.threshold, each),
            "p_value": float(plain),
            "p_value_holm": float(holm),
        }
        for about, own, taken, plain, holm in zip(
            table["attacks"], own_figures, decision, p, corrections.holm(p), strict=True
        )
    ]
    name = table["strongest"]["chosen"]
    chosen = next(one for one in attacks if one["method"] == name)
    return [*attacks, {**chosen, "method": catalogue.STRONGEST, "chosen": name}]


def bounds(
    scores: kinds.Scores, row: int, name: str, settings: Report
) -> dict[str, Any]:
    """Return the lower bounds of epsilon that the chosen attack shows."""
    found = epsilon.bounds(
        scores.score[row],
        scores.member,
        ~scores.evaluation,
        delta=settings.delta,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    return {
        "attack": name,
        "delta": settings.delta,
        "confidence": settings.confidence,
        "meaning": epsilon.MEANING,
        "bounds": {
            one.name: {
                "epsilon": one.epsilon,
                "chosen": dict(one.chosen),
                "assumes": one.assumes,
            }
            for one in found
        },
    }


def tail(scores: kinds.Scores, confidence: float) -> dict[str, Any] | None:
    """Return how many non-members the loss alone rules out; None if it did not run.

    Members are missing from the tail of high losses: Dodd et al. 2025,
    arXiv:2510.19773.
    """
    if TAIL not in (methods := list(scores.method)):
        return None
    judged = scores.evaluation
    score, member = scores.score[methods.index(TAIL)][judged], scores.member[judged]
    return figures.tpr_at_fpr(-score, ~member, confidence)


def repeats(draws: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return how the figures vary over divisions; None if there was one only."""
    if len(draws) == 1:
        return None
    attacks = [
        {**draw["attacks"], catalogue.STRONGEST: draw["attacks"][draw["strongest"]]}
        for draw in draws
    ]
    return {
        "draws": len(draws),
        "strongest": [draw["strongest"] for draw in draws],
        "attacks": {name: figures.spread(attacks, name) for name in attacks[0]},
    }


def outcome(correct: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Return what became of each record, in a word."""
    return np.where(correct, "right", "wrong")


def groups(settings: Report, records: kinds.Records) -> NDArray[Any] | None:
    """Return the user's group of each audited record; None without any."""
    if settings.groups is None:
        return None
    found = membership.groups(Path(settings.groups), int(records.n_source))
    return np.asarray(found[records.id[~records.population]])


def by_record(
    records: kinds.Records,
    scores: kinds.Scores,
    row: int,
    group: NDArray[Any] | None,
    settings: Report,
) -> dict[str, NDArray[Any]]:
    """Return the table of the audited records: how exposed each of them is."""
    score, known = scores.score[row], ~scores.evaluation
    columns: dict[str, NDArray[Any]] = {
        "id": scores.id,
        "label": scores.label,
        "member": scores.member,
        "evaluation": scores.evaluation,
        "canary": records.canary[~records.population],
        "correct": scores.correct,
    }
    if group is not None:
        columns["group"] = group
    return {
        **columns,
        "rank": exposure.rank(score),
        "p_value": scores.p_value,
        "posterior": exposure.posterior(
            score, scores.member, known, settings.prior, settings.seed
        ),
        "flagged": exposure.flags(
            score, scores.member, scores.evaluation, settings.false_discoveries
        ),
        **{
            f"score_{name.decode()}": one
            for name, one in zip(scores.method, scores.score, strict=True)
        },
    }


if __name__ == "__main__":
    cli.stage(compute, __doc__)
