import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from pipeline.cache import documents, keys, summaries
from pipeline.errors import AuditError
from pipeline.record import Record

FIX = "run `make target`"
ORIGIN = {"device": "CPU", "mindspore": "2.10.0"}


class Weather(Record):
    """A record of every kind of field that documents have."""

    place: str
    rain: tuple[float, ...]
    wind: float | None = None
    inner: dict[str, summaries.Accuracies] = Field(default_factory=dict)


WEATHER = Weather(
    place="½",
    rain=(1.0, 0.1, 1e-300),
    inner={"a": summaries.Accuracies(train_accuracy=1.0, test_accuracy=None)},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    documents.write(path, WEATHER, key="k", origin=ORIGIN)
    return path


def refusal(path: Path, key: str = "k") -> str:
    """Return the problem that a reader finds, the fix checked."""
    with pytest.raises(AuditError) as caught:
        documents.read(path, Weather, key=key, fix=FIX)
    where, problem, fix = caught.value.args
    assert (where, fix) == (path, FIX)
    return str(problem)


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    assert documents.read(path, Weather, key="k", fix=FIX) == WEATHER


def test_a_record_comes_back_with_what_it_ran_on(path: Path) -> None:
    record, origin = documents.read_with_origin(path, Weather, key="k", fix=FIX)
    assert (record, origin) == (WEATHER, ORIGIN)


def test_equal_records_give_equal_bytes(path: Path) -> None:
    other = path.with_name("other.json")
    documents.write(other, WEATHER, key="k", origin=ORIGIN)
    assert other.read_bytes() == path.read_bytes()


def test_a_document_made_from_other_inputs_is_refused(path: Path) -> None:
    documents.write(path, WEATHER, key="0123456789abcdef")
    expected = "was made from other inputs (01234567, not fedcba98)"
    assert refusal(path, key="fedcba9876543210") == expected


def test_a_missing_document_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json") == "is missing"


@pytest.mark.parametrize(
    "content",
    [b"", b'{"key": "k"', b"[1, 2]", b'"key"', b"{}", b"null", b"\xff\xfe", b"\x00"],
    ids=repr,
)
def test_a_document_that_is_cut_short_or_foreign_is_refused(
    content: bytes, path: Path
) -> None:
    path.write_bytes(content)
    assert refusal(path) == "is corrupt"


def test_a_document_that_holds_its_key_alone_is_refused(path: Path) -> None:
    path.write_text('{"key": "k"}')
    assert refusal(path) == "is corrupt"
    alone: dict[str, Any] = {"key": "k", "origin": {}}
    path.write_text(json.dumps({**alone, "sha256": keys.digest(alone)}))
    assert refusal(path) == "is corrupt"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("1.0,", "1.1,"),
        ("null", "0.5"),
        ("CPU", "GPU"),
        ('"k"', '"l"'),
        ('"place"', '"plac"'),
    ],
)
def test_any_changed_character_is_noticed(old: str, new: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert refusal(path) == "is corrupt"


def test_a_document_of_another_record_is_refused(path: Path) -> None:
    with pytest.raises(AuditError, match="is corrupt"):
        documents.read(path, summaries.Checkpoint, key="k", fix=FIX)


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    record = Weather.model_construct(place="", rain=(float("inf"),), inner={})
    with pytest.raises(ValueError, match="not JSON compliant"):
        documents.write(tmp_path / "a.json", record, key="k")
    assert not (tmp_path / "a.json").exists()
