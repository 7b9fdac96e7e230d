"""Report: all findings of an audit, and the table of its records."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pipeline.attacks import catalogue
from pipeline.attacks.growth import Point
from pipeline.cache.summaries import Accuracies, Contradicted
from pipeline.config import About
from pipeline.config import Report as Settings
from pipeline.findings import controls, exposure, persons
from pipeline.findings.drivers import drivers
from pipeline.findings.figures import (
    INTERVALS,
    INTERVALS_OF_UNITS,
    RATES,
    exceeds,
    figures,
    spreads,
)
from pipeline.findings.figures import tpr_at_fpr as rates
from pipeline.findings.growth import growth, outlook
from pipeline.findings.schema import (
    AttackFigures,
    Blind,
    Bound,
    Controls,
    Counts,
    Division,
    Epsilon,
    Labels,
    Provenance,
    Rate,
    References,
    Repeats,
    Report,
    Risk,
    Search,
    Slices,
    Strongest,
    Target,
)
from pipeline.findings.slices import slices
from pipeline.findings.verdict import verdict
from pipeline.signals.margins import UNLABELLED
from pipeline.statistics import corrections, epsilon, intervals, metrics, units
from pipeline.statistics.units import Units

# Where each figure that was picked out of several was chosen, or what corrects for it.
CHOICES = {
    "attacks.threshold": "attack-train: the highest balanced accuracy",
    "attacks.params": "attack-train: the highest accuracy in cross-validation",
    "attacks.confidence_of_decisions": "corrected for the number of attacks "
    "(Bonferroni), but of the attack chosen on attack-train, which stands alone",
    "attacks.chosen": "attack-train: the highest AUC, the amortised attack's preferred",
    "attacks.p_value_corrected": "corrected for the number of attacks (Holm), the "
    "chosen attack first",
    "attacks.tpr_at_fpr": "attack-eval: the threshold, as its interval allows for",
    "tail": "attack-eval: the threshold, as its interval allows for",
    "references.rmia_slope": "references: by attacks on one another, or by their means",
    "epsilon.attack": "attack-train: as attacks.chosen",
    "epsilon.bounds.chosen": "attack-train: the highest bound there",
    "epsilon.if_gaussian.chosen": "attack-train: the highest figure there",
    "slices.attack": "attack-train: as attacks.chosen",
    "slices.kinds.auc_interval": "corrected for the number of slices (Bonferroni)",
    "slices.kinds.p_value": "corrected for the number of slices (Holm)",
    "repeats.strongest": "attack-train of each draw: as attacks.chosen",
    "outlook.attack": "attack-train: as attacks.chosen, or the highest AUC there of "
    "the attacks in growth",
    "risk.flagged": "corrected for the number of records (Benjamini and Hochberg)",
    "units.flagged": "corrected for the number of units (Benjamini and Hochberg) and "
    "of their records (Bonferroni)",
    "controls.sides.p_value": "corrected for the two looks (Bonferroni)",
    "controls.null.p_value": "corrected for the number of attacks (Bonferroni)",
    "controls.blind.differing": "corrected for the number of statistics (Holm)",
    "controls.independence.p_value": "corrected for the number of references "
    "(Bonferroni)",
    "controls.independence.agreeing": "corrected for the number of references "
    "(Bonferroni)",
    "verdict.methods": "corrected for the number of attacks: "
    "attacks.confidence_of_decisions and attacks.p_value_corrected",
}
# Of the level, the part that the chosen attack is tested at; the others share the rest.
CHOSEN_SHARE = 0.8
# Estimators of epsilon that assume a mechanism, and bound nothing if it is another.
GAUSSIAN = ("f_dp_one_run", "gaussian")
# Attacks that rank by the loss alone, any of which shows how the sides compare.
LOSSES = ("loss", "confidence", "margin")
TAIL = "loss"  # the attack whose true-negative rates are reported
SCORE = "score_"  # before an attack's name, the name of its column in the table
# What the numbers ran on, in the report's order; other libraries follow.
VERSIONS = ("mindspore", "device", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Persons:
    """The units of the audited records."""

    unit: NDArray[np.int64]  # (n_records,) a row of what follows
    id: NDArray[np.bytes_]  # (n_units,) as text
    known: NDArray[np.bool_]  # (n_units,) the target was trained on a record of it


@dataclass(frozen=True)
class Audited:
    """The audited records, ascending by id, and what the attacks say of them."""

    id: NDArray[np.int64]  # (n_records,)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,)
    evaluation: NDArray[np.bool_]  # (n_records,) on the attack-eval side
    canary: NDArray[np.bool_]  # (n_records,) whether its label was changed
    correct: NDArray[np.bool_]  # (n_records,) the target puts it into its class
    loss: NDArray[np.float64]  # (n_records,) the target's, nats
    # (n_records,) probability that the target gives to the class it puts it into; NaN
    # where only margins are known
    confidence: NDArray[np.float64]
    group: NDArray[Any] | None  # (n_records,) the user's, if any
    p_value: NDArray[np.float64]  # (n_records,) as exposure.reference_p_values
    method: tuple[str, ...]  # (n_methods,)
    score: NDArray[np.float64]  # (n_methods, n_records) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_methods, n_records) taken for a member
    person: Persons | None = None  # None: records have no units

    @property
    def unit(self) -> Units:
        """(n_records,) their units; None without any, or if each has its own."""
        return None if self.person is None else units.shared(self.person.unit)

    @property
    def labelled(self) -> bool:
        """Whether the classes are known."""
        return bool((self.label != UNLABELLED).all())

    def row(self, method: str) -> int:
        """Return the row of an attack's scores."""
        return self.method.index(method)


