"""Advice: what usually helps against what was found, and what to measure next.

Each piece of advice says what its source says, and no more. Nothing here is a promise:
whether it helped is what the next audit shows.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pipeline.findings.growth import HARDLY
from pipeline.findings.schema import Report

# Accuracy on members above that on others from which a target is said to overfit.
GAP = 0.05
# With fewer references, a spread of one's own for each record is too rough to help:
# Carlini et al. 2022, section VI-B and figure 9.
MANY_REFERENCES = 64
MEASURED = ("0.01", "0.001")


class Source(NamedTuple):
    """A paper that says so."""

    authors: str
    title: str
    place: str  # arXiv number, or where it appeared


class Advice(NamedTuple):
    """Something to do, or to measure."""

    kind: Literal["do", "measure"]
    action: str
    why: str
    sources: tuple[Source, ...]  # none: it follows from this audit's own rules


ABADI = Source(
    "Abadi et al. 2016", "Deep Learning with Differential Privacy", "1607.00133"
)
AERNI = Source(
    "Aerni et al. 2024",
    "Evaluations of Machine Learning Privacy Defenses are Misleading",
    "2404.17399",
)
CARLINI = Source(
    "Carlini et al. 2022a",
    "Membership Inference Attacks From First Principles",
    "2112.03570",
)
ONION = Source(
    "Carlini et al. 2022b",
    "The Privacy Onion Effect: Memorization is Relative",
    "2206.10469",
)
LABEL_ONLY = Source(
    "Choquette-Choo et al. 2021",
    "Label-Only Membership Inference Attacks",
    "2007.14321",
)
KAYA = Source(
    "Kaya and Dumitras 2021",
    "When Does Data Augmentation Help With Membership Inference Attacks?",
    "ICML 2021",
)
RELAX = Source(
    "Chen et al. 2022",
    "RelaxLoss: Defending Membership Inference Attacks without Losing Utility",
    "2207.05801",
)
SELENA = Source(
    "Tang et al. 2022",
    "Mitigating Membership Inference Attacks by Self-Distillation Through a Novel "
    "Ensemble Architecture",
    "2110.08324",
)
SHOKRI = Source(
    "Shokri et al. 2017",
    "Membership Inference Attacks Against Machine Learning Models",
    "1610.05820",
)
SONG = Source(
    "Song and Mittal 2021",
    "Systematic Evaluation of Privacy Risks of Machine Learning Models",
    "2003.10595",
)
YEOM = Source(
    "Yeom et al. 2018",
    "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
    "1709.01604",
)


def advice(report: Report) -> tuple[Advice, ...]:
    """Return what to do after an audit, the most urgent first.

    Args:
        report: of the audit.
    """
    grade = report.verdict.grade
    if grade == "cannot tell":
        return (*_mend(report), *_more_records(report))
    pieces: list[Advice] = []
    if grade == "none found":
        pieces.append(
            Advice(
                "do",
                "As far as these attacks go, nothing stands against the release. Keep "
                "this report with the model.",
                "No attack beats chance here. That is evidence against these attacks "
                "on these records only, and no guarantee.",
                (),
            )
        )
    else:
        pieces += _defend(report)
    pieces += _measure(report)
    return tuple(pieces)


def _mend(report: Report) -> Iterator[Advice]:
    """Yield a piece for each control whose failure forbids a verdict."""
    controls = report.controls
    failures = (
        (
            controls.labels.passed is False,
            "Put labels, records and checkpoint in agreement: the same order of "
            "records, classes numbered as in training, the trained weights.",
            "The target is right no more often than with shuffled labels, so nothing "
            "was measured.",
        ),
        (
            controls.sides.passed is False,
            "Check which records are marked as members.",
            "The target does worse on members than on non-members, as if the sides "
            "were exchanged.",
        ),
        (
            controls.blind.passed is False,
            "Take non-members that come from where the members come from, and prepare "
            "both in the same way.",
            "The sides can be told apart without the model, so an attack would measure "
            "that difference and not the leak.",
        ),
        (
            not controls.null.passed,
            "Look for records that stand on both sides of the split, or for groups of "
            "near-copies, before believing any figure.",
            "The attacks find members where memberships say nothing.",
        ),
    )
    for has_failed, action, why in failures:
        if has_failed:
            yield Advice("do", action, why, ())


def _more_records(report: Report) -> Iterator[Advice]:
    yield Advice(
        "measure",
        "Run this audit again once that is mended"
        + (
            "."
            if report.controls.resolution.nonmembers >= 100
            else ", on more records."
        ),
        "Until then neither a leak nor its absence is shown.",
        (),
    )


def _defend(report: Report) -> Iterator[Advice]:
    """Yield what usually makes a leak smaller."""
    target = report.target
    gap = target.train_accuracy - target.test_accuracy
    if report.verdict.grade in ("high", "moderate"):
        yield Advice(
            "do",
            "Hold the release back, or restrict who may query the model, until the "
            "leak is smaller or someone has accepted it in writing.",
            f"The grade is {report.verdict.grade}: what the model answers tells which "
            "records it was trained on.",
            (),
        )
    else:
        yield Advice(
            "do",
            "Decide whether this leak is acceptable for these records, and write down "
            "who decided.",
            "The grade is low: some attack beats chance, and none exceeds the "
            "threshold.",
            (),
        )
    if gap > GAP:
        yield Advice(
            "do",
            "Close the gap between members and others: stop the training earlier "
            "first, then raise the weight decay or take a smaller network.",
            f"The target is right on {target.train_accuracy:.1%} of the members and on "
            f"{target.test_accuracy:.1%} of the others. Overfitting is enough for an "
            "attack to work; early stopping protected about as well as two defences "
            "made for the purpose.",
            (YEOM, SONG),
        )
        yield Advice(
            "do",
            "Train on more records of each class.",
            "Classes with more training records leaked less.",
            (SHOKRI,),
        )
    yield Advice(
        "do",
        "If that is not enough, hold the training loss above a floor (RelaxLoss), or "
        "distil from models that never saw the record (SELENA).",
        "Both were made to keep the accuracy while members and others come to look "
        "alike. Neither comes with a guarantee.",
        (RELAX, SELENA),
    )
    yield Advice(
        "do",
        "If a guarantee is needed, train with differential privacy (DP-SGD), and "
        "choose epsilon beforehand.",
        "It is the only defence in this list that bounds what any attack can do. It "
        "costs accuracy.",
        (ABADI,),
    )
    yield Advice(
        "do",
        "Do not rely on label smoothing or on augmentation for privacy.",
        "Label smoothing made the attacks stronger, and augmentation chosen for "
        "accuracy did not weaken them.",
        (KAYA,),
    )
    yield Advice(
        "do",
        "Do not rely on hiding or rounding the probabilities.",
        "Attacks that see the predicted labels alone came close to those that see "
        "probabilities.",
        (LABEL_ONLY,),
    )
    yield Advice(
        "do",
        "Do not just delete the most exposed records and train again.",
        "Others that were safe before become exposed.",
        (ONION,),
    )


def _measure(report: Report) -> Iterator[Advice]:
    """Yield what would make the next audit surer."""
    references, resolution = report.controls.references, report.controls.resolution
    count = report.references.count
    if references is not None and references.passed is False:
        yield Advice(
            "measure",
            "Train the references by the target's own recipe, on as many records.",
            "They do not fit as the target does, which blunts the attacks that compare "
            "with them: the leak may be larger than shown.",
            (CARLINI,),
        )
    if count == 0:
        yield Advice(
            "measure",
            "Add references: [references] count = 16 or more.",
            "Attacks that compare the target with models trained on other records find "
            "far more members at low false-positive rates.",
            (CARLINI,),
        )
    elif count < MANY_REFERENCES and not _has_levelled_off(report):
        yield Advice(
            "measure",
            f"Add references: there are {count}.",
            f"With fewer than {MANY_REFERENCES}, attacks cannot fit the spread of each "
            "record by itself.",
            (CARLINI,),
        )
    if any(str(rate) in MEASURED for rate in resolution.unmeasured):
        yield Advice(
            "measure",
            "Audit more non-members: 1,000 on the judging side measure a "
            "false-positive rate of 0.1%.",
            f"With {resolution.nonmembers} the smallest rate is "
            f"{resolution.smallest_fpr:.2%}; leaks of few records show below that.",
            (CARLINI,),
        )
    if report.records.canaries:
        yield Advice(
            "measure",
            "Audit the model as it will be released, without wrong labels.",
            f"{report.records.canaries} of the records carry a wrong label on purpose "
            "(canaries), which the model can only learn by heart.",
            (AERNI,),
        )
    if report.verdict.leaks:
        yield Advice(
            "measure",
            "After any change audit again by the same config, and look at the most "
            "exposed records, not at the average.",
            "Defences that were judged by the average record, or by attacks that did "
            "not adapt to them, looked better than they were.",
            (AERNI,),
        )


def _has_levelled_off(report: Report) -> bool:
    """Return whether the last doubling of the references gave hardly anything."""
    outlook = report.outlook
    return outlook is not None and outlook.gain_interval[1] <= HARDLY
