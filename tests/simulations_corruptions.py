"""Simulations of audits whose inputs contradict themselves, and of sound ones.

An audit is a file of `arrays`. It takes the way of a user's file, through the same
checks in the same order. Nothing is asserted here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from pipeline.attacks import coverage, roster
from pipeline.attacks.division import withholding
from pipeline.attacks.evidence import evidence
from pipeline.attacks.view import View
from pipeline.cache.summaries import Accuracies
from pipeline.config import Data
from pipeline.data import selection, sources
from pipeline.errors import AuditError
from pipeline.findings import contradiction, controls, numbering, pairing
from pipeline.findings.schema import Target
from pipeline.statistics import metrics
from stages import features, records, references
from tests import simulations, views

# What became of an audit: refused, or no verdict; the verdict or a note says what is
# wrong; records are dropped and counted; or nothing of all that.
Fate = Literal["refused", "no verdict", "said", "dropped", "silent"]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Recipe:
    """Which models there are, and what they know, in standard deviations of a logit."""

    n_classes: int
    n_records: int
    n_references: int
    knowledge: float  # of a class
    memory: float  # of a record that was trained on
    twins: bool = True  # references come in complementary pairs


RECIPES = (
    Recipe(10, 800, 8, 2.0, 4.0),
    Recipe(10, 300, 4, 2.0, 2.0),
    Recipe(10, 2000, 16, 2.5, 1.0),
    Recipe(100, 1000, 12, 2.5, 3.0),
    Recipe(100, 1000, 5, 1.5, 2.0, twins=False),
    Recipe(2, 600, 8, 3.0, 0.3),
    Recipe(2, 1000, 4, 1.0, 2.0),
)


@dataclass(frozen=True)
class Audit:
    """A file of `arrays`; model 0 is the target."""

    logits: Floats  # (n_models, n_records, n_classes)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_models, n_records)
    recipe: Recipe

    def records(self, rows: NDArray[np.int64]) -> "Audit":
        """Return the audit of some records, which may stand several times."""
        logits, member = self.logits[:, rows], self.member[:, rows]
        return replace(self, logits=logits, label=self.label[rows], member=member)

    def with_rows(self, rows: NDArray[np.int64]) -> "Audit":
        """Return the audit with the references' memberships in another order."""
        return replace(self, member=self.member[np.concatenate(([0], rows))])


class Outcome(NamedTuple):
    """What became of an audit."""

    fate: Fate
    by: str  # the check that noticed; empty if none did
    auc: float | None  # of RMIA; None where no attack ran


def drawn(
    rng: np.random.Generator, recipe: Recipe, of_references: Recipe | None = None
) -> Audit:
    """Draw an audit, a sound one unless the references have a recipe of their own.

    Records are easy or hard, and each resembles one wrong class, for all models alike;
    each model prefers some classes.
    """
    others = of_references or recipe
    n, n_classes = recipe.n_records, recipe.n_classes
    member = rng.random((1 + recipe.n_references, n)) < 0.5
    member[0] = rng.permutation(n) < n // 2
    if recipe.twins:
        member[2::2] = ~member[1:-1:2]
    label = rng.integers(0, n_classes, n).astype(np.int32)
    other = (label + rng.integers(1, n_classes, n)) % n_classes
    every = np.arange(n)
    logits = rng.normal(size=(len(member), n, n_classes))
    logits += 0.3 * rng.normal(size=(len(member), 1, n_classes))
    knows, learns = (
        np.array([own] + [theirs] * recipe.n_references)[:, None]
        for own, theirs in (
            (recipe.knowledge, others.knowledge),
            (recipe.memory, others.memory),
        )
    )
    ease = 1.5 * rng.normal(size=n)
    logits[:, every, label] += knows + ease + learns * member
    logits[:, every, other] += rng.gamma(1.0, size=n)
    return Audit(logits.astype(np.float32), label, member, recipe)


# Corruptions. Each returns the audit and how strong the corruption is, from 0 to 1.

Corrupted = tuple[Audit, float]


def sound(_: np.random.Generator, audit: Audit) -> Corrupted:
    return audit, 0.0


def labels_permuted(rng: np.random.Generator, audit: Audit) -> Corrupted:
    share = rng.uniform(0.1, 1.0)
    return _permuted(rng, audit, share), share


