import numpy as np
import pytest

from pipeline.attacks import features, roster
from pipeline.errors import LacksError
from pipeline.signals import margins
from tests.views import drawn


def test_learned_features_stand_in_the_order_asked_for() -> None:
    view = drawn()
    scored = {"entropy": roster.score("entropy", view)}
    names = ("margin", "views", "sorted", "loss", "references", "entropy", "logits")
    columns = features.columns(names, view, scored)(slice(None))
    assert columns.shape == (200, 1 + 2 + 4 + 1 + 4 + 1 + 4)
    np.testing.assert_allclose(columns[:, 0], view.margin.mean(axis=1))
    np.testing.assert_allclose(columns[:, 1:3], view.margin)
    assert (np.diff(columns[:, 3:7], axis=1) <= 0).all()
    np.testing.assert_allclose(columns[:, 3:7].sum(axis=1), 1)
    np.testing.assert_allclose(columns[:, 7], margins.loss(view.margin[:, 0]))
    for place, side in ((8, view.in_models), (10, ~view.in_models)):
        for record in range(200):
            own = view.references[side[:, record], record].mean(axis=1)
            assert columns[record, place] == pytest.approx(own.mean())
            assert columns[record, place + 1] == pytest.approx(own.std())
    assert np.array_equal(columns[:, 12], scored["entropy"].score)
    assert np.array_equal(columns[:, 13:], view.logits[:, 0])


def test_a_feature_that_did_not_run_is_refused() -> None:
    with pytest.raises(LacksError, match="'qmia', which lacked what it needs"):
        features.columns(("qmia",), drawn(), {})
