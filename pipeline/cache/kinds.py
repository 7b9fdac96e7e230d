"""Kinds: the arrays of the files between the stages, kept as HDF5.

artifacts/README.md tells the formats.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import units
from pipeline.statistics.units import Units


@dataclass(frozen=True)
class Records:
    """The audited records and the population, in ascending order of id."""

    id: NDArray[np.int64]  # (n_records,) position in the source
    # (n_records,) class the target is asked for; of all -1 where that is unknown
    label: NDArray[np.int32]
    member: NDArray[np.bool_]  # (n_records,) whether the target was trained on it
    population: NDArray[np.bool_]  # (n_records,) never audited, never a member
    canary: NDArray[np.bool_]  # (n_records,) whether its label was changed
    # (n_records,) hash of its input, of arrays of its outputs; empty if unknown. No two
    # records are equal.
    content: NDArray[np.bytes_]
    duplicates_dropped: NDArray[np.int64]  # () non-members that equalled a member
    copies_dropped: NDArray[np.int64]  # () records that equalled another of their side
    # (n_copies, 2) id of each record of the source that is not here and equals one that
    # is, and the id of the latter
    copies: NDArray[np.int64]
    n_classes: NDArray[np.int64]  # () classes the labels come from
    n_source: NDArray[np.int64]  # () records of the source, audited or not
    # (n_records,) unit of each, a row of what follows; empty where none are told
    unit: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    # (n_units,) the user's ids as text
    unit_id: NDArray[np.bytes_] = field(default_factory=lambda: np.empty(0, "S1"))
    # (n_units,) whether the target was trained on a record of it, audited or not
    unit_member: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))

    @property
    def nonmember(self) -> NDArray[np.bool_]:
        """(n_records,) whether it is audited as a non-member."""
        return ~self.member & ~self.population

    @property
    def on_both_sides(self) -> NDArray[np.int64]:
        """(n_both,) units of audited non-members that the target was trained on."""
        of_nonmembers = np.unique(self.unit[self.nonmember]) if len(self.unit) else []
        return np.array([u for u in of_nonmembers if self.unit_member[u]], np.int64)

    @property
    def shared_unit(self) -> Units:
        """(n_records,) their units; None without any, or if each has its own."""
        return units.shared(self.unit) if len(self.unit) else None


@dataclass(frozen=True)
class Split:
    """The two sides of the attack, drawn once or several times."""

    id: NDArray[np.int64]  # (n_audited,) ascending
    # (n_draws, n_audited) on the attack-eval side; the first draw is the audit's.
    evaluation: NDArray[np.bool_]


@dataclass(frozen=True)
class References:
    """Which audited records each reference was trained on."""

    id: NDArray[np.int64]  # (n_records,)
    member: NDArray[np.bool_]  # (n_references, n_records)


@dataclass(frozen=True)
class Shard:
    """The target's signals on a block of audited records."""

    id: NDArray[np.int64]  # (n_rows,)
    label: NDArray[np.int32]  # (n_rows,)
    # (n_rows, n_views, n_classes); no classes where margins alone are known
    logits: NDArray[np.floating[Any]]
    margin: NDArray[np.floating[Any]]  # (n_rows, n_views) nats


@dataclass(frozen=True)
class ReferenceShard:
    """A reference's signals on a block of audited records; its logits are not kept."""

    id: NDArray[np.int64]  # (n_rows,)
    margin: NDArray[np.floating[Any]]  # (n_rows, n_views) nats
    recalibrated: NDArray[np.float32]  # (n_rows, n_views) margin, logits corrected
    correct: NDArray[np.bool_]  # (n_rows,) its first view is put into the true class


@dataclass(frozen=True)
class Scores:
    """What the attacks say of the audited records."""

    id: NDArray[np.int64]  # (n_records,)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,)
    evaluation: NDArray[np.bool_]  # (n_records,) on the attack-eval side
    correct: NDArray[np.bool_]  # (n_records,) the target puts it into its class
    loss: NDArray[np.float64]  # (n_records,) the target's, nats
    # (n_records,) probability that the target gives to the class it puts it into; NaN
    # where only margins are known
    confidence: NDArray[np.float64]
    # (n_records,) that the target knows it no better than models not trained on it;
    # NaN without such models.
    p_value: NDArray[np.float64]
    method: NDArray[np.bytes_]  # (n_methods,)
    score: NDArray[np.float64]  # (n_methods, n_records) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_methods, n_records) taken for a member
    # What scores mean, in [0, 1], of attacks whose scores mean something: a p-value, or
    # RMIA's share.
    reading_method: NDArray[np.bytes_]  # (n_readings,)
    reading: NDArray[np.float64]  # (n_readings, n_records)
    # What some attacks say by fewer references, in points: attack and number.
    growth_method: NDArray[np.bytes_]  # (n_points,)
    growth_references: NDArray[np.int64]  # (n_points,)
    # (n_points, n_eval) of the records on the attack-eval side alone
    growth_score: NDArray[np.float64]


@dataclass(frozen=True)
class AttackScores:
    """What one attack says of all records."""

    score: NDArray[np.float64]  # (n_records,) higher for a likelier member
    reading: NDArray[np.float64]  # (n_records,) what it means; (0,) if nothing
    informed: NDArray[np.bool_]  # (1,) it saw memberships of attack-train
