from dataclasses import replace

import numpy as np
import pytest

from pipeline.attacks.view import View
from tests.views import drawn


def test_memberships_that_are_withheld_cannot_be_read() -> None:
    view = drawn().withheld
    assert view.withheld is view
    for name in ("attack_train", "member", "population"):
        with pytest.raises(RuntimeError, match="memberships are withheld"):
            getattr(view, name)


def test_a_population_needs_no_membership() -> None:
    view = drawn(population=50)
    assert np.array_equal(view.population, ~view.audited)
    assert np.array_equal(view.withheld.population, ~view.audited)


def test_without_a_population_known_non_members_take_its_place() -> None:
    view = drawn()
    assert np.array_equal(view.population, view.attack_train & ~view.member)


def test_a_shared_quantity_is_computed_once_and_without_memberships() -> None:
    seen: list[View] = []

    def quantity(view: View) -> int:
        seen.append(view)
        return len(seen)

    view = drawn()
    assert [view.shared(quantity), view.shared(quantity)] == [1, 1]
    assert view.withheld.shared(quantity) == 1
    assert seen[0].division is None
    assert view.division is not None
    assert view.divided(view.division).shared(quantity) == 1
    # Other signals may have another.
    assert replace(view, seed=2).shared(quantity) == 2


def test_references_that_do_not_count_are_no_out_models() -> None:
    view = drawn()
    kept = np.arange(6)[:, None] < 4 * np.ones((1, 200))
    view = replace(view, kept=kept)
    assert np.array_equal(view.out_models, kept & ~view.in_models)
