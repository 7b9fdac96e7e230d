import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cache import files
from pipeline.errors import AuditError

PROJECT = Path(__file__).parents[1]

# A limit on the size of files makes the kernel refuse to write on, as a full disk does.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from pipeline.cache import files
from pipeline.errors import AuditError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    files.write_json(Path(sys.argv[1]), {"key": "a" * 5000})
except AuditError as error:
    print(error)
"""


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text.txt"
    files.write_text(path, "½\n")
    assert path.read_text(encoding="utf-8") == "½\n"


def test_a_file_that_is_replaced_has_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    files.write_text(path, "old and longer")
    files.write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"


def test_a_crash_in_mid_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "text.txt"
    files.write_text(path, "old")

    def crash() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert os.listdir(tmp_path) == ["text.txt"]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    files.write_text(path, "old")
    with path.open(encoding="utf-8") as reader:
        files.write_text(path, "new")
        assert reader.read() == "old"


def test_nothing_has_the_real_name_before_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not path.exists()
        assert temporary.parent == tmp_path
    assert os.listdir(tmp_path) == ["text.txt"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    with files.replacing(path) as one, files.replacing(path) as other:
        one.write_text("one", encoding="utf-8")
        other.write_text("other", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "one"  # it was the last to finish
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_full_disk_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"{path}: cannot be written (File too large). Fix: free some space, or make "
        "the folder writable, and run make again.\n"
    )
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = tmp_path / "file" / "folder" / "text.txt"
    with pytest.raises(AuditError) as caught:
        files.write_text(path, "")
    assert str(caught.value) == (
        f"{path}: cannot be written (Not a directory). Fix: free some space, or make "
        "the folder writable, and run make again."
    )


def test_json_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": [1, None, 0.1], "a": {"x": "½"}})
    assert [*json.loads((tmp_path / "a.json").read_text())] == ["b", "a"]


def test_json_holds_no_number_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


# The last is longer than what is read at once.
@pytest.mark.parametrize("content", [b"", b"abc", b"\x01\x02\x03" * 700_000])
def test_the_digest_of_a_file_is_that_of_its_content(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert files.sha256(path) == hashlib.sha256(content).hexdigest()


def test_the_digest_of_abc_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert files.sha256(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
