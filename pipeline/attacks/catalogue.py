"""Catalogue: every attack that is not learned, in one table.

To add an attack, write a function from `view.View` to `view.Scored` in a module of this
folder, and add its entry to `ATTACKS`. The function is named by text and imported when
the attack runs: the config reads this table, and must stay light to import.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Sides = Literal["IN and OUT", "OUT", "IN or OUT"]
# What signals made elsewhere may come without.
Part = Literal["logits", "labels"]


class Needs(NamedTuple):
    """Which references some record must have."""

    sides: Sides
    n_models: int = 1  # on each of these sides


@dataclass(frozen=True)
class Entry:
    """An attack."""

    family: str
    function: str  # "module:function", of a module in this folder
    needs: Needs | None = None  # None: no references
    # Whether it may see memberships of attack-train; or "module:function" that decides
    # it from a view without them.
    informed: bool | str = False
    costly: bool = False  # takes long enough for its scores to be kept
    recalibrated: bool = False  # reads the references' recalibrated margins
    reads: tuple[Part, ...] = ()  # of the target, besides its margins


LOGITS: tuple[Part, ...] = ("logits",)
LABELS: tuple[Part, ...] = ("labels",)
BOTH, OUT, EITHER = Needs("IN and OUT"), Needs("OUT"), Needs("IN or OUT")
# Without a population, known non-members take its place.
NO_POPULATION = "view:lacks_population"

ATTACKS = {
    # Scores of the target alone, compared with one threshold for all records.
    "loss": Entry("threshold", "thresholds:score_loss"),
    "confidence": Entry("threshold", "thresholds:score_confidence"),
    "margin": Entry("threshold", "thresholds:score_margin"),
    "entropy": Entry("threshold", "thresholds:score_entropy", reads=LOGITS),
    "modified_entropy": Entry(
        "threshold", "thresholds:score_modified_entropy", reads=LOGITS
    ),
    "correctness": Entry("threshold", "thresholds:score_correctness", reads=LOGITS),
    # The same with a threshold for each class.
    "loss_per_class": Entry(
        "threshold", "thresholds:score_loss_per_class", informed=True, reads=LABELS
    ),
    "confidence_per_class": Entry(
        "threshold",
        "thresholds:score_confidence_per_class",
        informed=True,
        reads=LABELS,
    ),
    "margin_per_class": Entry(
        "threshold", "thresholds:score_margin_per_class", informed=True, reads=LABELS
    ),
    "entropy_per_class": Entry(
        "threshold",
        "thresholds:score_entropy_per_class",
        informed=True,
        reads=(*LOGITS, *LABELS),
    ),
    "modified_entropy_per_class": Entry(
        "threshold",
        "thresholds:score_modified_entropy_per_class",
        informed=True,
        reads=(*LOGITS, *LABELS),
    ),
    "attack_p": Entry("population", "percentiles:score_p", informed=NO_POPULATION),
    "lira_online": Entry("reference", "lira:score_online", BOTH),
    "lira_online_fixed": Entry("reference", "lira:score_online_fixed", BOTH),
    "lira_online_joint": Entry("reference", "lira:score_online_joint", BOTH),
    "lira_online_bayes": Entry(
        "reference", "lira:score_online_bayes", Needs("IN and OUT", 2)
    ),
    "lira_online_hierarchical": Entry("reference", "lira:score_hierarchical", BOTH),
    "lira_offline": Entry("reference", "lira:score_offline", OUT),
    "lira_offline_fixed": Entry("reference", "lira:score_offline_fixed", OUT),
    "lira_offline_bayes": Entry("reference", "lira:score_offline_bayes", OUT),
    "lira_offline_two_sided": Entry("reference", "lira:score_offline_two_sided", OUT),
    "rmia_online": Entry(
        "reference", "rmia:score_online", EITHER, informed=NO_POPULATION
    ),
    "rmia_offline": Entry(
        "reference", "rmia:score_offline", OUT, informed=NO_POPULATION
    ),
    "attack_r": Entry("reference", "percentiles:score_r", OUT),
    "difficulty": Entry("reference", "difficulty:score", OUT),
    "qmia": Entry(
        "quantile", "quantile:score", informed=True, costly=True, reads=LOGITS
    ),
    "amortised": Entry(
        "amortised",
        "amortised:score",
        informed="amortised:needs_labels",
        costly=True,
        recalibrated=True,
    ),
}
# Their scores have a slope to be tuned.
RMIA = ("rmia_online", "rmia_offline")
# Chosen among all on attack-train: the favourite, unless it is clearly beaten there.
STRONGEST = "strongest"
FAVOURITE = "amortised"
# Records that attacks are fitted to, at most, unless the config says otherwise: more
# hardly improve a fit, and take time and room.
MAX_FIT = 50_000

# The features of a learned attack, besides the scores of the attacks above.
TUTORIAL = ("loss", "logits")
COLUMNS: dict[str, Needs | None] = {
    **dict.fromkeys((*TUTORIAL, "sorted", "margin", "views")),
    "references": EITHER,
}


def names() -> tuple[str, ...]:
    """Return the attacks, in the order of the report."""
    return tuple(ATTACKS)


def features() -> tuple[str, ...]:
    """Return the features that a learned attack can have."""
    return (*COLUMNS, *(name for name in ATTACKS if name not in COLUMNS))


def needs(name: str) -> Needs | None:
    """Return which references an attack or a feature needs; None if it needs none."""
    return ATTACKS[name].needs if name in ATTACKS else COLUMNS[name]


def reads(name: str) -> tuple[Part, ...]:
    """Return what an attack or a feature reads of the target besides its margins."""
    if name in ATTACKS:
        return ATTACKS[name].reads
    return LOGITS if name in ("logits", "sorted") else ()


def family_of(name: str) -> str:
    """Return the family of an attack that is not learned."""
    return ATTACKS[name].family
