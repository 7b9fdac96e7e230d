"""Schema: the records in which the findings of an audit are written and read back.

`Report` is report.json, `Search` is search.json and `Blind` is blind.json. Rates lie in
[0, 1] and quantities are in nats. None stands for what could not be measured, or is not
there.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from pipeline.cache.summaries import Accuracies, Contradicted
from pipeline.config import About
from pipeline.record import Record

Ends = tuple[float, float]  # of an interval


def _as_json(params: Any) -> Any:
    """Return parameters with their tuples as lists, which is how JSON has them."""
    if not isinstance(params, dict):
        return params
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in params.items()
    }


# Of a learned attack, by name.
Params = Annotated[dict[str, JsonValue], BeforeValidator(_as_json)]


# Controls


class NullAttack(Record):
    """How an attack does on memberships that say nothing."""

    auc: float
    p_value: float  # of an AUC as far from one half


class Null(Record):
    """Whether attacks find members where memberships say nothing."""

    passed: bool
    p_value: float  # the smallest of the attacks', corrected for their number
    level: float  # a smaller p-value fails
    refitted: tuple[str, ...]  # attacks that saw the shuffled memberships
    attacks: dict[str, NullAttack]


class Difference(Record):
    """A statistic that differs between members and non-members."""

    statistic: str
    p_value: float | None  # adjusted for all tests; None: not tested by itself
    # That a member's value exceeds a non-member's; None: it has no order.
    auc: float | None


class Blind(Record):
    """Whether members and non-members are alike as data, the model unseen."""

    passed: bool | None  # None: nothing could be compared
    inputs: Literal["seen", "labels only"]
    auc: float | None  # of a classifier of the records, out of fold
    interval: Ends | None  # of that AUC
    confidence: float  # of that interval
    differing: tuple[Difference, ...]  # the clearest first; empty if passed
    statistics: int  # tested one by one
    reason: str | None  # why there is no AUC


class Labels(Record):
    """Whether the target's outputs have to do with its members' labels."""

    passed: bool | None  # None: nothing could be compared
    accuracy: float | None  # on members without canaries
    # Over the members' classes, the sum of the shares that the target is right on: no
    # more than `within_classes` if its outputs say nothing of the labels.
    recalls: float | None
    # Share of these members that the target puts into a class that some of them has.
    within_classes: float | None
    classes: int  # of the members
    p_value: float | None  # of so large a sum by shuffled labels
    level: float  # a larger p-value fails
    reason: str | None  # why nothing could be compared
    contradicted: Contradicted


class Sides(Record):
    """Whether the target does worse on members than on non-members."""

    passed: bool | None  # None: nothing could be compared
    members_accuracy: float | None  # canaries left out, here and below
    nonmembers_accuracy: float | None
    loss_auc: float | None  # below one half: members lose more; None: it did not run
    p_value: float | None  # the smaller of the two, corrected
    level: float  # a smaller p-value fails
    reason: str | None  # why nothing could be compared


class Comparison(Record):
    """An accuracy of the target beside the references'."""

    target: float
    references: float  # their mean
    spread: float | None  # their standard deviation; None: there is only one
    allowed: float  # difference
    passed: bool | None  # None: too little to tell
    reason: str | None  # why that cannot be told


class Resemblance(Record):
    """Whether the references fit as the target does."""

    passed: bool | None  # None: nothing to compare, or too little to tell
    train_accuracy: Comparison | None
    test_accuracy: Comparison | None


class Range(Record):
    """The smallest and the largest of several numbers."""

    lowest: float
    highest: float


class Agreement(Record):
    """A reference whose memberships depend on the target's."""

    reference: str
    agreement: float  # share of the records that both or neither were trained on


class Independence(Record):
    """Whether the references' memberships are independent of the target's."""

    passed: bool
    agreement: Range  # over the references
    p_value: float  # the smallest of the references', corrected for their number
    level: float  # a smaller p-value fails
    agreeing: tuple[Agreement, ...]  # references that fail, in their order


class Resolution(Record):
    """Which false-positive rates the non-members of attack-eval can measure."""

    nonmembers: int
    smallest_fpr: float
    unmeasured: tuple[float, ...]  # of the rates that the report asks for
    # The smallest leaks that the chosen attack's test notices with probability `power`;
    # None: not even the largest.
    smallest_auc: float | None
    smallest_tpr_at_fpr: dict[str, float | None]  # by false-positive rate
    level: float  # of that test
    power: float


# Controls that pass or fail, in the order in which they are shown.
CONTROLS = ("labels", "sides", "null", "blind", "references", "independence")