def all_labels_permuted(rng: np.random.Generator, audit: Audit) -> Corrupted:
    return _permuted(rng, audit, 1.0), 1.0


def _permuted(rng: np.random.Generator, audit: Audit, share: float) -> Audit:
    moved = np.flatnonzero(rng.random(len(audit.label)) < share)
    label = audit.label.copy()
    label[moved] = rng.permutation(label[moved])
    return replace(audit, label=label)


def classes_renumbered(rng: np.random.Generator, audit: Audit) -> Corrupted:
    """Number the classes of the labels otherwise, as by another sorting of names."""
    n_classes = audit.logits.shape[2]
    number = np.roll(np.arange(n_classes), rng.integers(1, n_classes)).astype(np.int32)
    return replace(audit, label=number[audit.label]), 1.0


def two_classes_exchanged(_: np.random.Generator, audit: Audit) -> Corrupted:
    n_classes = audit.logits.shape[2]
    number = np.arange(n_classes, dtype=np.int32)
    number[:2] = 1, 0
    return replace(audit, label=number[audit.label]), 2 / n_classes


def classes_of_a_reference_renumbered(
    rng: np.random.Generator, audit: Audit
) -> Corrupted:
    n_classes = audit.logits.shape[2]
    logits = audit.logits.copy()
    model = rng.integers(1, len(logits))
    logits[model] = np.roll(logits[model], rng.integers(1, n_classes), axis=1)
    return replace(audit, logits=logits), 1.0


def sides_exchanged(rng: np.random.Generator, audit: Audit) -> Corrupted:
    share = rng.uniform(0.1, 1.0)
    return _exchanged(rng, audit, share), share


def all_sides_exchanged(rng: np.random.Generator, audit: Audit) -> Corrupted:
    return _exchanged(rng, audit, 1.0), 1.0


def _exchanged(rng: np.random.Generator, audit: Audit, share: float) -> Audit:
    member = audit.member.copy()
    member[0] ^= rng.random(member.shape[1]) < share
    return replace(audit, member=member)


def copies_within_a_side(rng: np.random.Generator, audit: Audit) -> Corrupted:
    share, n = rng.uniform(0.02, 0.5), len(audit.label)
    again = rng.permutation(n)[: round(share * n)]
    return audit.records(np.concatenate((np.arange(n), again))), share


def copies_across_the_sides(rng: np.random.Generator, audit: Audit) -> Corrupted:
    copied, share = copies_within_a_side(rng, audit)
    member = copied.member.copy()
    member[0, len(audit.label) :] = False
    return replace(copied, member=member), share


def two_rows_exchanged(rng: np.random.Generator, audit: Audit) -> Corrupted:
    rows = np.arange(1, len(audit.member))
    pair = rng.permutation(len(rows))[:2]
    rows[pair] = rows[pair[::-1]]
    return audit.with_rows(rows), 2 / len(rows)


def rows_in_the_order_of_strings(_: np.random.Generator, audit: Audit) -> Corrupted:
    """Sort the references' rows as the strings of their numbers, which start at 8."""
    rows = np.array(sorted(range(8, len(audit.member) + 7), key=str)) - 7
    return audit.with_rows(rows), 1.0


def rows_shifted_by_one(_: np.random.Generator, audit: Audit) -> Corrupted:
    return audit.with_rows(np.roll(np.arange(1, len(audit.member)), 1)), 1.0


def records_shifted_by_one(_: np.random.Generator, audit: Audit) -> Corrupted:
    """Shift the references' memberships against the records."""
    member = audit.member.copy()
    member[1:] = np.roll(member[1:], 1, axis=1)
    return replace(audit, member=member), 1.0


def one_foreign_row(rng: np.random.Generator, audit: Audit) -> Corrupted:
    member = audit.member.copy()
    member[rng.integers(1, len(member))] = rng.random(member.shape[1]) < 0.5
    return replace(audit, member=member), 1 / (len(member) - 1)


def probabilities(_: np.random.Generator, audit: Audit) -> Corrupted:
    return replace(audit, logits=softmax(audit.logits, axis=2)), 1.0


