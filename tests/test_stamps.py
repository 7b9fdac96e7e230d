import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.cache import devices, files, keys, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES
from pipeline.errors import AuditError

TEXT = """
[data]
source = "digits"

[target]
network = "cnn_digits"

[target.training]
learning_rate = 0.01
epochs = 2

[references]
count = 2

[report]
threshold = 0.6
"""
NETWORK = '''
"""A network of my own."""
from sizes import HIDDEN  # beside it

def build():
    """Return it."""
    return HIDDEN
'''

OF_TARGET = ["target", "references", "features", "attack", "report", "page"]

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # No memory of digests: all files here are changed within a tick.
    Path("audit.toml").write_text(TEXT)


RUN = Path("artifacts/audit")


def present(*edits: tuple[str, str]) -> dict[str, stamps.Stamp]:
    """Return the stamps of the config after these edits."""
    text = TEXT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    Path("audit.toml").write_text(text)
    settings = devices.resolved(config.load(Path("audit.toml")), RUN / "d", save=False)
    return stamps.stamps(settings, Digests(RUN / "stamps" / "digests.json"))


def job_of(stage: str, made_by: dict[str, stamps.Stamp]) -> stamps.Job:
    return stamps.Job(stage, RUN, made_by, {"arguments": "CONFIG=audit.toml"})


def finish(made_by: dict[str, stamps.Stamp], *names: str) -> None:
    """Make the artifacts of these stages, or of all."""
    for name in names or STAGES:
        job = job_of(name, made_by)
        for file in (STAGES[name].artifact, *STAGES[name].siblings):
            files.write_text(job.folder(name) / file, f"{name} {file}")
        stamps.keep(job)


def why(now: dict[str, stamps.Stamp], stage: str) -> list[str]:
    digests = Digests(RUN / "stamps" / "digests.json")
    return [reason.text for reason in stamps.reasons(RUN, stage, now, digests)]


def running(now: dict[str, stamps.Stamp]) -> list[str]:
    return [name for name in STAGES if why(now, name)]


def test_nothing_runs_once_all_is_made() -> None:
    assert running(present()) == [*STAGES]
    finish(present())
    assert running(present()) == []


def test_a_stage_that_was_never_made_says_so() -> None:
    assert why(present(), "split") == ["not made yet"]


def test_an_artifact_that_is_gone_is_made_again() -> None:
    finish(present())
    (RUN / "split" / "split.h5").unlink()
    assert why(present(), "split") == ["its artifact is gone"]
    assert running(present()) == ["split"]


@pytest.mark.parametrize(
    ("stage", "name"),
    [(stage.name, name) for stage in STAGES.values() for name in stage.siblings],
)
def test_a_sibling_that_is_gone_or_changed_has_its_stage_run_again(
    stage: str, name: str
) -> None:
    finish(present())
    path = RUN / stage / name
    path.write_text("edited by hand")
    assert why(present(), stage) == [f"{name} is changed"]
    path.unlink()
    assert why(present(), stage) == [f"{name} is gone"]
    assert running(present()) == [stage]


def test_the_stages_with_files_for_people_remake_them() -> None:
    assert STAGES["report"].siblings == (
        "report.txt",
        "full.txt",
        "records.csv",
        "records.parquet",
    )


def test_a_reason_names_the_setting_its_old_and_its_new_value() -> None:
    finish(present())
    now = present(("threshold = 0.6", "threshold = 0.7"))
    assert why(now, "report") == ["[report] threshold: 0.6 -> 0.7"]
    assert running(now) == ["report", "page"]


def test_after_a_single_stage_those_behind_it_still_say_why() -> None:
    finish(present())
    now = present(("[references]", "[features]\nbatch_size = 64\n[references]"))
    assert running(now) == ["features", "attack", "report", "page"]
    finish(now, "features")
    assert running(now) == ["attack", "report", "page"]
    for stage in ("attack", "report"):
        assert why(now, stage) == ["[features] batch_size: 256 -> 64"]


