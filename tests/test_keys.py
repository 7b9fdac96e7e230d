from dataclasses import replace
from typing import Any

import pytest

from pipeline.cache import keys

SETTINGS = {"features": {"precision": "float32", "batch_size": 32}}
INPUTS = {"records": "r", "model": "m"}


def key(kind: str = "outputs", **more: Any) -> str:
    given: dict[str, Any] = {"settings": SETTINGS, "inputs": INPUTS, "device": "CPU"}
    return keys.key(kind, **{**given, **more})


def test_equal_content_has_one_key_whatever_its_order() -> None:
    turned = {"model": "m", "records": "r"}
    assert key(inputs=turned) == key()
    assert len(key()) == 64


@pytest.mark.parametrize(
    "more",
    [
        {"settings": {"features": {"precision": "float16", "batch_size": 32}}},
        {"inputs": {"records": "r", "model": "other"}},
        {"device": "Ascend"},
        {"device": None},
        {"kind": "signals"},
    ],
    ids=str,
)
def test_whatever_decides_a_number_is_in_its_key(more: dict[str, Any]) -> None:
    assert key(**more) != key()


@pytest.mark.parametrize("kind", keys.KINDS)
def test_the_version_of_a_kind_is_in_its_keys_and_in_no_other(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: key(name) for name in keys.KINDS}
    raised = replace(keys.KINDS[kind], version=keys.KINDS[kind].version + 1)
    monkeypatch.setitem(keys.KINDS, kind, raised)
    after = {name: key(name) for name in keys.KINDS}
    assert [name for name in keys.KINDS if before[name] != after[name]] == [kind]


@pytest.mark.parametrize(
    ("library", "changed"),
    [
        ("mindspore", {*keys.KINDS}),  # as a device is named
        ("scikit-learn", {"blind", "attack", "report", "fit", "accelerated"}),
        ("scikit-learn-intelex", {"attack", "accelerated"}),
        (
            "scipy",
            {"blind", "attack", "report", "page", "signals", "fit", "accelerated"},
        ),
    ],
)
def test_the_version_of_a_library_is_in_the_keys_of_what_it_computes(
    library: str, changed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: key(name) for name in keys.KINDS}
    real = keys.installed
    monkeypatch.setattr(
        keys, "installed", lambda name: "9.9" if name == library else real(name)
    )
    after = {name: key(name) for name in keys.KINDS}
    assert {name for name in keys.KINDS if before[name] != after[name]} == changed


def test_what_needs_no_device_does_not_depend_on_mindspore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key(device=None)
    real = keys.installed
    monkeypatch.setattr(
        keys, "installed", lambda name: "9.9" if name == "mindspore" else real(name)
    )
    assert key(device=None) == before


def test_the_origin_names_device_and_libraries() -> None:
    origin = keys.origin("outputs", "CPU")
    assert [*origin] == ["device", "mindspore", "numpy"]
    assert origin["device"] == "CPU"
    assert origin["numpy"] == keys.installed("numpy")


def test_a_library_that_is_absent_is_said_to_be() -> None:
    assert keys.installed("no-such-library") == "absent"
