"""What the pages tell a reader to type, to write and to follow does what they say."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline import config
from pipeline.cache import files
from pipeline.config import Config, tomllib
from pipeline.data import sources
from tests import interpreter
from tests.conftest import PROJECT, TINY, Checkout, run_command
from tests.test_import import folder_of_lira

PAGES = (
    PROJECT / "README.md",
    PROJECT / "artifacts" / "README.md",
    *sorted((PROJECT / "docs").glob("*.md")),
)
PROGRAMS = r"make|sed|python|pip|msrun|srun|sbatch|kubectl|dask|docker|git"
COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\S*/)?(?:{PROGRAMS})(?: |$)")


class Block(NamedTuple):
    """What stands between two fences."""

    page: str
    language: str
    text: str


@cache
def blocks() -> tuple[Block, ...]:
    found = []
    fence = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for indent, language, inner in fence.findall(text):
            lines = [line.removeprefix(indent) for line in inner.splitlines()]
            name = page.relative_to(PROJECT).as_posix()
            found.append(Block(name, language, "\n".join(lines)))
    return tuple(found)


def prose(page: Path) -> str:
    """Return a page without what stands between fences."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline() -> Iterator[str]:
    """Yield whatever stands in `code` within a page's sentences."""
    for page in PAGES:
        for code in re.findall(r"`([^`]+)`", prose(page)):
            yield " ".join(code.split())


def commands() -> list[str]:
    """Return each command between fences once, its comment and brackets left out."""
    found: dict[str, None] = {}
    for block in blocks():
        if block.language not in ("", "sh"):
            continue
        for line in re.sub(r"\\\n *", "", block.text).splitlines():
            bare = re.sub(r"\s+# .*$", "", line)
            if COMMAND.match(bare):
                found[bare.replace("[", "").replace("]", "")] = None
    return [*found]


# Commands that are run, in this order, in a folder where a tiny audit stands for the
# demonstration: with what they print.
RUN = {
    "make help": "audit",
    "make audit": "Verdict: ",
    "make features": "",
    "make blind": "",
    "make plan": "as it is",
    "make status": "fresh",
    "make gate": "gate ",
    "make verify REPORT=artifacts/digits/report/report.json": "as it was made",
    "make audit CONFIG=configs/digits-early.toml": "the page is",
    "make compare A=digits B=digits-early": "same model outputs",
    "make infer RECORDS=brought": "photo.png is none",
    "make check": "MindSpore",
    "make check PYTHON=path/to/python": "MindSpore",
    "make audit PYTHON=path/to/python": "the page is",
    "make import FROM=exp NAME=theirs TARGET=experiment-3_16": "theirs/ is made",
    "make probe": "a step",
    "python -m tests.config_schema": "",
    "PYTHONPATH=path/to/membership-audit "
    "path/to/membership-audit/.venv/bin/python script.py": "MembershipInference",
    "make clean": "removed artifacts/digits/",
}
# Commands of which make only says what it would do, and why they are not run.
DRY = {
    "make test": "these tests are it",
    "make lint": "each commit is checked by it",
    "make soak": "takes an hour",
    "make setup": "installs 3 GB",
    "make bench": "takes hours",
    "make bench SIZE=tiny": "tests/test_bench.py does the same",
    "make bench ONLY=search,whole PAIRS=1": "takes a quarter of an hour",
    "make bench ONLY=search ANEW=1": "as long",
    "make bench DATA=path/to/cifar-100-binary": "takes hours",
    "make blind CONFIG=mine/mine.toml": "tests/test_starts.py runs it, in an audit",
    "make audit CONFIG=mine/mine.toml": "tests/test_starts.py runs it to a verdict",
    "make audit CONFIG=theirs/theirs.toml": "tests/test_import.py runs it to a verdict",
    "make audit CONFIG=configs/cifar100-small.toml DATA=path/to/cifar-100-binary": (
        "takes half an hour"
    ),
    "make audit CONFIG=configs/cifar100-defended.toml "
    "DATA=path/to/cifar-100-binary": "takes half an hour",
    "make compare A=cifar100-small B=cifar100-defended": "of the audits before",
    "make verify REPORT=artifacts/mine/report/report.json": "of an audit named mine",
    "make references features RANKS=2": "tests/test_ranks.py launches two ranks",
}
# Commands whose work is done by another test.
ELSEWHERE = {
    "sed 's/^epochs = 80/epochs = 10/' configs/digits.toml > "
    "configs/digits-early.toml": "test_a_twin_differs_by_what_the_page_says",
    "sed -e 's/^epochs = 25/epochs = 8/' "
    "-e 's/^weight_decay = 0.0/weight_decay = 0.001/' "
    "configs/cifar100-small.toml > configs/cifar100-defended.toml": "the same test",
    "make new NAME=mine": "tests/test_starts.py, as it trains a network",
    "pip install -e '.cluster'": "installs a package; its name is in pyproject.toml",
    "make audit SCHEDULER=tcp://host:8786": "tests/test_cluster.py, stage by stage",
    "dask scheduler": "tests/test_cluster.py starts one",
    "dask worker tcp://host:8786 --nthreads 1 --nworkers 8": "the same test, two",
    "python -m tests.golden": "tests/test_golden.py, and it would write golden.json",
}
BROKEN_LIMIT = 2  # the exit code of make gate, of a tiny audit


