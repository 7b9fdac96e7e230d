"""View: all that an attack may look at."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import actors, catalogue, sample
from pipeline.attacks.division import Division
from pipeline.attacks.evidence import Evidence, blocks
from pipeline.attacks.moments import Moments, along, mean_axis
from pipeline.signals.margins import UNLABELLED
from pipeline.signals.stored import Stored
from pipeline.statistics.units import Units

Quantity = TypeVar("Quantity")


class Scored(NamedTuple):
    """What an attack says of each record."""

    score: NDArray[np.float64]  # (n_records,) higher for a likelier member
    # (n_records,) what it means, in [0, 1], where it means something.
    reading: NDArray[np.float64] | None = None
    informed: bool = False  # it saw memberships of attack-train


@dataclass(frozen=True)
class View:
    """The signals of the audited records and of the population, and a division."""

    # (n_records, n_views, n_classes) the target's; no classes where margins alone are
    # known
    logits: Stored
    margin: NDArray[np.floating[Any]]  # (n_records, n_views) the target's, nats
    recalibrated: NDArray[np.floating[Any]]  # (n_records, n_views) logits corrected
    label: NDArray[np.integer[Any]]  # (n_records,) or UNLABELLED for all
    audited: NDArray[np.bool_]  # (n_records,) the others are a population
    division: Division | None  # None: memberships of the target are withheld
    references: Stored  # (n_models, n_records, n_views) margins
    # (n_models, n_records, n_views) the same of the corrected logits; no models unless
    # an attack runs that reads them
    references_recalibrated: Stored
    in_models: NDArray[np.bool_]  # (n_models, n_records) trained on a record
    kept: NDArray[np.bool_]  # (n_models, n_records) counts there: `coverage.balanced`
    evidence: Evidence  # of the references that are kept
    seed: int
    jobs: int = 1  # worker processes
    # (n_records,) the same for records of one unit; None: each stands for itself
    unit: Units = None
    max_fit: int = catalogue.MAX_FIT  # records that attacks are fitted to, at most
    _shared: dict[Callable[["View"], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def attack_train(self) -> NDArray[np.bool_]:
        """(n_records,) records whose membership may be used.

        Raises:
            RuntimeError: if memberships are withheld.
        """
        return self.disclosed.attack_train

    @property
    def member(self) -> NDArray[np.bool_]:
        """(n_records,) memberships; outside attack-train they are not looked at.

        Raises:
            RuntimeError: if memberships are withheld.
        """
        return self.disclosed.member

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """(n_records,) records of attack-train that learned attacks are fitted to.

        Raises:
            RuntimeError: if memberships are withheld.
        """
        train, member = self.attack_train, self.member
        sides = train & member, train & ~member
        return sample.drawn(sides, self.max_fit, self.seed, "attack.fitted", self.unit)

    @property
    def disclosed(self) -> Division:
        """The division, where there is one.

        Raises:
            RuntimeError: if memberships are withheld.
        """
        if self.division is None:
            msg = "memberships are withheld: the catalogue has it as not informed"
            raise RuntimeError(msg)
        return self.division

    @property
    def withheld(self) -> "View":
        """The same without any membership of the target."""
        return self if self.division is None else self.divided(None)

    def divided(self, division: Division | None) -> "View":
        """Return the same with another division, or with none.

        What is shared stays, since it depends on no division.
        """
        other = replace(self, division=division)
        object.__setattr__(other, "_shared", self._shared)
        return other

    def shared(self, quantity: Callable[["View"], Quantity]) -> Quantity:
        """Return a quantity that several attacks use, computed once.

        Args:
            quantity: a function of a view; it is called without memberships.
        """
        if quantity not in self._shared:
            self._shared[quantity] = quantity(self.withheld)
        value: Quantity = self._shared[quantity]
        return value

    def by_logits(
        self,
        function: Callable[
            [NDArray[np.floating[Any]], NDArray[np.integer[Any]]], NDArray[Any]
        ],
    ) -> NDArray[Any]:
        """Return what a function says of the first view's logits, block by block.

        Args:
            function: of (n_rows, n_classes) logits and (n_rows,) labels; of each record
                by itself.
        """
        parts = [
            function(self.logits[rows, 0], self.label[rows])
            for rows in blocks(len(self.label), self.logits.shape[2])
        ]
        return np.concatenate(parts)

    @property
    def unknown(self) -> frozenset[catalogue.Part]:
        """What is not known of the target."""
        return unknown(self.logits, self.label)

    @property
    def phi(self) -> NDArray[np.float64]:
        """(n_records, 1) margins, averaged over the views."""
        return np.asarray(self.margin, dtype=np.float64) @ self._mean

    @property
    def population(self) -> NDArray[np.bool_]:
        """(n_records,) the records not audited or, without any, known non-members.

        Raises:
            RuntimeError: if all records are audited and memberships are withheld.
        """
        if lacks_population(self):
            return self.attack_train & ~self.member
        return ~self.audited

    @property
    def out_models(self) -> NDArray[np.bool_]:
        """(n_models, n_records) references that count and are not trained on it."""
        return ~self.in_models & self.kept

    @property
    def sides(self) -> tuple[Moments, Moments]:
        """IN and OUT moments of the margins averaged over the views."""
        in_side, out_side = self.evidence.in_side, self.evidence.out_side
        return along(in_side.margin, self._mean), along(out_side.margin, self._mean)

    @property
    def _mean(self) -> NDArray[np.float64]:
        return mean_axis(self.margin.shape[1])


def unknown(
    logits: Stored, label: NDArray[np.integer[Any]]
) -> frozenset[catalogue.Part]:
    """Return what signals made elsewhere come without.

    Args:
        logits: (n_records, n_views, n_classes) of the target.
        label: (n_records,).
    """
    parts: dict[catalogue.Part, bool] = {
        "logits": not logits.shape[2],
        "labels": bool((label == UNLABELLED).all()),
    }
    return frozenset(part for part, is_unknown in parts.items() if is_unknown)


def lacks_population(view: View) -> bool:
    """Return whether known non-members must take the place of a population."""
    return bool(view.audited.all())


def can_play(view: View) -> bool:
    """Return whether the references can attack one another."""
    return view.shared(_can_play)


def _can_play(view: View) -> bool:
    return actors.can_play(view.in_models, view.kept)
