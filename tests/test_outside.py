import dataclasses

import numpy as np
import pytest

from pipeline.attacks import outside, rmia, roster
from pipeline.attacks.view import View
from pipeline.errors import LacksError
from tests import views


def signals_of(view: View, rows: np.ndarray) -> outside.Signals:
    return outside.Signals(
        view.margin[rows],
        view.references[:, rows],
        view.out_models[:, rows],
        rmia.slope(view),
    )


@pytest.mark.parametrize("name", outside.ATTACKS)
def test_a_record_has_the_score_that_the_attack_of_that_name_gives_it(
    name: str,
) -> None:
    view = views.drawn()
    expected = roster.score(name, view).score
    rows = np.array([3, 150, 7])
    # Alone or beside others, whatever was learned from all of them.
    scores = outside.score(name, signals_of(view, rows))
    np.testing.assert_allclose(scores, expected[rows], rtol=1e-12)
    for row in rows:
        alone = outside.score(name, signals_of(view, np.array([row])))
        np.testing.assert_allclose(alone, expected[[row]], rtol=1e-12)


@pytest.mark.parametrize("name", ["rmia_offline", "difficulty", "attack_r"])
def test_only_references_that_count_matter(name: str) -> None:
    view = views.drawn()
    signals = signals_of(view, np.arange(20))
    changed = np.where(signals.outside[..., None], signals.references, 99.0)
    other = signals._replace(references=changed)
    assert np.array_equal(outside.score(name, signals), outside.score(name, other))


def test_memberships_of_the_target_are_not_asked_for() -> None:
    view = dataclasses.replace(views.drawn(), division=None)
    for name in outside.ATTACKS:
        outside.score(name, signals_of(view, np.arange(3)))


def test_the_best_on_attack_train_is_chosen_of_those_that_ran() -> None:
    auc = {"amortised": 0.9, "loss": 0.6, "rmia_offline": 0.7, "difficulty": 0.65}
    assert outside.chosen(auc) == "rmia_offline"
    assert outside.chosen({"loss": 0.6, "margin": 0.6}) == "margin"
    with pytest.raises(LacksError, match=r"none of rmia_offline, .* was run"):
        outside.chosen({"amortised": 0.9})