@dataclass(frozen=True)
class Inputs:
    """All that a report is made from."""

    audit: str  # its name
    about: About
    audited: Audited
    n_population: int
    n_duplicates_dropped: int
    n_copies_dropped: int
    target: Target
    within_classes: float | None  # as in `summaries.Complete`
    contradicted: Contradicted
    references: tuple[Accuracies, ...]
    reference_names: tuple[str, ...]
    reference_member: NDArray[np.bool_]  # (n_references, n_records) of the audited
    search: Search
    growth: tuple[Point, ...]  # on attack-eval, by some of the references
    blind: Blind
    origins: Mapping[str, Mapping[str, str]]  # of each stage, as kept with its artifact


class Findings(NamedTuple):
    """What an audit found, of all records and of each."""

    report: Report
    records: dict[str, NDArray[Any]]  # (n_records,) each column of the table, by name
    # (n_units,) the same of the table of units; None: records have none
    units: dict[str, NDArray[Any]] | None


def findings(inputs: Inputs, settings: Settings) -> Findings:
    """Return the report of an audit, and the tables of its records and units.

    Args:
        inputs: what the stages left.
        settings: of the report.

    Raises:
        ValueError: if attack-train or attack-eval lacks members or non-members.
    """
    audited, search = inputs.audited, inputs.search
    judged = audited.evaluation
    member = audited.member[judged]
    n_eval, n_members = len(member), int(member.sum())
    counts = Counts(
        members=int(audited.member.sum()),
        nonmembers=int((~audited.member).sum()),
        population=inputs.n_population,
        attack_train=len(audited.id) - n_eval,
        fitted=search.fitted,
        attack_eval=n_eval,
        duplicates_dropped=inputs.n_duplicates_dropped,
        copies_dropped=inputs.n_copies_dropped,
        canaries=int(audited.canary.sum()),
    )
    attacks = _attacks(audited, search, settings)
    chosen = search.strongest.chosen
    score = audited.score[audited.row(chosen)]
    records = _by_record(audited, inputs.target, score, settings)
    of_units = _by_unit(audited, score, settings)
    unit = audited.unit
    of_judged = units.of(unit, judged)
    count_of_units = None if of_units is None else persons.counts(of_units)
    worth = _worth(audited, settings.confidence)
    plain = ~audited.canary  # a wrong label is one that even a fine target is wrong on
    tested = Controls(
        labels=_labels(audited, inputs),
        sides=controls.sides(
            audited.correct[plain],
            audited.member[plain],
            _loss(audited, plain),
            units.of(unit, plain),
        ),
        null=search.null,
        blind=inputs.blind,
        references=controls.resemblance(
            inputs.target,
            inputs.references,
            worth,
            _records_of_references(inputs.reference_member, counts, worth),
        ),
        independence=controls.independence(
            inputs.reference_member, audited.member, inputs.reference_names, unit
        ),
        resolution=controls.resolution(
            member, RATES, CHOSEN_SHARE * (1 - settings.confidence), of_judged
        ),
    )
    points = _points(inputs)
    report = Report(
        audit=inputs.audit,
        about=inputs.about,
        controls=tested,
        target=inputs.target,
        records=counts,
        references=References(
            count=len(inputs.references),
            models=inputs.references,
            rmia_slope=search.rmia_slope,
        ),
        confidence=settings.confidence,
        intervals=INTERVALS if unit is None else INTERVALS_OF_UNITS,
        tail=_tail(audited, settings.confidence),
        attacks=attacks,
        epsilon=_epsilon(audited, chosen, score, settings),
        slices=Slices(
            attack=chosen,
            kinds=slices(
                {
                    kind: values[judged]
                    for kind, values in _kinds(audited, inputs.target).items()
                },
                score[judged],
                member,
                settings.confidence,
                units.of(unit, judged),
            ),
        ),
        risk=Risk(
            records=len(audited.id),
            flagged=int(records["flagged"].sum()),
            flagged_members=int((records["flagged"] & audited.member).sum()),
            false_discoveries=settings.false_discoveries,
            prior=settings.prior,
        ),
        units=count_of_units,
        repeats=_repeats(search.repeats),
        growth=growth(points, member, settings.confidence, of_judged),
        outlook=outlook(
            points,
            member,
            _by_preference(search.strongest),
            settings.confidence,
            of_judged,
        ),
        drivers=drivers(
            audited.correct,
            audited.loss,
            audited.confidence,
            audited.member,
            settings.confidence,
            unit,
        ),
        choices=CHOICES,
        verdict=verdict(
            attacks,
            tested,
            n_members=n_members,
            n_nonmembers=n_eval - n_members,
            threshold=settings.threshold,
            min_records=settings.min_records,
            confidence=settings.confidence,
            units=count_of_units,
        ),
        provenance=provenance(inputs.origins),
    )
    return Findings(report, records, of_units)


