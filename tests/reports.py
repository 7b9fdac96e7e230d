"""Reports made by hand, for the tests of what reads them."""

from typing import Any

from pipeline.cache.summaries import Accuracies, Contradicted
from pipeline.config import About
from pipeline.findings.schema import (
    AccuracyGap,
    AttackFigures,
    Blind,
    Bound,
    Calibration,
    Calibrations,
    Comparison,
    ConfidenceBin,
    Controls,
    Counts,
    Difference,
    Drivers,
    Epsilon,
    Growth,
    Independence,
    Labels,
    LossGap,
    Null,
    NullAttack,
    Outlook,
    Provenance,
    Range,
    Rate,
    References,
    Report,
    Resemblance,
    Resolution,
    Risk,
    Sides,
    Slice,
    Slices,
    Target,
    Verdict,
)

NONE = Rate(value=None, interval=None, reason="needs 1000 records of the other side")


def rate(value: float, low: float, high: float) -> Rate:
    return Rate(value=value, interval=(low, high), reason=None)


def attack(method: str = "lr", **changed: Any) -> AttackFigures:
    fields: dict[str, Any] = {
        "method": method,
        "family": "learned",
        "params": {"C": 0.1, "max_iter": 300},
        "n_candidates": 10,
        "threshold": None,
        "auc": 0.7512,
        "auc_interval": (0.4, 0.9),
        "accuracy": 0.7132,
        "accuracy_interval": (0.4, 0.9),
        "balanced_accuracy": 0.7,
        "balanced_accuracy_interval": (0.4, 0.9),
        "advantage": 0.4,
        "advantage_interval": (-0.2, 0.8),
        "precision": 0.6596,
        "precision_interval": (0.4, 0.9),
        "precision_at_base_rate": {"0.5": 0.6596, "0.1": 0.1772, "0.01": 0.0192},
        "recall": 0.8810,
        "recall_interval": (0.4, 0.9),
        "tpr_at_fpr": {
            "0.1": rate(0.5, 0.4, 0.6),
            "0.01": rate(0.25, 0.125, 0.375),
            "0.001": NONE,
        },
        "confidence_of_decisions": 0.95,
        "exceeds": False,
        "p_value": 0.0041,
        "p_value_corrected": 0.0123,
        "chosen": None,
    }
    return AttackFigures(**{**fields, **changed})


def strongest(chosen: AttackFigures) -> AttackFigures:
    return chosen.model_copy(update={"method": "strongest", "chosen": chosen.method})


def null(**changed: Any) -> Null:
    fields: dict[str, Any] = {
        "passed": True,
        "p_value": 0.41,
        "level": 0.01,
        "refitted": ("lr", "rf"),
        "attacks": {
            "lr": NullAttack(auc=0.4712, p_value=0.205),
            "rf": NullAttack(auc=0.5249, p_value=0.3),
        },
    }
    return Null(**{**fields, **changed})


def blind(*differing: str, **changed: Any) -> Blind:
    fields: dict[str, Any] = {
        "passed": not differing,
        "inputs": "seen",
        "auc": 0.5031,
        "interval": (0.4871, 0.5191),
        "confidence": 0.99,
        "differing": tuple(
            Difference(statistic=name, p_value=1e-9, auc=0.6) for name in differing
        ),
        "statistics": 280,
        "reason": None,
    }
    return Blind(**{**fields, **changed})


def labels(**changed: Any) -> Labels:
    fields: dict[str, Any] = {
        "passed": True,
        "accuracy": 0.99871,
        "recalls": 9.98,
        "within_classes": 1.0,
        "classes": 10,
        "p_value": 1e-300,
        "level": 0.001,
        "reason": None,
        "contradicted": Contradicted(records=0, of=500, accuracy_on_others=0.99),
    }
    return Labels(**{**fields, **changed})


def sides(**changed: Any) -> Sides:
    fields: dict[str, Any] = {
        "passed": True,
        "members_accuracy": 0.99871,
        "nonmembers_accuracy": 1 / 3,
        "loss_auc": 0.83,
        "p_value": 1.0,
        "level": 0.001,
        "reason": None,
    }
    return Sides(**{**fields, **changed})


def comparison(target: float, references: float, **changed: Any) -> Comparison:
    fields: dict[str, Any] = {
        "target": target,
        "references": references,
        "spread": 0.01,
        "allowed": 0.0625,
        "passed": True,
        "reason": None,
    }
    return Comparison(**{**fields, **changed})


def resemblance(**changed: Any) -> Resemblance:
    fields: dict[str, Any] = {
        "passed": True,
        "train_accuracy": comparison(0.99871, 0.985),
        "test_accuracy": comparison(1 / 3, 0.35),
    }
    return Resemblance(**{**fields, **changed})


# Of a target that fits its members much better than its references do.
UNLIKE = resemblance(
    passed=False, train_accuracy=comparison(0.448, 0.285, passed=False)
)


def independence(**changed: Any) -> Independence:
    fields: dict[str, Any] = {
        "passed": True,
        "agreement": Range(lowest=0.4931, highest=0.5069),
        "p_value": 0.62,
        "level": 1e-6,
        "agreeing": (),
    }
    return Independence(**{**fields, **changed})