def test_every_command_of_the_pages_is_known() -> None:
    known = [*RUN, *DRY, *ELSEWHERE]
    assert sorted(commands()) == sorted(known)
    assert len(known) == len({*known})


@pytest.fixture
def scratch(finished: Checkout, tmp_path: Path) -> Path:
    """A folder with all that the pages' commands speak of, the tiny audit as digits."""
    folder = finished.copy(tmp_path / "scratch").folder
    (folder / "configs").mkdir()
    for name in ("digits", "digits-early"):
        run, path = folder / "artifacts" / name, Path("configs") / f"{name}.toml"
        shutil.copytree(folder / "artifacts" / "tiny", run)
        (folder / path).write_text(TINY)
        mark = {"format": "membership-audit/run", "config": str(path)}
        files.write_json(run / "audit.json", mark)
    # So that there is something left to do, and a verdict to be printed.
    (folder / "artifacts" / "digits" / "report" / "report.txt").unlink()
    for name in ("configs/cifar100-small.toml", "tests"):
        (folder / name).symlink_to(PROJECT / name)
    twin = folder / "configs" / "cifar100-defended.toml"
    twin.symlink_to("cifar100-small.toml")
    mine = Path(shutil.copytree(PROJECT / "configs" / "new" / "own", folder / "mine"))
    (mine / "audit.toml").rename(mine / "mine.toml")
    for name in ("records.npz", "model.ckpt"):
        (mine / name).touch()

    brought = folder / "brought"
    brought.mkdir()
    (table,) = [block.text for block in blocks() if block.text.startswith("file,label")]
    (brought / "labels.csv").write_text(table)
    pixels = 255 - sources._digits()[0][0][..., 0]
    Image.fromarray(pixels).save(brought / "photo.png")
    folder_of_lira(folder / "exp")

    place = folder / "path" / "to"
    (place / "cifar-100-binary").mkdir(parents=True)
    for name in ("train.bin", "test.bin"):
        (place / "cifar-100-binary" / name).write_bytes(b"")
    (place / "python").symlink_to(interpreter.preloaded())
    project = place / "membership-audit"
    (project / ".venv" / "bin").mkdir(parents=True)
    for name in ("membership_audit.py", "pipeline"):
        (project / name).symlink_to(PROJECT / name)
    python = project / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    line = "from membership_audit import MembershipInference"
    assert any(line in block.text for block in blocks())
    (folder / "script.py").write_text(f"{line}\nprint(MembershipInference.__name__)\n")
    return folder


def done(folder: Path, command: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Type a command, with the tests' interpreter where it names none."""
    words = shlex.split(command)
    variables = {}
    while re.match(r"[A-Z_]+=", words[0]):
        name, _, variables[name] = words.pop(0).partition("=")
    if words[0] == "make" and "PYTHON=" not in command:
        words.append(f"PYTHON={interpreter.preloaded()}")
    elif words[0] == "python":
        words[0] = sys.executable
    return run_command([*words, *more], folder, **variables)


def test_each_command_does_what_the_page_says(scratch: Path) -> None:
    for command, printed in RUN.items():
        made = done(scratch, command)
        told = f"{command}\n{made.stdout}\n{made.stderr}"
        expected = BROKEN_LIMIT if command == "make gate" else 0
        assert made.returncode == expected, told
        assert printed in made.stdout, told
    assert (scratch / "configs" / "schema.json").read_bytes() == (
        PROJECT / "configs" / "schema.json"
    ).read_bytes()
    assert not (scratch / "artifacts" / "digits").exists()
    for command in DRY:
        made = done(scratch, command, "-n")
        assert made.returncode == 0, f"{command}\n{made.stdout}\n{made.stderr}"
        assert "PYTHON" in made.stdout.upper()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("digits-early", {"epochs": 10}),
        ("cifar100-defended", {"epochs": 8, "weight_decay": 0.001}),
    ],
)
def test_a_twin_differs_by_what_the_page_says(
    name: str, changes: dict[str, float], tmp_path: Path
) -> None:
    (command,) = [
        each for each in commands() if each.endswith(f"> configs/{name}.toml")
    ]
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    (source,) = re.findall(r"configs/\S+.toml(?= >)", command)
    whole = config.load(tmp_path / source)
    twin = config.load(tmp_path / "configs" / f"{name}.toml")
    training = whole.target.training.model_copy(update=changes)  # type: ignore[union-attr]
    target = whole.target.model_copy(update={"training": training})
    assert twin == whole.model_copy(update={"target": target}) != whole


