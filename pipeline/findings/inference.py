"""Inference: whether a record that somebody brings was used in training.

`Inferences` is infer.json. Rates lie in [0, 1].
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.findings.schema import Ends
from pipeline.record import Record
from pipeline.statistics import intervals

# Of the false-positive rate at a record's score, by the upper end of its interval, and
# of the p-value: both must be as low.
STRONG, WEAK = 0.01, 0.05

Known = Literal["member", "nonmember", "population"]
# What the audit knows of its own records.
WORDS: dict[Known, str] = {
    "member": "one of the audit's records, and the model was trained on it",
    "nonmember": "one of the audit's records, and the model was not trained on it",
    "population": "one of the audit's population, and the model was not trained on it",
}


class Inference(Record):
    """What the models say of a record."""

    name: str
    label: int
    known: Known | None  # what the audit knows of it; None: it is none of its records
    score: float  # higher for a likelier member
    false_positives: int  # non-members of the audit that score as high
    rate: float  # their share
    interval: Ends  # of the share that would, of all records like these non-members
    # How likely a model that never saw the record knows it as well; None: not known.
    p_value: float | None
    text: str


class Inferences(Record):
    """What the models say of records that somebody brings."""

    # "schema" in the file; raised when the fields change.
    schema_version: Literal[1] = Field(default=1, alias="schema")
    audit: str
    grade: str  # of the audit
    attack: str  # by which records are scored
    nonmembers: int  # on attack-eval, with which they are compared
    confidence: float  # of the intervals
    records: tuple[Inference, ...]


class Signs(NamedTuple):
    """What is measured of a record."""

    name: str
    label: int
    known: Known | None
    score: float
    p_value: float | None


def inference(
    signs: Signs, nonmembers: NDArray[np.floating[Any]], confidence: float
) -> Inference:
    """Return what is to be said of a record.

    Args:
        signs: of the record.
        nonmembers: (n_nonmembers,) scores of the audit's, by the same attack.
        confidence: of the interval, in (0, 1).
    """
    alarms = int((nonmembers >= signs.score).sum())
    interval = intervals.clopper_pearson(alarms, len(nonmembers), confidence)
    return Inference(
        **signs._asdict(),
        false_positives=alarms,
        rate=alarms / len(nonmembers),
        interval=interval,
        text=text(signs, alarms, len(nonmembers), interval, confidence),
    )


def text(
    signs: Signs,
    alarms: int,
    n_nonmembers: int,
    interval: intervals.Interval,
    confidence: float,
) -> str:
    """Return a paragraph on a record, for people.

    Args:
        signs: of the record.
        alarms: non-members of the audit that score as high.
        n_nonmembers: all of them.
        interval: of their share.
        confidence: of it.
    """
    known = WORDS[signs.known] if signs.known else "none of the audit's records"
    sentences = [
        f"{signs.name} is {known}.",
        f"Of {n_nonmembers:,} non-members of the audit, {alarms:,} score as high "
        f"({alarms / n_nonmembers:.1%}, {confidence:.0%} interval {interval.low:.1%} "
        f"to {interval.high:.1%}).",
    ]
    if signs.p_value is not None:
        sentences.append(
            "A model that never saw it knows it as well with probability "
            f"{signs.p_value:.2g}."
        )
    if signs.known is None:
        sentences.append(conclusion(interval.high, signs.p_value))
    return " ".join(sentences)


def conclusion(highest: float, p_value: float | None) -> str:
    """Return what may be concluded of a record that is none of the audit's.

    A record unlike those of the audit may score higher than all its non-members and be
    no member: then models that never saw it know it as well.

    Args:
        highest: false-positive rate at its score, by the upper end of the interval.
        p_value: that a model which never saw it knows it as well; None: not known.
    """
    doubt = max(highest, p_value or 0.0)
    if doubt > WEAK:
        return (
            "That is no sign that it was used in training, and does not show that it "
            "was not."
        )
    word = "a strong sign" if doubt <= STRONG else "a sign"
    return (
        f"That is {word} that it was used in training: of records like the audit's "
        f"non-members, at most {highest:.1%} score so high without having been used."
    )