class Controls(Record):
    """What must hold before the figures mean anything."""

    labels: Labels
    sides: Sides
    null: Null
    blind: Blind
    references: Resemblance | None  # None: there are no references
    independence: Independence | None  # None: there are no references
    resolution: Resolution

    @property
    def outcomes(self) -> dict[str, bool | None]:
        """Whether each control of `CONTROLS` passed; without those of no references."""
        controls = {name: getattr(self, name) for name in CONTROLS}
        return {name: own.passed for name, own in controls.items() if own is not None}


# The audited models and records


class Target(Record):
    """The audited model."""

    train_accuracy: float
    test_accuracy: float
    checkpoint_sha256: str | None  # None: its outputs came without it
    # What tells whether a record is put into its class: of margins alone it is more
    # than half of the probability on it.
    accuracy_by: Literal["predictions", "margins"] = "predictions"


class Counts(Record):
    """Numbers of records."""

    members: int
    nonmembers: int
    population: int
    attack_train: int
    fitted: int  # of attack-train, that learned attacks were fitted to
    attack_eval: int
    duplicates_dropped: int  # non-members that equal a member
    copies_dropped: int  # records that equal another one of their side
    canaries: int


class References(Record):
    """The reference models."""

    count: int
    models: tuple[Accuracies, ...]
    rmia_slope: float | None  # None: RMIA did not run


# Attacks


class Rate(Record):
    """A true-positive rate at a false-positive rate, or why there is none."""

    value: float | None
    interval: Ends | None
    reason: str | None


class Figures(Record):
    """What an attack reaches on attack-eval, with intervals."""

    auc: float
    auc_interval: Ends
    accuracy: float
    accuracy_interval: Ends
    balanced_accuracy: float
    balanced_accuracy_interval: Ends
    advantage: float
    advantage_interval: Ends
    precision: float | None  # None: no record was taken for a member
    precision_interval: Ends | None
    # By the share of members among the records that an attacker meets.
    precision_at_base_rate: dict[str, float | None]
    recall: float
    recall_interval: Ends
    tpr_at_fpr: dict[str, Rate]  # by false-positive rate


class AttackChoice(Record):
    """An attack, and what was chosen for it on attack-train."""

    method: str
    family: str
    params: Params
    n_candidates: int
    threshold: float | None  # of the score; None: it decides by itself


class AttackFigures(Figures, AttackChoice):
    """An attack and all its figures."""

    # Of the intervals of its accuracies, advantage, precision and recall: the report's
    # for the chosen attack; such that those of all others hold together.
    confidence_of_decisions: float
    exceeds: bool  # the threshold of the verdict, by the lower ends of these intervals
    p_value: float
    p_value_corrected: float  # for the number of attacks, the chosen one first
    chosen: str | None  # of the strongest: the attack that it is


class Bound(Record):
    """What an estimator says that epsilon is at least, in nats."""

    epsilon: float
    chosen: dict[str, float | int | str]  # on attack-train
    assumes: str  # "that ..."


class Epsilon(Record):
    """The figures of epsilon that an attack shows."""

    attack: str
    delta: float
    confidence: float
    meaning: str
    bounds: dict[str, Bound]  # lower bounds, under what they assume of the records
    # Under a mechanism that is only assumed: no lower bounds where it is another.
    if_gaussian: dict[str, Bound]


class Slice(Record):
    """An attack on a part of the records."""

    value: bool | int | str  # that these records share
    members: int
    nonmembers: int
    auc: float | None
    auc_interval: Ends | None
    p_value: float | None
    reason: str | None  # why there is no AUC


class Slices(Record):
    """An attack on each part of the records."""

    attack: str
    kinds: dict[str, tuple[Slice, ...]]  # by what the records are divided by


class Risk(Record):
    """How many records are exposed, by the strongest attack."""

    records: int
    flagged: int
    flagged_members: int
    false_discoveries: float  # share of the flagged that may be non-members
    prior: float  # probability of a member before its score is seen


class Sizes(Range):
    """How many records the units have."""

    median: float


class Units(Record):
    """The units of the audited records, persons for instance."""

    units: int
    members: int  # whose audited records are members
    nonmembers: int  # no record of which the target was trained on
    both: int  # audited non-members among them, though the target knows other records
    records_per_unit: Sizes
    flagged: int  # at the false-discovery rate of `Risk`, over units
    flagged_nonmembers: int


class Spread(Range):
    """How a figure varies over divisions of the records."""

    mean: float
    deviation: float


class Spreads(Record):
    """How an attack's figures vary; None: undefined in some division."""

    auc: Spread | None
    accuracy: Spread | None
    precision: Spread | None
    recall: Spread | None
    tpr_at_fpr: dict[str, Spread | None]  # by false-positive rate


class Repeats(Record):
    """How the figures vary over divisions of the records."""

    draws: int
    strongest: tuple[str, ...]  # of each division
    attacks: dict[str, Spreads]


# What more references would change


class Growth(Record):
    """What an attack reaches on attack-eval by some of the references."""

    attack: str
    references: int
    auc: float
    auc_interval: Ends
    tpr_at_fpr: dict[str, Rate]  # by false-positive rate