def goals() -> list[str]:
    told = subprocess.run(
        ["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in told.stdout.splitlines()[1:]]


def test_commands_within_sentences_have_goals_and_variables_of_make() -> None:
    known = goals()
    makefile = (PROJECT / "Makefile").read_text()
    lists = re.findall(
        r"^(?:TYPED|VARIABLES) := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE
    )
    exported = " ".join(lists)
    typed = [code for code in inline() if code.split()[0] == "make" and " " in code]
    assert len(typed) > 20
    for code in typed:
        for word in shlex.split(re.sub(r"[\[\]…]", "", code))[1:]:
            name, is_variable, _ = word.partition("=")
            assert name in (exported.split() if is_variable else known), code


# Settings


BASES: tuple[dict[str, Any], ...] = (
    {},
    {"target": {"training": {"learning_rate": 0.1, "epochs": 1}}},
    {"target": {"checkpoint": "my_model.ckpt"}},
    {"target": {"checkpoint": "my_model.ckpt"}, "references": {"count": 2}},
)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for name, value in over.items():
        is_section = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = merged(out[name], value) if is_section else value
    return out


def accepted(fragment: dict[str, Any]) -> bool:
    """Return whether some whole config can hold a fragment."""
    is_arrays = fragment.get("data", {}).get("source") == "arrays"
    network = {} if is_arrays else {"target": {"network": "my_net.py:build"}}
    recipe = {"references": {"training": {"learning_rate": 0.1, "epochs": 1}}}
    for base in BASES:
        for more in ({}, recipe):
            whole = {"data": {"source": "my_data.py:datasets"}}
            for part in (network, base, more, fragment):
                whole = merged(whole, part)
            try:
                Config.model_validate(whole)
            except ValidationError:
                continue
            return True
    return False


def test_every_fragment_of_a_config_is_accepted() -> None:
    fragments = [block for block in blocks() if block.language == "toml"]
    assert len(fragments) > 7
    for block in fragments:
        assert accepted(tomllib.loads(block.text)), f"{block.page}:\n{block.text}"
    assert not accepted({"gate": {"max_aucs": 0.6}})


def test_settings_within_sentences_are_settings() -> None:
    named = re.compile(r"\[([a-z]+)\] ([a-z_]+)(?: = (.*))?")
    found = [match for code in inline() if (match := named.fullmatch(code))]
    assert len(found) > 20
    for match in found:
        section, name, _ = match.groups()
        assert name in Config.model_fields[section].annotation.model_fields, match[0]


def test_every_fragment_of_python_compiles() -> None:
    fragments = [block for block in blocks() if block.language == "python"]
    assert len(fragments) > 4
    for block in fragments:
        compile(block.text, block.page, "exec")


def test_every_script_of_a_shell_parses() -> None:
    scripts = [block for block in blocks() if block.language == "bash"]
    assert len(scripts) > 1
    for block in scripts:
        told = subprocess.run(["bash", "-n"], input=block.text, text=True, check=False)
        assert told.returncode == 0, f"{block.page}:\n{block.text}"


# Links


def anchors(page: Path) -> set[str]:
    """Return the names by which the headings of a page can be linked to."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_every_page_is_found_from_the_first_one() -> None:
    found: set[Path] = set()
    ahead = [PAGES[0].resolve()]
    while ahead:
        page = ahead.pop()
        found.add(page)
        linked = re.findall(r"\]\(([^)#:]+\.md)", prose(page))
        places = {(page.parent / name).resolve() for name in linked}
        ahead += places - found
    assert {page.resolve() for page in PAGES} <= found
