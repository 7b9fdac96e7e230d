import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.config import tomllib
from stages import check

PYPROJECT = check.PROJECT.read_text(encoding="utf-8")
NEEDED = [("mindspore", ">=2.10", "<2.11")]


def test_every_dependency_of_the_project_is_found_with_its_range() -> None:
    listed = [
        Requirement(text)
        for text in tomllib.loads(PYPROJECT)["project"]["dependencies"]
    ]
    expected = {
        needed.name: needed.specifier
        for needed in listed
        if needed.marker is None
        or (needed.marker.evaluate() and "platform" not in str(needed.marker))
    }
    found = {
        name: SpecifierSet(f"{lowest},{limit}")
        for name, lowest, limit in check.requirements(PYPROJECT)
    }
    assert found == expected


def test_packages_for_development_are_not_asked_for() -> None:
    names = [name for name, _, _ in check.requirements(PYPROJECT)]
    assert not {"pytest", "hypothesis", "ruff", "mypy"} & set(names)


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 11, 0)])
def test_a_package_that_some_machines_cannot_have_is_not_asked_for(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.sys, "version_info", version)
    assert '"scikit-learn-intelex>=' in PYPROJECT
    names = [name for name, _, _ in check.requirements(PYPROJECT)]
    assert "scikit-learn-intelex" not in names


@pytest.mark.parametrize(("version", "count"), [((3, 10, 4), 1), ((3, 11, 0), 0)])
def test_a_package_for_old_pythons_is_asked_for_there_only(
    version: tuple[int, int, int], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.sys, "version_info", version)
    names = [name for name, _, _ in check.requirements(PYPROJECT)]
    assert names.count("tomli") == count


@pytest.mark.parametrize(
    "present", ["2.10", "2.10.0", "2.10.3", "2.10.0rc1", "2.10.1.dev20260101"]
)
def test_a_version_in_the_range_is_fine(present: str) -> None:
    assert check.problems(NEEDED, lambda _: present) == []


@pytest.mark.parametrize(
    "present", ["2.9.0", "1.99", "2.11.0", "2.11.0rc1", "3.0", "x"]
)
def test_a_version_outside_the_range_is_told_with_the_range(present: str) -> None:
    expected = [f"mindspore is {present}, not >=2.10,<2.11"]
    assert check.problems(NEEDED, lambda _: present) == expected


def test_a_missing_package_is_told_with_the_range() -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    assert check.problems(NEEDED, absent) == ["mindspore>=2.10,<2.11 is missing"]


def test_every_problem_is_told_in_the_order_of_the_requirements() -> None:
    versions = {"a": "1.0", "b": "2.0", "c": "3.0"}
    needed = [("c", ">=1", "<2"), ("b", ">=2", "<3"), ("a", ">=2", "<3")]
    found = check.problems(needed, versions.__getitem__)
    assert found == ["c is 3.0, not >=1,<2", "a is 1.0, not >=2,<3"]


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("1.26.4", (1, 26, 4)),
        ("2.10.0rc1", (2, 10, 0)),
        ("2.10.0+cpu", (2, 10, 0)),
        ("1.dev0", (1,)),
        ("unknown", ()),
    ],
)
def test_the_numbers_of_a_version_are_those_it_begins_with(
    release: str, expected: tuple[int, ...]
) -> None:
    assert check.numbers(release) == expected


def test_the_program_is_silent_when_nothing_is_amiss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lowest = {name: least[2:] for name, least, _ in check.requirements(PYPROJECT)}
    monkeypatch.setattr(check, "version", lowest.__getitem__)
    monkeypatch.setattr(sys, "argv", ["check"])
    check.main()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "argv", ["check", "check"])
    check.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert line == check.tried(lowest["mindspore"])


@pytest.mark.parametrize(
    ("release", "sentence"),
    [
        (
            "2.10.0",
            "MindSpore 2.10.0: every test passed with it, on CPU (x86-64); nothing was "
            "tried on Ascend or GPU",
        ),
        (
            "2.8.0",
            "MindSpore 2.8.0: the tests of networks, checkpoints, training, inference "
            "and users' data passed with it, on CPU (x86-64); nothing was tried on "
            "Ascend or GPU",
        ),
        (
            "2.9.1",
            "MindSpore 2.9.1 was not tried; 2.7.2, 2.8.0, 2.9.0, 2.10.0 were, on CPU "
            "(x86-64); nothing was tried on Ascend or GPU",
        ),
    ],
)
def test_what_was_tried_with_a_version_is_told_in_a_line(
    release: str, sentence: str
) -> None:
    assert check.tried(release) == sentence


def test_every_version_that_was_tried_is_allowed() -> None:
    (needed,) = [n for n in check.requirements(PYPROJECT) if n[0] == "mindspore"]
    for release in check.TRIED:
        assert check.problems([needed], lambda _, release=release: release) == []


def test_the_program_ends_with_one_line_when_something_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "version", lambda _: "0.1")
    with pytest.raises(SystemExit) as caught:
        check.main()
    printed = capsys.readouterr()
    assert (caught.value.code, printed.out) == (1, "")
    assert re.fullmatch(r"error: .*numpy is 0\.1, not .*\. Fix: .*\.\n", printed.err)


@pytest.mark.parametrize("goal", check.LIGHT)
def test_goals_that_read_reports_need_few_packages(goal: str) -> None:
    listed = check.requirements(PYPROJECT)
    few = check.needed(listed, [goal])
    assert {"pydantic", "rich"} <= {name for name, _, _ in few} <= {*check.LIGHT[goal]}
    assert set(few) < set(listed)
    for goals in ([], ["check"], [goal, "audit"]):
        assert check.needed(listed, goals) == listed


@pytest.mark.parametrize("goal", check.LIGHT)
def test_they_import_no_more_than_is_asked_for(goal: str) -> None:
    names = [
        name.replace("scikit-learn", "sklearn")
        for name, _, _ in check.requirements(PYPROJECT)
    ]
    code = f"import sys, stages.{goal}; print(*{{*{names}}} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert {*done.stdout.split()} <= {*check.LIGHT[goal]}