def test_a_reason_names_the_stage_whose_change_it_is() -> None:
    finish(present())
    now = present(("epochs = 2", "epochs = 3"))
    digests = Digests(RUN / "stamps" / "digests.json")
    (reason,) = stamps.reasons(RUN, "attack", now, digests)
    assert reason == ("target", "[target] training.epochs: 2 -> 3")


def test_long_values_are_shown_where_they_differ() -> None:
    views = ", ".join(f'"shift({y},{x})"' for y in range(3) for x in range(3))
    base = ("[references]", f'[features]\nviews = ["identity", {views}]\n[references]')
    finish(present(base))
    edited = base[1].replace("shift(2,1)", "shift(-2,1)")
    (reason,) = why(present((base[0], edited)), "features")
    assert reason.startswith("[features] views: …")
    old, new = reason.removeprefix("[features] views: ").split(" -> ")
    assert old != new
    assert "shift(2,1)" in old
    assert "shift(-2,1)" in new


# Versions, libraries and devices


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("records", "records"),
        ("split", "split"),
        ("blind", "blind"),
        ("checkpoint", "target"),
        ("outputs", "features"),
        ("signals", "features"),
        ("fit", "attack"),
        ("accelerated", "attack"),
        ("report", "report"),
        ("page", "page"),
    ],
)
def test_a_raised_version_remakes_its_kind_and_what_follows_and_nothing_else(
    kind: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(present())
    raised = replace(keys.KINDS[kind], version=keys.KINDS[kind].version + 1)
    monkeypatch.setitem(keys.KINDS, kind, raised)
    expected = [
        name
        for name in STAGES
        if first in stamps.chain(name) or (kind, name) == ("checkpoint", "references")
    ]
    assert running(present()) == expected
    assert f"this program computes {kind} otherwise" in why(present(), first)


def test_another_version_of_a_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    finish(present())
    real = keys.installed
    monkeypatch.setattr(
        keys, "installed", lambda name: "3.0" if name == "mindspore" else real(name)
    )
    assert running(present()) == OF_TARGET
    assert why(present(), "target") == [f"mindspore {real('mindspore')} -> 3.0"]


def test_the_device_that_auto_means_is_in_the_stamps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finish(present())
    monkeypatch.setattr(devices, "usable", lambda *_, **__: "Ascend")
    now = present()
    assert running(now) == OF_TARGET
    assert why(now, "target") == ['[target] training.device: "CPU" -> "Ascend"']
    for stage in ("target", "references", "features"):
        assert now[stage]["origin"]["device"] == "Ascend"


def test_naming_the_device_that_auto_means_reruns_nothing() -> None:
    finish(present())
    now = present(("[references]", '[features]\ndevice = "CPU"\n[references]'))
    assert running(now) == []


def test_signals_made_elsewhere_depend_on_no_device_and_not_on_mindspore() -> None:
    Path("signals.npz").write_bytes(b"0")
    Path("arrays.toml").write_text('[data]\nsource = "arrays"\npath = "signals.npz"\n')
    now = stamps.stamps(config.load(Path("arrays.toml")), Digests(RUN / "d.json"))
    for stamp in now.values():
        assert not {"device", "mindspore"} & {*stamp["origin"]}


def test_records_depend_on_the_library_that_they_come_with_and_no_other() -> None:
    Path("signals.npz").write_bytes(b"0")
    Path("arrays.toml").write_text('[data]\nsource = "arrays"\npath = "signals.npz"\n')
    given = stamps.stamps(config.load(Path("arrays.toml")), Digests(RUN / "d.json"))
    assert [*present()["records"]["origin"]] == ["numpy", "scikit-learn"]
    assert [*given["records"]["origin"]] == ["numpy"]


def test_a_users_datasets_depend_on_mindspore() -> None:
    Path("my_data.py").write_text("def datasets(): ...\n")
    now = present(('"digits"', '"my_data.py:datasets"'))
    assert now["records"]["origin"]["mindspore"] == keys.installed("mindspore")


# Users' files


def own_network(folder: str = ".") -> tuple[str, str]:
    place = Path(folder)
    place.mkdir(exist_ok=True)
    (place / "my_net.py").write_text(NETWORK)
    (place / "sizes.py").write_text("HIDDEN = 16\n")
    return '"cnn_digits"', f'"{place / "my_net.py"}:build"'


def test_words_and_formatting_of_a_users_module_rerun_nothing() -> None:
    edit = own_network()
    finish(present(edit))
    text = NETWORK.replace("A network of my own", "The best of all networks")
    text = text.replace("# beside it", "").replace('"""Return it."""', "# to do")
    text = text.replace("return HIDDEN", "return (\n        HIDDEN\n    )")
    Path("my_net.py").write_text("# Mine.\n" + text)
    Path("sizes.py").write_text("# How many units.\nHIDDEN = 0x10\n")
    assert running(present(edit)) == []


def test_a_changed_statement_of_a_users_module_is_told_by_its_file() -> None:
    edit = own_network()
    finish(present(edit))
    Path("sizes.py").write_text("HIDDEN = 8\n")
    now = present(edit)
    assert why(now, "target") == ["sizes.py changed"]
    assert running(now) == OF_TARGET


def test_a_users_folder_can_be_moved_and_nothing_runs() -> None:
    finish(present(own_network("here")))
    Path("here").rename("there")
    edit = '"cnn_digits"', '"there/my_net.py:build"'
    assert running(present(edit)) == []


def test_another_function_of_the_same_file_is_another_network() -> None:
    old, new = own_network()
    finish(present((old, new)))
    now = present((old, new.replace(":build", ":other")))
    assert why(now, "target") == [
        '[target] network: "my_net.py:build" -> "my_net.py:other"'
    ]


def test_the_docstring_of_a_module_that_reads_it_counts() -> None:
    edit = own_network()
    Path("my_net.py").write_text(NETWORK + "\nprint(__doc__)\n")
    finish(present(edit))
    changed = NETWORK.replace("of my own", "of yours")
    Path("my_net.py").write_text(changed + "\nprint(__doc__)\n")
    assert why(present(edit), "target") == ["my_net.py changed"]


def test_a_neighbour_of_a_linked_file_is_watched_where_the_file_lies() -> None:
    own_network("net")
    Path("link.py").symlink_to("net/my_net.py")
    edit = '"cnn_digits"', '"link.py:build"'
    finish(present(edit))
    Path("net/sizes.py").write_text("HIDDEN = 8\n")
    assert why(present(edit), "target") == ["sizes.py changed"]


@pytest.mark.parametrize(
    "line", ['prefix = "ema."', 'prefix = ""', "network_args = { width = 3 }"]
)
def test_what_chooses_the_weights_or_the_network_is_told(line: str) -> None:
    Path("a.ckpt").write_bytes(b"0")
    _, name = own_network()
    own = ("[target]", f'[target]\ncheckpoint = "a.ckpt"\nnetwork = {name}\n')
    rest = ('network = "cnn_digits"\n', "")
    recipe = ("[target.training]", "[references.training]")
    finish(present(own, rest, recipe))
    now = present((own[0], own[1] + line), rest, recipe)
    assert running(now) == OF_TARGET
    (reason,) = why(now, "target")
    assert reason.startswith(f"[target] {line.partition(' ')[0]}")


def test_every_part_of_a_checkpoint_in_several_files_is_watched() -> None:
    table = {"a": "1.safetensors", "b": "2.safetensors"}
    for file in table.values():
        Path(file).write_bytes(b"0")
    Path("a.json").write_text(json.dumps({"weight_map": table}))
    edits = (
        ("[target]", '[target]\ncheckpoint = "a.json"'),
        ("[target.training]", "[references.training]"),
    )
    finish(present(*edits))
    assert running(present(*edits)) == []
    Path("2.safetensors").write_bytes(b"1")
    assert why(present(*edits), "target") == ["checkpoint changed"]
    Path("2.safetensors").unlink()
    with pytest.raises(AuditError, match=r"names the part 2\.safetensors, which is"):
        present(*edits)


# Packages


def packaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Put a package where Python finds it; return the edit that names its network."""
    package = folder / "my_zoo"
    (package / "nets").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "nets" / "tiny.py").write_text("from my_zoo import sizes\n")
    (package / "nets" / "huge.py").write_text("")
    (package / "sizes.py").write_text("HIDDEN = 16\n")
    monkeypatch.syspath_prepend(folder.resolve())
    return '"cnn_digits"', '"my_zoo.nets.tiny:build"'


def installed(folder: Path, version: str) -> None:
    info = folder / "my_zoo.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Name: my-zoo\nVersion: {version}\n")
    (info / "top_level.txt").write_text("my_zoo\n")


def test_of_an_installed_package_the_version_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path("site-packages")
    edit = packaged(folder, monkeypatch)
    installed(folder, "1.0")
    finish(present(edit))
    (folder / "my_zoo" / "sizes.py").write_text("HIDDEN = 8\n")
    assert running(present(edit)) == []
    installed(folder, "1.1")
    now = present(edit)
    assert why(now, "target") == ["version of my_zoo changed"]
    assert running(now) == OF_TARGET


@pytest.mark.parametrize("folder", ["src", "site-packages"])
def test_of_a_package_without_a_version_the_files_that_it_reads_count(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = packaged(Path(folder), monkeypatch)
    finish(present(edit))
    package = Path(folder, "my_zoo")
    (package / "nets" / "huge.py").write_text("HIDDEN = 8\n")
    (package / "sizes.py").write_text("HIDDEN = 0x10  # as before\n")
    assert running(present(edit)) == []
    (package / "sizes.py").write_text("HIDDEN = 8\n")
    assert why(present(edit), "target") == ["my_zoo/sizes.py changed"]


def test_a_package_that_is_not_installed_is_told_before_anything_runs() -> None:
    with pytest.raises(AuditError) as caught:
        present(('"cnn_digits"', '"my_nett:build"'))
    assert str(caught.value) == (
        f"my_nett: is not installed. Fix: install it for {sys.executable}, or write "
        "my_nett.py if it is a file."
    )


# What is on disk


def test_a_job_reads_what_was_written() -> None:
    now = present()
    settings = config.load(Path("audit.toml"))
    stamps.write(RUN, now, stamps.paths(settings, Path("audit.toml"), None))
    job = stamps.read(stamps.stamp_path(RUN, "features"))
    assert job.stamps == now
    assert job.key == keys.digest(now["features"])
    assert job.key_of("records") == keys.digest(now["records"])
    assert job.section(config.Features).batch_size == 256


def test_stamps_that_stay_as_they_are_are_not_written_again() -> None:
    now = present()
    where = stamps.paths(config.load(Path("audit.toml")), Path("audit.toml"), None)
    stamps.write(RUN, now, where)
    before = {path: path.stat().st_mtime_ns for path in RUN.rglob("*.json")}
    stamps.write(RUN, present(("= 0.6", "= 0.7")), where)
    after = {path: path.stat().st_mtime_ns for path in RUN.rglob("*.json")}
    written = {path.stem for path in before if after[path] != before[path]}
    assert written == {"report", "page"}


@pytest.mark.parametrize(("content", "problem"), [(None, "missing"), ("{", "corrupt")])
def test_a_stamp_that_cannot_be_read_is_refused(
    content: str | None, problem: str
) -> None:
    where = stamps.paths(config.load(Path("audit.toml")), Path("audit.toml"), None)
    stamps.write(RUN, present(), where)
    path = stamps.stamp_path(RUN, "split")
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(AuditError) as caught:
        stamps.read(stamps.stamp_path(RUN, "attack"))
    assert str(caught.value) == (
        f"{path}: is {problem}. Fix: run `make attack`, which writes it."
    )


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"stamps": {}, "siblings": 1}'])
def test_how_an_artifact_was_made_is_not_guessed(content: str) -> None:
    finish(present())
    stamps.made_path(RUN, "split").write_text(content)
    assert why(present(), "split") == ["how it was made is not known"]


def test_a_command_that_mends_is_safe_to_paste() -> None:
    settings = config.load(Path("audit.toml"))
    where = stamps.paths(settings, Path("my audits/a.toml"), "/x; touch y")
    job = stamps.Job("split", Path("artifacts/a"), present(), where)
    assert job.remake("records") == (
        "run `rm -f artifacts/a/records/records.h5 && make records "
        "CONFIG='my audits/a.toml' DATA='/x; touch y'`"
    )


def test_a_section_has_the_paths_that_its_stamp_leaves_out() -> None:
    edit = own_network("here")
    now = present(edit)
    settings = config.load(Path("audit.toml"))
    job = stamps.Job(
        "target", RUN, now, stamps.paths(settings, Path("audit.toml"), None)
    )
    assert job.section(config.Target).network == "here/my_net.py:build"
    assert now["target"]["settings"]["target"]["network"] == "my_net.py:build"
    assert [*job.network_files()] == ["my_net.py", "sizes.py"]


# What "auto" means


def nodes(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def present_nodes(pattern: str) -> list[Path]:
        return [Path("/dev", name) for name in names if Path(name).match(pattern)]

    monkeypatch.setattr(devices, "nodes", present_nodes)


def asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """Return a list that grows each time that MindSpore is asked."""
    times: list[str] = []

    def ask() -> str:
        times.append(answer)
        return answer

    monkeypatch.setattr(devices, "_asked_of_mindspore", ask)
    return times


def test_without_an_accelerator_auto_is_the_cpu_and_mindspore_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodes(monkeypatch)
    times = asked(monkeypatch, "GPU")
    assert devices.usable(tmp_path / "m.json", save=True) == "CPU"
    assert times == []


@pytest.mark.parametrize("node", ["davinci0", "davinci_manager", "nvidia0", "dxg"])
def test_mindspore_is_asked_once_as_long_as_the_machine_stays_the_same(
    node: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = tmp_path / "m.json"
    nodes(monkeypatch, node)
    times = asked(monkeypatch, "Ascend")
    for _ in range(3):
        assert devices.usable(memory, save=True) == "Ascend"
    assert len(times) == 1
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    devices.usable(memory, save=True)
    nodes(monkeypatch, node, "nvidia7")
    devices.usable(memory, save=True)
    assert len(times) == 3
    memory.write_text("{")
    assert devices.usable(memory, save=True) == "Ascend"


def test_the_plan_asks_without_writing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodes(monkeypatch, "nvidia0")
    asked(monkeypatch, "GPU")
    assert devices.usable(tmp_path / "m.json", save=False) == "GPU"
    assert [*tmp_path.glob("m.json")] == []


def test_mindspore_itself_says_what_it_can_use() -> None:
    assert devices._asked_of_mindspore() == "CPU"


def test_a_config_without_auto_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise AssertionError

    monkeypatch.setattr(devices, "usable", refuse)
    edits = (
        ("epochs = 2", 'epochs = 2\ndevice = "CPU"'),
        ("[references]", '[features]\ndevice = "GPU"\n[references]'),
    )
    now = present(*edits)
    assert now["features"]["settings"]["features"]["device"] == "GPU"
    assert json.dumps(now).count('"device": "auto"') == 0


# A recipe of the user's

OWN_RECIPE = (
    "learning_rate = 0.01\nepochs = 2\n",
    'recipe = "my_recipe.py:train"\nstart = "start.ckpt"\n',
)


def write_recipe() -> None:
    Path("my_recipe.py").write_text("from rates import RATE\ndef train(a, b, c): ...\n")
    Path("rates.py").write_text("RATE = 0.1\n")
    Path("start.ckpt").write_text("weights")


@pytest.mark.parametrize("name", ["my_recipe.py", "rates.py"])
def test_code_of_a_recipe_trains_anew_and_comments_do_not(name: str) -> None:
    write_recipe()
    finish(present(OWN_RECIPE))
    path = Path(name)
    path.write_text(f"# New words.\n{path.read_text()}")
    assert running(present(OWN_RECIPE)) == []
    path.write_text(f"{path.read_text()}MORE = 1\n")
    now = present(OWN_RECIPE)
    assert why(now, "target") == [f"recipe: {name} changed"]
    assert running(now) == OF_TARGET


def test_the_weights_that_training_starts_from_are_stamped_by_content() -> None:
    write_recipe()
    finish(present(OWN_RECIPE))
    before = keys.canonical(present(OWN_RECIPE)["references"])
    Path("elsewhere").mkdir()
    for name in ("my_recipe.py", "rates.py", "start.ckpt"):
        Path(name).rename(f"elsewhere/{name}")
    moved = (
        OWN_RECIPE[0],
        OWN_RECIPE[1].replace('= "', '= "elsewhere/'),
    )
    assert keys.canonical(present(moved)["references"]) == before
    Path("elsewhere/start.ckpt").write_text("others")
    now = present(moved)
    assert why(now, "target") == ["start changed"]
    assert running(now) == OF_TARGET


def test_a_recipe_of_references_alone_leaves_the_target_as_it_is() -> None:
    write_recipe()
    Path("my.ckpt").write_text("target")
    edits = (
        ("[target]\n", '[target]\ncheckpoint = "my.ckpt"\n'),
        ("[target.training]\nlearning_rate = 0.01\nepochs = 2\n", ""),
        ("count = 2\n", f"count = 2\n[references.training]\n{OWN_RECIPE[1]}"),
    )
    finish(present(*edits))
    Path("rates.py").write_text("RATE = 0.2\n")
    now = present(*edits)
    assert why(now, "references") == ["recipe: rates.py changed"]
    assert running(now) == OF_TARGET[1:]


def test_a_stage_knows_where_a_recipe_and_its_start_lie_and_their_digests() -> None:
    write_recipe()
    Path("my_net.py").write_text("def build(): ...\n")
    edits = (OWN_RECIPE, ('"cnn_digits"', '"my_net.py:build"'))
    now = present(*edits)
    settings = config.load(Path("audit.toml"))
    stamps.write(RUN, now, stamps.paths(settings, Path("audit.toml"), None))
    for stage in ("target", "references"):
        job = stamps.read(stamps.stamp_path(RUN, stage))
        training = job.section(config.Target).training
        assert training is not None
        assert settings.recipe is not None
        assert training.model_copy(update={"device": "auto"}) == settings.recipe
        assert [*job.network_files()] == ["my_net.py"]
        assert sorted(job.training_files()) == [
            *("recipe: my_recipe.py", "recipe: rates.py", "start")
        ]


@pytest.mark.parametrize("name", ["my_recipe.py", "start.ckpt"])
def test_a_recipe_or_start_that_is_missing_is_named(name: str) -> None:
    write_recipe()
    Path(name).unlink()
    setting = {"my_recipe.py": "recipe", "start.ckpt": "start"}[name]
    with pytest.raises(AuditError) as caught:
        present(OWN_RECIPE)
    assert str(caught.value) == (
        f"target.training.{setting}: {Path(name).absolute()} does not exist. Fix: "
        "correct it."
    )