def rounded_probabilities(rng: np.random.Generator, audit: Audit) -> Corrupted:
    digits = int(rng.integers(2, 6))
    rounded = softmax(audit.logits, axis=2).round(digits)
    return replace(audit, logits=rounded), 1.0


def a_reference_of_probabilities(rng: np.random.Generator, audit: Audit) -> Corrupted:
    logits = audit.logits.copy()
    model = rng.integers(1, len(logits))
    logits[model] = softmax(logits[model], axis=1)
    return replace(audit, logits=logits), 1.0


def decisions(_: np.random.Generator, audit: Audit) -> Corrupted:
    n_classes = audit.logits.shape[2]
    chosen = np.eye(n_classes, dtype=np.float32)[audit.logits.argmax(axis=2)]
    return replace(audit, logits=chosen), 1.0


def log_probabilities(_: np.random.Generator, audit: Audit) -> Corrupted:
    return replace(audit, logits=log_softmax(audit.logits, axis=2)), 0.0


def negative_log_probabilities(_: np.random.Generator, audit: Audit) -> Corrupted:
    return replace(audit, logits=-log_softmax(audit.logits, axis=2)), 1.0


def negative_logits(_: np.random.Generator, audit: Audit) -> Corrupted:
    return replace(audit, logits=-audit.logits), 1.0


def softened(rng: np.random.Generator, audit: Audit) -> Corrupted:
    temperature = rng.uniform(2, 10)
    return replace(audit, logits=audit.logits / np.float32(temperature)), 1.0


def a_softened_reference(rng: np.random.Generator, audit: Audit) -> Corrupted:
    logits = audit.logits.copy()
    logits[rng.integers(1, len(logits))] /= rng.uniform(2, 10)
    return replace(audit, logits=logits), 1.0


def nan_in_a_model(rng: np.random.Generator, audit: Audit) -> Corrupted:
    share = rng.uniform(0, 0.5)
    logits = audit.logits.copy()
    broken = rng.random(len(audit.label)) < share
    broken[rng.integers(len(broken))] = True
    logits[rng.integers(len(logits)), broken] = np.nan
    return replace(audit, logits=logits), share


def a_constant_model(rng: np.random.Generator, audit: Audit) -> Corrupted:
    logits = audit.logits.copy()
    logits[rng.integers(len(logits))] = logits[0, 0]
    return replace(audit, logits=logits), 1.0


def a_weak_reference(rng: np.random.Generator, audit: Audit) -> Corrupted:
    """Let a reference, rightly paired, memorise little or nothing."""
    model = rng.integers(1, len(audit.logits), 1)
    return _forgetting(audit, model, share := rng.uniform(0.5, 1)), share


def references_of_another_recipe(rng: np.random.Generator, audit: Audit) -> Corrupted:
    models = np.arange(1, len(audit.logits))
    return _forgetting(audit, models, share := rng.uniform(0.3, 1)), share


def _forgetting(audit: Audit, models: NDArray[np.int64], share: float) -> Audit:
    logits, every = audit.logits.copy(), np.arange(len(audit.label))
    memory = np.float32(share * audit.recipe.memory)
    for model in models:
        logits[model, every, audit.label] -= memory * audit.member[model]
    return replace(audit, logits=logits)


def the_target_among_the_references(
    rng: np.random.Generator, audit: Audit
) -> Corrupted:
    return _instead(rng, audit, audit.logits[0], audit.member[0])


def the_rounded_target_among_them(rng: np.random.Generator, audit: Audit) -> Corrupted:
    rounded = audit.logits[0].astype(np.float16)
    return _instead(rng, audit, rounded, audit.member[0])


def the_targets_memberships_among_them(
    rng: np.random.Generator, audit: Audit
) -> Corrupted:
    """Train a reference on the target's own records."""
    return _trained(rng, audit, audit.member[0])


def the_targets_twin_among_them(rng: np.random.Generator, audit: Audit) -> Corrupted:
    return _trained(rng, audit, ~audit.member[0])


def _trained(
    rng: np.random.Generator, audit: Audit, member: NDArray[np.bool_]
) -> Corrupted:
    """Give a reference other memberships, and the logits that go with them.

    Records are alike to models but for memory: another model's output on a record that
    it knew, or did not know, just so.
    """
    logits = audit.logits[0].copy()
    for row in range(len(member)):
        alike = np.flatnonzero(audit.member[1:, row] == member[row])
        if len(alike):
            logits[row] = audit.logits[1 + rng.choice(alike), row]
    return _instead(rng, audit, logits, member)


