"""How many corrupted audits are noticed, and how few sound ones."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import simulations_corruptions as simulations
from tests.simulations_corruptions import RECIPES, Noticed, Recipe

pytestmark = pytest.mark.simulation

Tell = Callable[[str, str], None]

# Inputs in which nothing is wrong, though not all of them are usual.
SOUND = (
    simulations.sound,
    simulations.log_probabilities,
    simulations.softened,
    simulations.a_softened_reference,
    simulations.a_weak_reference,
)
# What is noticed whatever the models are.
ALWAYS = {
    simulations.probabilities: "refused",
    simulations.rounded_probabilities: "refused",
    simulations.a_reference_of_probabilities: "refused",
    simulations.decisions: "refused",
    simulations.negative_log_probabilities: "refused",
    simulations.nan_in_a_model: "refused",
    simulations.a_constant_model: "refused",
    simulations.the_target_among_the_references: "refused",
    simulations.the_rounded_target_among_them: "said",
    simulations.the_targets_memberships_among_them: "said",
    simulations.the_targets_twin_among_them: "said",
    simulations.copies_within_a_side: "dropped",
    simulations.copies_across_the_sides: "dropped",
    simulations.all_labels_permuted: "no verdict",
}
# Noticed but where the models hardly know their records: the share at least.
MOSTLY = {
    simulations.classes_renumbered: 0.9,
    simulations.classes_of_a_reference_renumbered: 0.7,
    simulations.negative_logits: 0.9,
    simulations.all_sides_exchanged: 0.7,
    simulations.two_rows_exchanged: 0.6,
    simulations.rows_in_the_order_of_strings: 0.6,
    simulations.rows_shifted_by_one: 0.6,
    simulations.one_foreign_row: 0.4,
    simulations.references_of_another_recipe: 0.4,
}
SILENTLY = [
    corruption
    for corruption in simulations.CORRUPTIONS
    if corruption not in {*SOUND, *ALWAYS, *MOSTLY}
]


def name(corruption: object) -> str:
    return str(getattr(corruption, "__name__", corruption)).replace("_", " ")


def told(title: str, noticed: Noticed, tell: Tell) -> None:
    """Note the shares of what became of the audits, and by which checks."""
    shares = Counter(
        f"{each.fate} ({each.by.split(':')[0]})" if each.by else each.fate
        for each in noticed.outcomes
    )
    n = len(noticed.outcomes)
    parts = [f"{fate} {count / n:.3f}" for fate, count in shares.most_common(5)]
    if (change := noticed.change()) is not None:
        parts.append(f"AUC where silent {change:+.3f}")
    tell(f"{title}, {n} audits", "; ".join(parts))


@pytest.fixture
def n_audits(n_costly_draws: int) -> int:
    return max(len(RECIPES), n_costly_draws // 5)


@pytest.mark.parametrize("corruption", SOUND, ids=name)
def test_sound_audits_are_neither_refused_nor_left_without_a_verdict(
    corruption: Callable[..., simulations.Corrupted],
    n_audits: int,
    tmp_path: Path,
    tell: Tell,
) -> None:
    # In a soak a thousand of the plain ones.
    n = n_audits * 10 if corruption is simulations.sound and n_audits > 50 else n_audits
    noticed = simulations.noticed(corruption, n, 1, tmp_path)
    told(name(corruption), noticed, tell)
    assert noticed.share("refused", "no verdict") <= 0.005


@pytest.mark.parametrize("corruption", ALWAYS, ids=name)
def test_what_no_sound_audit_shows_is_always_noticed(
    corruption: Callable[..., simulations.Corrupted],
    n_audits: int,
    tmp_path: Path,
    tell: Tell,
) -> None:
    noticed = simulations.noticed(corruption, n_audits, 2, tmp_path)
    told(name(corruption), noticed, tell)
    assert noticed.share(ALWAYS[corruption]) >= 0.98  # type: ignore[arg-type]
    assert noticed.share("silent") == 0


@pytest.mark.parametrize("corruption", MOSTLY, ids=name)
def test_what_models_that_know_their_records_show_is_mostly_noticed(
    corruption: Callable[..., simulations.Corrupted],
    n_audits: int,
    tmp_path: Path,
    tell: Tell,
) -> None:
    noticed = simulations.noticed(corruption, n_audits, 3, tmp_path)
    told(name(corruption), noticed, tell)
    assert 1 - noticed.share("silent") >= MOSTLY[corruption]


@pytest.mark.parametrize("corruption", SILENTLY, ids=name)
def test_corruption_of_a_part_of_the_records_is_noticed_if_it_is_large(
    corruption: Callable[..., simulations.Corrupted],
    n_audits: int,
    tmp_path: Path,
    tell: Tell,
) -> None:
    noticed = simulations.noticed(corruption, n_audits, 4, tmp_path)
    told(name(corruption), noticed, tell)
    assert noticed.share("silent") < 1


# Of ten classes: about .90, .75, .68 and .60 of members right, and .60 of others.
MUCH, SOME, LITTLE, NOTHING = (
    Recipe(10, 1000, 8, 2.31, memory) for memory in (2.12, 0.85, 0.42, 0.0)
)
DULL = Recipe(10, 1000, 8, 1.8, 0.51)  # about .60 and .50
MISMATCHES = {
    "much, as much": (MUCH, MUCH),
    "much, some": (MUCH, SOME),
    "much, little": (MUCH, LITTLE),
    "much, little and of fewer classes": (MUCH, DULL),
    "little, as little": (LITTLE, LITTLE),
    "little, much": (LITTLE, MUCH),
    "nothing, much": (NOTHING, MUCH),
}
ATTACKS = ("lira_online_fixed", "rmia_online", "amortised")


def test_references_of_another_recipe_blunt_lira_most(
    n_costly_draws: int, tell: Tell
) -> None:
    n = max(1, n_costly_draws // 100)
    auc = {}
    # In a soak the others too, for their figures, and the attack that takes long.
    is_soak = n > 1
    names = MISMATCHES if is_soak else ("much, as much", "much, little")
    attacks = ATTACKS if is_soak else ATTACKS[:2]
    for title in names:
        auc[title] = simulations.mismatched(*MISMATCHES[title], attacks, n, seed=5)
        shown = ", ".join(f"{value:.3f}" for value in auc[title].mean(axis=0))
        tell(f"AUC of {', '.join(attacks)}; target knows {title}, {n} audits", shown)
    lost = (auc["much, as much"] - auc["much, little"]).mean(axis=0)
    assert lost[0] > 0.05
    assert (lost[1:] < 0.03).all()
    if is_soak:
        assert np.abs(auc["nothing, much"].mean(axis=0) - 0.5).max() < 0.02