def provenance(origins: Mapping[str, Mapping[str, str]]) -> Provenance:
    """Return what the numbers of an audit ran on.

    Args:
        origins: of each stage, names of the device and of libraries, to versions.
    """
    versions: dict[str, list[str]] = {name: [] for name in VERSIONS}
    for origin in origins.values():
        for name, version in origin.items():
            seen = versions.setdefault(name, [])
            if version not in seen:
                seen.append(version)
    return Provenance(
        versions={name: ", ".join(seen) or None for name, seen in versions.items()},
        stages={stage: dict(origin) for stage, origin in origins.items()},
    )


def alike(rows: Iterable[NDArray[Any]]) -> NDArray[np.int64]:
    """Return a number for each row, the same for equal rows.

    Args:
        rows: (n_columns,) each, of one type.
    """
    number: dict[bytes, int] = {}
    digests = (hashlib.sha256(row.tobytes()).digest() for row in rows)
    return np.array([number.setdefault(each, len(number)) for each in digests])


def _attacks(
    audited: Audited, search: Search, settings: Settings
) -> tuple[AttackFigures, ...]:
    """Return the figures of each attack, and last those of the strongest again."""
    judged = audited.evaluation
    member = audited.member[judged]
    score, decision = audited.score[:, judged], audited.decision[:, judged]
    chosen = search.strongest.chosen
    of_chosen = audited.row(chosen)
    unit = units.of(audited.unit, judged)
    p = np.array([metrics.p_value(own, member, unit) for own in score])
    # Attacks of one ranking are one test; those that decide alike too, one attack.
    ranking = alike(map(rankdata, score))
    corrected = corrections.chosen_first(p, of_chosen, ranking, CHOSEN_SHARE)
    attack_of = alike(map(np.append, ranking, decision))
    n_others = len(np.unique(attack_of)) - 1
    confidence = np.where(
        attack_of == attack_of[of_chosen],
        settings.confidence,
        1 - (1 - settings.confidence) / max(n_others, 1),
    ).tolist()
    attacks = [
        AttackFigures(
            **dict(attack),
            **dict(
                figures(
                    score[row],
                    decision[row],
                    member,
                    settings.confidence,
                    confidence[row],
                    unit,
                )
            ),
            confidence_of_decisions=confidence[row],
            exceeds=exceeds(
                decision[row], member, settings.threshold, confidence[row], unit
            ),
            p_value=float(p[row]),
            p_value_corrected=float(corrected[row]),
            chosen=None,
        )
        for row, attack in enumerate(search.attacks)
    ]
    strongest = attacks[of_chosen].model_copy(
        update={"method": catalogue.STRONGEST, "chosen": chosen}
    )
    return (*attacks, strongest)


