"""A folder to start from, as `make new` makes it."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.cache import starts
from pipeline.errors import AuditError
from stages import new
from tests.conftest import Checkout
from tests.test_shell import make

# Of the attacks of the kinds that train networks, a few: the tests of arrays run all.
FEW = 'attacks = ["loss", "amortised"]'


def fill(checkout: Checkout, kind: str) -> None:
    """Make a folder of a kind in a checkout."""
    done = make(checkout.folder, "new", "NAME=mine", f"KIND={kind}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "mine/ is made, with an example in place of your data and model.",
        "Try it: make audit CONFIG=mine/mine.toml",
        "Then replace what is marked REPLACE in its files by your own.",
    ]
    texts = [path.read_text() for path in (checkout.folder / "mine").glob("*.toml")]
    assert all("REPLACE" in text for text in texts)
    assert "make audit CONFIG=mine/mine.toml" in texts[0]


@pytest.mark.parametrize("kind", ["arrays", "own", "images"])
def test_a_new_folder_of_each_kind_runs_to_a_verdict_as_it_comes(
    kind: str, checkout: Checkout
) -> None:
    fill(checkout, kind)
    config = checkout.folder / "mine" / "mine.toml"
    if kind != "arrays":
        text = config.read_text()
        assert text.count('attacks = "all"') == 1
        config.write_text(text.replace('attacks = "all"', FEW))
    done = make(checkout.folder, "audit", "CONFIG=mine/mine.toml")
    assert done.returncode == 0, done.stderr
    text = (checkout.folder / "artifacts/mine/report/report.txt").read_text()
    assert "Verdict: leaks, grade " in text
    methods = [line.split()[1] for line in text.splitlines() if "Method: " in line]
    assert methods == (["lr,", "knn,", "mlp,", "rf,"] if kind == "arrays" else [])
    assert "error" not in done.stderr


def test_a_new_folder_holds_its_templates_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = starts.config_of("deep/in/it")
    assert config == Path("deep/in/it/it.toml")
    with starts.making(config) as folder:
        starts.fill(folder, config, new.LAYERS["images"])
        (folder / "example.npy").touch()
    assert sorted(path.name for path in Path("deep/in/it").iterdir()) == [
        *("data.py", "example.npy", "example_data.py", "example_model.py"),
        *("it.toml", "network.py"),
    ]
    assert "ImageFolderDataset" in Path("deep/in/it/data.py").read_text()
    assert [*Path("deep/in").iterdir()] == [Path("deep/in/it")]


def test_a_folder_whose_example_fails_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = starts.config_of("mine")

    def make_it() -> None:
        with starts.making(config) as folder:
            program = folder / "example_data.py"
            program.write_text("raise ValueError('no data')\n")
            new.run(program)

    with pytest.raises(AuditError) as caught:
        make_it()
    assert str(caught.value) == (
        "example_data.py: failed (ValueError: no data). "
        "Fix: run `make check`, which says what this interpreter lacks."
    )
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    config = starts.config_of("file/mine")
    with pytest.raises(AuditError) as caught, starts.making(config):
        pass
    assert str(caught.value) == (
        "file/mine: cannot be written (Not a directory). "
        "Fix: free some space, or choose a folder that can be written."
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "NAME: is missing. Fix: pass NAME=mine, the folder to be made."),
        (
            "my audit",
            "NAME: the name 'my audit' is not that of an audit. Fix: use letters, "
            "digits, '.', '_' and '-', the first a letter or a digit.",
        ),
        ("there", "NAME: there exists. Fix: choose another name, or move it away."),
        (
            "x/digits",
            "NAME: artifacts/digits holds the artifacts of an audit of this name. "
            "Fix: choose another name, or move them away.",
        ),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("artifacts/digits").mkdir(parents=True)
    with pytest.raises(AuditError) as caught:
        starts.config_of(name)
    assert str(caught.value) == message


def test_a_kind_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND", "image")
    with pytest.raises(AuditError) as caught:
        new.main()
    assert str(caught.value) == "KIND: is 'image'. Fix: use images."


def test_a_name_of_the_shells_own_is_not_taken(checkout: Checkout) -> None:
    done = checkout.make("new", NAME="some-host", KIND="none")
    assert done.returncode != 0
    assert "error: NAME: is missing. Fix: pass NAME=mine" in done.stderr


def test_the_example_of_arrays_has_complementary_references() -> None:
    space: dict[str, object] = {}
    text = (starts.TEMPLATES / "arrays" / "example_signals.py").read_text()
    exec(compile(text, "example_signals.py", "exec"), space)
    halves = space["halves"]
    assert callable(halves)
    member = halves(np.random.default_rng(1))
    assert (member.sum(axis=1) == 300).all()
    assert (member[1::2] == ~member[2::2]).all()
