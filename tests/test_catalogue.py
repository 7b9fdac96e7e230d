import inspect

import pytest

from pipeline.attacks import catalogue, roster
from pipeline.attacks.view import View


@pytest.mark.parametrize("name", catalogue.names())
def test_every_entry_names_functions_of_a_view(name: str) -> None:
    entry = catalogue.ATTACKS[name]
    paths = [entry.function]
    if isinstance(entry.informed, str):
        paths.append(entry.informed)
    for path in paths:
        function = roster._function(path)
        assert [*inspect.get_annotations(function)] == ["view", "return"]
        assert inspect.get_annotations(function)["view"] is View


def test_features_are_columns_and_attacks_each_once() -> None:
    features = catalogue.features()
    assert {*features} == {*catalogue.COLUMNS, *catalogue.names()}
    assert len({*features}) == len(features)


def test_the_favourite_is_an_attack() -> None:
    assert catalogue.FAVOURITE in catalogue.names()
    assert {*catalogue.RMIA} < {*catalogue.names()}