def _points(inputs: Inputs) -> list[Point]:
    """Return the growth of each attack with its point by all references at the end."""
    audited, n_references = inputs.audited, len(inputs.references)
    judged = audited.score[:, audited.evaluation]
    points: list[Point] = []
    for attack in dict.fromkeys(point.attack for point in inputs.growth):
        points += [point for point in inputs.growth if point.attack == attack]
        points.append(Point(attack, n_references, judged[audited.row(attack)]))
    return points


def _by_preference(strongest: Strongest) -> list[str]:
    """Return the attacks, the chosen one first, then the best on attack-train."""
    auc = strongest.auc_on_attack_train
    return sorted(auc, key=lambda name: (name != strongest.chosen, -auc[name]))


def _loss(audited: Audited, chosen: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Return chosen records' scores by the loss, or by an attack of the same order."""
    for method in LOSSES:
        if method in audited.method:
            return np.asarray(audited.score[audited.row(method)][chosen])
    return None


def _worth(audited: Audited, confidence: float) -> tuple[float, float]:
    """Return how many independent records the target's two accuracies rest on."""
    inside, outside = (
        intervals.worth(audited.correct[side], confidence, units.of(audited.unit, side))
        for side in (audited.member, ~audited.member)
    )
    return inside, outside


def _records_of_references(
    reference_member: NDArray[np.bool_], counts: Counts, worth: tuple[float, float]
) -> tuple[float, float]:
    """Return the mean numbers of records that a reference was trained on, and not.

    A reference's records are worth the share of their number that the target's are.

    Args:
        reference_member: (n_references, n_records) of the audited.
        counts: of the target's records.
        worth: as `_worth` returns it.
    """
    if not len(reference_member):
        return 0.0, 0.0
    inside = float(reference_member.sum(axis=1).mean())
    outside = reference_member.shape[1] - inside
    of_members, of_others = worth[0] / counts.members, worth[1] / counts.nonmembers
    return inside * of_members, outside * of_others


def _epsilon(
    audited: Audited, chosen: str, score: NDArray[np.float64], settings: Settings
) -> Epsilon:
    """Return the figures of epsilon that the chosen attack shows.

    Its estimators count independent records, so of each unit one is taken.
    """
    own = units.one_of_each(audited.unit, len(score))
    bounds = epsilon.bounds(
        score[own],
        audited.member[own],
        ~audited.evaluation[own],
        delta=settings.delta,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    made = {
        bound.name: Bound(
            epsilon=bound.epsilon, chosen=dict(bound.chosen), assumes=bound.assumes
        )
        for bound in bounds
    }
    return Epsilon(
        attack=chosen,
        delta=settings.delta,
        confidence=settings.confidence,
        meaning=epsilon.MEANING,
        bounds={name: each for name, each in made.items() if name not in GAUSSIAN},
        if_gaussian={name: each for name, each in made.items() if name in GAUSSIAN},
    )


def _tail(audited: Audited, confidence: float) -> dict[str, Rate] | None:
    """Return how many non-members the loss alone rules out; None if it did not run.

    Members are missing from the tail of high losses: Dodd et al. 2025,
    arXiv:2510.19773.
    """
    if TAIL not in audited.method:
        return None
    judged = audited.evaluation
    score = audited.score[audited.row(TAIL)][judged]
    unit = units.of(audited.unit, judged)
    return rates(-score, ~audited.member[judged], confidence, unit)


def _repeats(divisions: Sequence[Division]) -> Repeats | None:
    """Return how the figures vary over divisions; None of a single division."""
    if len(divisions) == 1:
        return None
    attacks = [
        {**division.attacks, catalogue.STRONGEST: division.attacks[division.strongest]}
        for division in divisions
    ]
    return Repeats(
        draws=len(divisions),
        strongest=tuple(division.strongest for division in divisions),
        attacks={
            name: spreads([each[name] for each in attacks]) for name in attacks[0]
        },
    )


def _labels(audited: Audited, inputs: Inputs) -> Labels:
    """Return whether the target's outputs have to do with its members' labels."""
    if not audited.labelled:
        return controls.unknown_labels("there are no labels", inputs.contradicted)
    if inputs.target.accuracy_by == "margins":
        reason = "margins alone tell no predictions"
        return controls.unknown_labels(reason, inputs.contradicted)
    members = ~audited.canary & audited.member
    return controls.labels(
        audited.correct[members],
        audited.label[members],
        inputs.within_classes,
        inputs.contradicted,
        units.of(audited.unit, members),
    )


def _kinds(audited: Audited, target: Target) -> dict[str, NDArray[Any]]:
    """Return (n_records,) what the records are divided by, under its name."""
    kinds: dict[str, NDArray[Any]] = {}
    if audited.labelled:
        kinds["class"] = audited.label
    if target.accuracy_by == "predictions":
        kinds["outcome"] = np.where(audited.correct, "right", "wrong")
    if audited.group is not None:
        kinds["group"] = audited.group
    return kinds


def _by_unit(
    audited: Audited, score: NDArray[np.float64], settings: Settings
) -> dict[str, NDArray[Any]] | None:
    """Return the table of the units; None without any."""
    person = audited.person
    if person is None:
        return None
    columns = persons.table(
        person.unit,
        score,
        audited.p_value,
        audited.member,
        audited.evaluation,
        person.known,
        settings.false_discoveries,
    )
    return {**columns, "unit": person.id[columns["unit"]]}


def _by_record(
    audited: Audited, target: Target, score: NDArray[np.float64], settings: Settings
) -> dict[str, NDArray[Any]]:
    """Return the table of the records: how exposed each is, by an attack's scores."""
    member, evaluation = audited.member, audited.evaluation
    columns: dict[str, NDArray[Any]] = {"id": audited.id}
    if audited.labelled:
        columns["label"] = audited.label
    columns |= {"member": member, "evaluation": evaluation, "canary": audited.canary}
    if target.accuracy_by == "predictions":
        columns["correct"] = audited.correct
    if audited.group is not None:
        columns["group"] = audited.group
    if audited.person is not None:
        columns["unit"] = audited.person.id[audited.person.unit]
    columns["rank"] = exposure.rank(score)
    columns["p_value"] = audited.p_value
    columns["posterior"] = exposure.posterior(
        score, member, ~evaluation, settings.prior
    )
    columns["flagged"] = exposure.flags(
        score, member, evaluation, settings.false_discoveries
    )
    for method, own in zip(audited.method, audited.score, strict=True):
        columns[f"{SCORE}{method}"] = own
    return columns