class Outlook(Record):
    """What the last doubling of the references gave, and so what more would give."""

    attack: str
    fewer: int  # references
    references: int  # all
    gain: float  # of the AUC
    gain_interval: Ends  # by the chance of the records, not of the references
    sentence: str


# What drives the leak


class AccuracyGap(Record):
    """How much more often the target is right on members."""

    members: float
    nonmembers: float
    difference: float
    interval: Ends  # of the difference


class LossGap(Record):
    """How much more the target loses on non-members, in nats."""

    members: float  # mean
    nonmembers: float  # mean
    difference: float
    interval: Ends | None  # of the difference; None: a side has but one record, or unit


class ConfidenceBin(Record):
    """Records that the target is about equally sure of."""

    low: float  # confidence above this
    high: float  # and up to this
    records: int
    confidence: float  # mean
    accuracy: float


class Calibration(Record):
    """Whether the target is right as often as it is sure."""

    expected_error: float  # in [0, 1]
    confidence: float  # mean
    accuracy: float
    bins: tuple[ConfidenceBin, ...]  # those with records


class Calibrations(Record):
    """The calibration on either side."""

    members: Calibration
    nonmembers: Calibration


class Drivers(Record):
    """How differently the target treats the two sides, which attacks feed on."""

    accuracy: AccuracyGap
    loss: LossGap
    calibration: Calibrations | None  # None: only margins are known


# What it comes to

Grade = Literal["cannot tell", "none found", "low", "moderate", "high"]


class Verdict(Record):
    """What may be claimed of the target."""

    leaks: bool | None  # some leak is shown beyond chance; None: cannot tell
    exceeds: bool | None  # the threshold, or tenfold at a low false-positive rate
    grade: Grade
    rule: str  # by which leaks, exceeds and grade are decided
    attack: str | None  # that the sentence speaks of; None: cannot tell
    methods: tuple[str, ...]  # that beat chance and exceed the threshold
    reasons: tuple[str, ...]  # why nothing can be said
    caveats: tuple[str, ...]
    sentence: str


class Provenance(Record):
    """What the numbers were computed on, as kept with the artifacts."""

    # Of all stages; two versions of one library stand side by side.
    versions: dict[str, str | None]
    stages: dict[str, dict[str, str]]


class Report(Record):
    """The findings of an audit."""

    # "schema" in the file, a name that pydantic keeps for itself. Raised when the
    # fields change.
    schema_version: Literal[5] = Field(default=5, alias="schema")
    audit: str
    about: About
    controls: Controls
    target: Target
    records: Counts
    references: References
    confidence: float  # of all intervals but those of decisions, which state theirs
    intervals: dict[str, str]  # how the interval of each figure comes about
    tail: dict[str, Rate] | None  # as tpr_at_fpr, of non-members by the loss
    attacks: tuple[AttackFigures, ...]  # the last repeats the strongest
    epsilon: Epsilon
    slices: Slices
    risk: Risk
    units: Units | None  # None: records have no units
    repeats: Repeats | None  # None: the records were divided once
    # By attack, then by number; empty with fewer than three references, or if the
    # setting attack.growth is false.
    growth: tuple[Growth, ...]
    outlook: Outlook | None  # None: there are no two points to compare
    drivers: Drivers
    choices: dict[str, str]  # where each figure was chosen, or what corrects for it
    verdict: Verdict
    provenance: Provenance

    @property
    def strongest(self) -> AttackFigures:
        """The attack that was chosen on attack-train."""
        return self.attacks[-1]


# search.json


class Strongest(Record):
    """The attack that does best on attack-train."""

    chosen: str
    auc_on_attack_train: dict[str, float]


class DivisionFigures(Record):
    """An attack on the attack-eval side of one division."""

    auc: float
    accuracy: float
    precision: float | None
    recall: float | None
    tpr_at_fpr: dict[str, float | None]  # by false-positive rate


class Division(Record):
    """All attacks on one division of the records."""

    strongest: str
    attacks: dict[str, DivisionFigures]


class Candidate(Record):
    """A candidate of a learned attack, and how it did on each fold."""

    params: Params
    mean_accuracy: float
    accuracy: tuple[float, ...]
    auc: tuple[float, ...]
    converged: bool


class Learned(Record):
    """The cross-validation of a learned attack."""

    name: str
    method: str
    best_params: Params
    candidates: tuple[Candidate, ...]


class Search(Record):
    """What the stage attack chose, and found beside the scores."""

    attacks: tuple[AttackChoice, ...]
    strongest: Strongest
    rmia_slope: float | None  # None: RMIA did not run
    fitted: int  # records of attack-train that learned attacks were fitted to
    null: Null
    repeats: tuple[Division, ...]  # the first is the audit's own
    methods: tuple[Learned, ...]