def _instead(
    rng: np.random.Generator, audit: Audit, logits: Floats, member: NDArray[np.bool_]
) -> Corrupted:
    """Replace a reference."""
    model = rng.integers(1, len(audit.logits))
    all_logits, all_members = audit.logits.copy(), audit.member.copy()
    all_logits[model], all_members[model] = logits, member
    changed = replace(audit, logits=all_logits, member=all_members)
    return changed, 1 / (len(all_logits) - 1)


CORRUPTIONS: tuple[Callable[[np.random.Generator, Audit], Corrupted], ...] = (
    labels_permuted,
    all_labels_permuted,
    classes_renumbered,
    two_classes_exchanged,
    classes_of_a_reference_renumbered,
    sides_exchanged,
    all_sides_exchanged,
    copies_within_a_side,
    copies_across_the_sides,
    two_rows_exchanged,
    rows_in_the_order_of_strings,
    rows_shifted_by_one,
    records_shifted_by_one,
    one_foreign_row,
    probabilities,
    rounded_probabilities,
    a_reference_of_probabilities,
    decisions,
    log_probabilities,
    negative_log_probabilities,
    negative_logits,
    softened,
    a_softened_reference,
    nan_in_a_model,
    a_constant_model,
    a_weak_reference,
    references_of_another_recipe,
    the_target_among_the_references,
    the_rounded_target_among_them,
    the_targets_memberships_among_them,
    the_targets_twin_among_them,
)


def outcome(audit: Audit, folder: Path) -> Outcome:
    """Take an audit through all checks of its inputs, and run RMIA if it gets so far.

    The checks are those of the stages but for the blind and the null control: the one
    looks at inputs, which there are none of, the other at attacks.
    """
    path = folder / "audit.npz"
    np.savez(path, logits=audit.logits, label=audit.label, member=audit.member)
    data = Data(source="arrays", path=str(path))
    try:
        chosen = records.choose(data, sources.catalogue(data))
        inside = references.given_member(data, chosen)
        source, rows = features.arrays_source(data, chosen), [np.arange(len(chosen.id))]
        logits = np.stack(
            [next(iter(source(model, rows)))[0] for model in range(1 + len(inside))]
        )
    except AuditError as error:
        return Outcome("refused", error.args[1], None)
    predicted, label = logits[:, :, 0].argmax(axis=2), chosen.label
    if any(numbering.renumbering(each, label) for each in predicted):
        return Outcome("refused", "numbering", None)
    pair = pairing.pairing(predicted[1:] == label, inside)
    if pair.mispaired is not None:
        return Outcome("refused", "pairing", None)
    trained = np.vstack((chosen.member[None], inside))
    if by := forbidding(predicted[0], label, chosen.member):
        return Outcome("no verdict", by, None)
    auc = aucs(("rmia_online",), logits, label, chosen.member, inside)[0]
    said = sayings(predicted == label, trained)
    if pair.unlearned:
        said.append("unlearned")
    if said:
        return Outcome("said", ", ".join(said), auc)
    if chosen.copies_dropped or chosen.duplicates_dropped:
        return Outcome("dropped", "copies", auc)
    return Outcome("silent", "", auc)


def forbidding(
    predicted: NDArray[np.int64], label: NDArray[np.int32], member: NDArray[np.bool_]
) -> str | None:
    """Return the control that forbids a verdict, the loss left aside; None if none."""
    of_labels = simulations.labels(predicted[member], label[member])
    if of_labels.passed is False:
        return "labels"
    of_sides = controls.sides(predicted == label, member, None)
    return "sides" if of_sides.passed is False else None