def controls(**changed: Any) -> Controls:
    fields: dict[str, Any] = {
        "labels": labels(),
        "sides": sides(),
        "null": null(),
        "blind": blind(),
        "references": resemblance(),
        "independence": independence(),
        "resolution": Resolution(
            nonmembers=440,
            smallest_fpr=1 / 440,
            unmeasured=(0.001, 0.0001),
            smallest_auc=0.5563,
            smallest_tpr_at_fpr={"0.01": 0.1031},
            level=0.04,
            power=0.8,
        ),
    }
    return Controls(**{**fields, **changed})


def piece(value: bool | int | str, auc: float | None) -> Slice:
    return Slice(
        value=value,
        members=31,
        nonmembers=29,
        auc=auc,
        auc_interval=None if auc is None else (0.5, 0.9),
        p_value=None if auc is None else 0.5,
        reason="has records of one side only" if auc is None else None,
    )


def counts(**changed: Any) -> Counts:
    fields = {
        "members": 5000,
        "nonmembers": 4998,
        "population": 0,
        "attack_train": 7998,
        "fitted": 7998,
        "attack_eval": 2000,
        "duplicates_dropped": 2,
        "copies_dropped": 0,
        "canaries": 0,
    }
    return Counts(**{**fields, **changed})


def bound(epsilon: float) -> Bound:
    return Bound(
        epsilon=epsilon,
        chosen={"side": "member", "threshold": 0.5, "n_in": 3},
        assumes="that all is well",
    )


def growth(references: int, auc: float) -> Growth:
    return Growth(
        attack="amortised",
        references=references,
        auc=auc,
        auc_interval=(auc - 0.02, auc + 0.02),
        tpr_at_fpr={"0.01": rate(0.25, 0.125, 0.375), "0.001": NONE},
    )


def calibration(accuracy: float) -> Calibration:
    part = ConfidenceBin(
        low=0.8, high=0.9, records=40, confidence=0.85, accuracy=accuracy
    )
    return Calibration(
        expected_error=abs(0.85 - accuracy),
        confidence=0.85,
        accuracy=accuracy,
        bins=(part,),
    )


def report(*attacks: AttackFigures, **changed: Any) -> Report:
    """Return a report whose strongest attack is the last."""
    chosen = attacks[-1].method
    fields: dict[str, Any] = {
        "about": About(name="A model", owner="Its owner"),
        "audit": "a-rather-long-name-of-a-config-as-people-give-them",
        "controls": controls(),
        "target": Target(
            train_accuracy=0.99871, test_accuracy=1 / 3, checkpoint_sha256=64 * "a"
        ),
        "records": counts(),
        "references": References(
            count=2,
            models=(
                Accuracies(train_accuracy=0.99, test_accuracy=0.5),
                Accuracies(train_accuracy=0.98, test_accuracy=0.6),
            ),
            rmia_slope=0.3,
        ),
        "confidence": 0.95,
        "intervals": {"auc": "DeLong, on log-odds"},
        "tail": {"0.01": rate(0.125, 0.1, 0.2)},
        "attacks": (*attacks, strongest(attacks[-1])),
        "epsilon": Epsilon(
            attack=chosen,
            delta=1e-5,
            confidence=0.95,
            meaning="It is no guarantee.",
            bounds={"clopper_pearson": bound(0.2345), "one_run": bound(1.2345)},
            if_gaussian={"gaussian": bound(2.2345), "f_dp_one_run": bound(3.2345)},
        ),
        "slices": Slices(
            attack=chosen,
            kinds={
                "class": tuple(piece(i, 0.5 + i / 100) for i in range(20)),
                "outcome": (piece("right", 0.75), piece("wrong", None)),
            },
        ),
        "risk": Risk(
            records=9998,
            flagged=312,
            flagged_members=290,
            false_discoveries=0.1,
            prior=0.5,
        ),
        "units": None,
        "repeats": None,
        "growth": (growth(8, 0.71), growth(16, 0.75)),
        "outlook": Outlook(
            attack="amortised",
            fewer=8,
            references=16,
            gain=0.04,
            gain_interval=(0.01, 0.07),
            sentence="From 8 to 16 references the AUC of amortised rose.",
        ),
        "drivers": Drivers(
            accuracy=AccuracyGap(
                members=0.9, nonmembers=0.5, difference=0.4, interval=(0.3, 0.5)
            ),
            loss=LossGap(
                members=0.1, nonmembers=1.5, difference=1.4, interval=(1.2, 1.6)
            ),
            calibration=Calibrations(
                members=calibration(0.9), nonmembers=calibration(0.5)
            ),
        ),
        "choices": {"attacks.chosen": "attack-train: the highest AUC"},
        "verdict": Verdict(
            leaks=True,
            exceeds=True,
            grade="moderate",
            rule="high: much",
            attack="lr",
            methods=("lr",),
            reasons=(),
            caveats=(),
            sentence="This model leaks which records it was trained on.",
        ),
        "provenance": Provenance(
            versions={"mindspore": "2.10.0", "device": "CPU"},
            stages={"features": {"mindspore": "2.10.0", "device": "CPU"}},
        ),
    }
    return Report(**{**fields, **changed})
