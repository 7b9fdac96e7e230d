import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.cache import digests, files
from pipeline.cache.digests import Digests
from pipeline.errors import AuditError


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "stamps" / "digests.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_text("abc")
    return path


def at(monkeypatch: pytest.MonkeyPatch, path: Path, seconds: float) -> None:
    """Let it be so many seconds after the last change of a file."""
    state = path.stat()
    now = max(state.st_mtime, state.st_ctime) + seconds
    monkeypatch.setattr(digests.time, "time", lambda: now)


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that fills with the files whose content is read."""
    read: list[Path] = []
    real = files.sha256

    def spy(path: Path) -> str:
        read.append(path)
        return real(path)

    monkeypatch.setattr(digests.files, "sha256", spy)
    return read


def test_the_digest_of_a_file_is_that_of_its_content(memory: Path, path: Path) -> None:
    assert Digests(memory).content(path) == sha256("abc")


def test_the_digest_of_a_checkpoint_is_that_of_its_file(
    memory: Path, path: Path
) -> None:
    assert Digests(memory).checkpoint(path) == files.sha256(path)
    assert digests.checkpoint(path) == files.sha256(path)


def test_the_digest_of_an_index_changes_with_each_part(
    memory: Path, tmp_path: Path
) -> None:
    index = tmp_path / "a.json"
    table = {"a": "1.safetensors", "b": "2.safetensors"}
    index.write_text(json.dumps({"weight_map": table}))
    seen = set()
    for contents in ("00", "01", "10"):
        for file, content in zip(table.values(), contents, strict=True):
            (tmp_path / file).write_text(content)
        digest = Digests(memory).checkpoint(index)
        assert digest == digests.checkpoint(index)
        seen.add(digest)
    index.write_text(json.dumps({"weight_map": dict(reversed(table.items()))}))
    assert len({*seen, digests.checkpoint(index)}) == 4


def test_a_file_that_stays_as_it_is_is_read_once(
    memory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = hashed(monkeypatch)
    at(monkeypatch, path, 60)
    first = Digests(memory)
    first.content(path)
    first.save()
    again = Digests(memory)
    assert again.content(path) == sha256("abc")
    assert read == [path]


def test_a_changed_file_is_read_again(
    memory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, path, 60)
    known = Digests(memory)
    known.content(path)
    path.write_text("abcd")
    assert known.content(path) == sha256("abcd")


def test_a_file_that_may_change_within_the_same_tick_is_not_remembered(
    memory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coarse clock gives two changes within a second one and the same time."""
    state = path.stat()
    for seconds, is_remembered in ((0.0, False), (1.5, False), (2.5, True)):
        at(monkeypatch, path, seconds)
        known = Digests(memory)
        known.content(path)
        path.write_text("xyz")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        # As a file system would show it whose clock has not moved on.
        same = path.stat()
        shown = os.stat_result(
            [*same[:7], same.st_atime, state.st_mtime, state.st_ctime],
            {
                "st_mtime_ns": state.st_mtime_ns,
                "st_ctime_ns": state.st_ctime_ns,
            },
        )
        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", lambda *_, shown=shown, **__: shown)
            expected = "abc" if is_remembered else "xyz"
            assert known.content(path) == sha256(expected), seconds
        path.write_text("abc")
        state = path.stat()


def test_a_memory_that_was_changed_is_refused(
    memory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, path, 60)
    known = Digests(memory)
    known.content(path)
    known.save()
    text = memory.read_text()
    memory.write_text(text.replace(sha256("abc"), sha256("abd")))
    with pytest.raises(AuditError) as caught:
        Digests(memory)
    assert str(caught.value) == (
        f"{memory}: is corrupt. Fix: run `rm {memory}`; only time is lost."
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": {}}', "\x00"])
def test_a_memory_that_is_cut_short_or_foreign_is_refused(
    content: str, memory: Path
) -> None:
    memory.parent.mkdir()
    memory.write_text(content)
    with pytest.raises(AuditError, match="is corrupt"):
        Digests(memory)


def test_a_memory_is_written_only_if_it_changed(
    memory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Digests(memory).save()
    assert not memory.exists()
    at(monkeypatch, path, 60)
    known = Digests(memory)
    known.content(path)
    known.save()
    assert [*json.loads(memory.read_text())] == ["files", "sha256"]


def test_code_and_content_of_one_file_are_told_apart(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("A = 1  # one\n")
    at(monkeypatch, path, 60)
    known = Digests(memory)
    assert known.content(path) != known.code(path)
    assert known.content(path) == sha256("A = 1  # one\n")