def sayings(correct: NDArray[np.bool_], trained: NDArray[np.bool_]) -> list[str]:
    """Return what a verdict would say of the inputs."""
    member, inside = trained[0], trained[1:]
    accuracies = [
        Accuracies(train_accuracy=right[own].mean(), test_accuracy=right[~own].mean())
        for right, own in zip(correct, trained, strict=True)
        if own.any() and not own.all()
    ]
    target = Target(**accuracies[0].model_dump(), checkpoint_sha256=None)
    resemblance = controls.resemblance(
        target,
        accuracies[1:],
        (int(member.sum()), int((~member).sum())),
        (inside.sum(axis=1).mean(), (~inside).sum(axis=1).mean()),
    )
    names = [str(model) for model in range(len(inside))]
    independence = controls.independence(inside, member, names)
    every = np.ones(len(member), dtype=bool)
    found = contradiction.contradicted(correct, trained, every)
    said = {
        "resemblance": resemblance is not None and resemblance.passed is False,
        "independence": independence is not None and not independence.passed,
        "contradicted": contradiction.is_notable(found),
    }
    return [name for name, is_said in said.items() if is_said]


def aucs(
    attacks: tuple[str, ...],
    logits: Floats,
    label: NDArray[np.int32],
    member: NDArray[np.bool_],
    inside: NDArray[np.bool_],
) -> list[float]:
    """Return the attacks' AUCs on the records that they may not learn from.

    Args:
        attacks: names of the catalogue.
        logits: (n_models, n_records, n_views, n_classes), the target's first.
        label: (n_records,).
        member: (n_records,) of the target.
        inside: (n_references, n_records) which records a reference was trained on.
    """
    every = np.ones(len(label), dtype=bool)
    margin = np.stack([views.plain(model, label) for model in logits])
    # Only the amortised attack reads them.
    corrected = margin
    if "amortised" in attacks:
        corrected = np.stack([views.recalibrated(model, label) for model in logits])
    evaluation = selection.eval_side(member, label, 0.5, 1)
    kept = np.ones_like(inside)
    if coverage.reveals(inside, member):
        kept = coverage.balanced(inside, 1)
    view = View(
        logits=logits[0],
        margin=margin[0],
        recalibrated=corrected[0],
        label=label,
        audited=every,
        division=withholding(every, evaluation, member),
        references=margin[1:],
        references_recalibrated=corrected[1:],
        in_models=inside,
        kept=kept,
        evidence=evidence(margin[1:], inside & kept, ~inside & kept),
        seed=1,
    )
    scores = [roster.score(attack, view).score for attack in attacks]
    return [metrics.auc(score[evaluation], member[evaluation]) for score in scores]


class Noticed(NamedTuple):
    """What became of audits that were corrupted in one way."""

    outcomes: list[Outcome]
    strengths: list[float]
    changes: list[float | None]  # of RMIA's AUC by the corruption; None: it did not run

    def share(self, *fates: Fate) -> float:
        """Return the share of the audits with one of these fates."""
        return float(np.mean([each.fate in fates for each in self.outcomes]))

    def change(self) -> float | None:
        """Return the median change of the AUC where nothing was noticed."""
        changes = [
            change
            for change, each in zip(self.changes, self.outcomes, strict=True)
            if each.fate == "silent" and change is not None
        ]
        return float(np.median(changes)) if changes else None


def noticed(
    corruption: Callable[[np.random.Generator, Audit], Corrupted],
    n_draws: int,
    seed: int,
    folder: Path,
) -> Noticed:
    """Corrupt sound audits of all recipes in turn, and see what becomes of them."""
    outcomes, strengths, changes = [], [], []
    for draw, rng in enumerate(np.random.default_rng(seed).spawn(n_draws)):
        audit = drawn(rng, RECIPES[draw % len(RECIPES)])
        corrupted, strength = corruption(rng, audit)
        result = outcome(corrupted, folder)
        change = None
        if result.fate == "silent" and result.auc is not None:
            before = outcome(audit, folder).auc
            change = None if before is None else result.auc - before
        outcomes.append(result)
        strengths.append(strength)
        changes.append(change)
    return Noticed(outcomes, strengths, changes)


def mismatched(
    recipe: Recipe,
    of_references: Recipe,
    attacks: tuple[str, ...],
    n_draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return (n_draws, n_attacks) AUCs with references of another recipe."""
    rows = []
    for rng in np.random.default_rng(seed).spawn(n_draws):
        audit = drawn(rng, recipe, of_references)
        member = audit.member
        rows.append(
            aucs(attacks, audit.logits[:, :, None], audit.label, member[0], member[1:])
        )
    return np.array(rows)
