import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.attacks import catalogue, grids
from pipeline.cache import keys, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES
from pipeline.data import own
from pipeline.errors import AuditError
from tests import config_schema

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))

AUDIT = """
[data]
source = "digits"
members = 50
choose = "sample"
canaries = 0.25

[split]
eval_fraction = 0.2

[target]
network = "cnn_digits"

[target.training]
optimizer = "adam"
learning_rate = 0.01
epochs = 2

[features]
precision = "float32"

[attack]
folds = 3

[[attack.methods]]
method = "lr"
params = { C = [1.0] }

[[attack.methods]]
method = "knn"
params = { n_neighbors = [3, 5], p = [2] }

[report]
threshold = 0.6
"""


def edited(folder: Path, *edits: tuple[str, str]) -> Path:
    """Return a config in which each first text stands replaced by the second."""
    text = AUDIT
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    path = folder / "audit.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """Return the message of the refusal, without the path it begins with."""
    with pytest.raises(AuditError) as caught:
        config.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def stamped(settings: config.Config, run: Path) -> dict[str, Any]:
    return stamps.stamps(settings, Digests(run / "stamps" / "digests.json"))


def dumps(settings: config.Config) -> str:
    return keys.canonical(settings.model_dump(mode="json"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_that_come_along_load(path: Path, tmp_path: Path) -> None:
    settings = config.load(path, str(tmp_path))
    assert settings.data.path == str(tmp_path)
    methods = [method.title for method in settings.attack.methods]
    assert methods[:4] == ["lr", "knn", "mlp", "rf"]


def test_a_small_config_gives_its_settings_and_the_defaults(tmp_path: Path) -> None:
    settings = config.load(edited(tmp_path))
    assert settings.data == config.Data(source="digits", members=50, canaries=0.25)
    assert settings.target.training == config.Training(learning_rate=0.01, epochs=2)
    assert settings.features == config.Features()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[split]", "[splits]", "splits: is not a setting. Fix: use split."),
        ("members", "member", "data.member: is not a setting. Fix: use members."),
        (
            "eval_fraction",
            "eval_fracton",
            "split.eval_fracton: is not a setting. Fix: use eval_fraction.",
        ),
        (
            "network",
            "netwrok",
            "target.netwrok: is not a setting. Fix: use network.",
        ),
        (
            "learning_rate",
            "lerning_rate",
            "target.training.lerning_rate: is not a setting. Fix: use learning_rate.",
        ),
        (
            "precision",
            "precison",
            "features.precison: is not a setting. Fix: use precision.",
        ),
        ("folds", "fold", "attack.fold: is not a setting. Fix: use folds."),
        (
            "params = { C",
            "parms = { C",
            "attack.methods.parms: is not a setting. Fix: use params.",
        ),
        (
            "n_neighbors",
            "n_neighbours",
            "attack.methods.knn.n_neighbours: is not a parameter. "
            "Fix: use n_neighbors.",
        ),
        (
            "threshold",
            "treshold",
            "report.treshold: is not a setting. Fix: use threshold.",
        ),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert refusal(edited(tmp_path, (old, new))) == message


def test_a_name_like_no_other_is_refused_with_all_of_its_section(
    tmp_path: Path,
) -> None:
    path = edited(tmp_path, ("eval_fraction", "zzz"))
    expected = (
        "split.zzz: is not a setting. Fix: use one of eval_fraction, seed, repeats."
    )
    assert refusal(path) == expected


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ('source = "digits"\n', "data.source"),
        ("learning_rate = 0.01\n", "target.training.learning_rate"),
        ("epochs = 2\n", "target.training.epochs"),
        ('method = "lr"\n', "attack.methods.method"),
    ],
)
def test_a_missing_setting_is_named(old: str, name: str, tmp_path: Path) -> None:
    expected = f"{name}: is missing. Fix: add it, as configs/ shows."
    assert refusal(edited(tmp_path, (old, ""))) == expected


@pytest.mark.parametrize("section", ["data"])
def test_a_missing_section_is_named(section: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    kept = [p for p in AUDIT.split("\n\n") if not re.match(rf"\n?\[+{section}", p)]
    path.write_text("\n\n".join(kept), encoding="utf-8")
    expected = f"{section}: is missing. Fix: add it, as configs/ shows."
    assert refusal(path) == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("members = 50", 'members = "50"', "data.members: is '50'. Fix: note that "),
        ("members = 50", "members = 50.0", "data.members: is 50.0. Fix: note that "),
        ("members = 50", "members = true", "data.members: is True. Fix: note that "),
        ("= 0.25", "= true", "data.canaries: is True. Fix: note that "),
        ('"digits"', "5", "data.source: is 5. Fix: note that "),
        ("epochs = 2", "epochs = 2.5", "target.training.epochs: is 2.5. Fix: note "),
        ("{ C = [1.0] }", "3", "attack.methods.params: is 3. Fix: note that "),
    ],
)
def test_a_value_of_the_wrong_type_is_quoted_with_what_it_should_be(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    found = refusal(edited(tmp_path, (old, new)))
    assert found.startswith(message)
    assert "should be a valid " in found


def test_a_section_that_is_none_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ("[report]\nthreshold = 0.6\n", ""))
    path.write_text("report = 5\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert refusal(path).startswith("report: is 5. Fix: note that input should be ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("= 50", "= 0", "data.members: is 0. Fix: note that input should be greater"),
        ("= 0.25", "= 1.5", "data.canaries: is 1.5. Fix: note that input should be le"),
        ("= 0.2\n", "= 1.0\n", "split.eval_fraction: is 1.0. Fix: note that input sho"),
        ("= 0.2\n", "= 0\n", "split.eval_fraction: is 0. Fix: note that input should"),
        ("= 0.01", "= 0.0", "target.training.learning_rate: is 0.0. Fix: note that in"),
        ("= 0.01", "= inf", "target.training.learning_rate: is inf. Fix: note that in"),
        ("= 0.01", "= nan", "target.training.learning_rate: is nan. Fix: note that in"),
        ("epochs = 2", "epochs = 0", "target.training.epochs: is 0. Fix: note that in"),
        ("folds = 3", "folds = 1", "attack.folds: is 1. Fix: note that input should b"),
        ("= 0.6", "= -0.1", "report.threshold: is -0.1. Fix: note that input should b"),
        ("= 0.2\n", "= 0.2\nrepeats = 0\n", "split.repeats: is 0. Fix: note that inpu"),
        ("= 0.6", "= 0.6\nconfidence = 1.0", "report.confidence: is 1.0. Fix: note th"),
        ("= 0.6", "= 0.6\ndelta = 0.0", "report.delta: is 0.0. Fix: note that input s"),
        ("= 0.6", "= 0.6\nprior = 0.0", "report.prior: is 0.0. Fix: note that input s"),
        (
            "= 0.6",
            "= 0.6\nfalse_discoveries = 1.0",
            "report.false_discoveries: is 1.0. Fix: note that input should be less",
        ),
        ("[1.0]", "[0]", "attack.methods.lr.C: has the value 0. Fix: use a number > 0"),
        ("[1.0]", "[]", "attack.methods.lr.C: is an empty list. Fix: give at least o"),
    ],
)
def test_a_value_out_of_range_is_quoted_with_its_range(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert refusal(edited(tmp_path, (old, new))).startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"sample"', '"all"', "data.choose: is 'all'. Fix: use 'first' or 'sample'."),
        (
            '"adam"',
            '"rmsprop"',
            "target.training.optimizer: is 'rmsprop'. "
            "Fix: use 'sgd', 'momentum', 'adam' or 'adamw'.",
        ),
        (
            '"float32"',
            '"bfloat16"',
            "features.precision: is 'bfloat16'. Fix: use 'float32' or 'float16'.",
        ),
        (
            '"lr"',
            '"svm"',
            "attack.methods.method: is 'svm'. Fix: use 'lr', 'knn', 'mlp', 'rf' "
            "or 'gbm'.",
        ),
        (
            '"digits"',
            '"digts"',
            "data.source: is 'digts'. "
            "Fix: use digits, "
            "or file.py:function of your own.",
        ),
        (
            '"cnn_digits"',
            '"resnet"',
            "target.network: is 'resnet'. Fix: use one of cnn, cnn_digits, vgg16, "
            "vgg16_32, mindcv:name, package.module:function, or file.py:function of "
            "your own.",
        ),
    ],
)
def test_a_value_that_is_none_of_those_allowed_is_refused_with_them(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert refusal(edited(tmp_path, (old, new))) == message


@pytest.mark.parametrize(
    ("old", "given", "section", "name"),
    [
        ('"digits"', "mine/my_data.py:datasets", "data", "source"),
        ('"cnn_digits"', "my_net.py:build", "target", "network"),
    ],
)
def test_a_function_of_the_users_own_is_allowed(
    old: str, given: str, section: str, name: str, tmp_path: Path
) -> None:
    settings = config.load(edited(tmp_path, (old, f'"{given}"')))
    assert getattr(getattr(settings, section), name) == f"{tmp_path}/{given}"


# Where paths lead


def with_paths(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "audit.toml"
    path.write_text(
        """
[data]
source = "./my_data.py:datasets"
path = "images"
units = "persons.npy"
[target]
network = "../net/my_net.py:build"
checkpoint = "/a/b.ckpt"
[references]
folder = "models"
[report]
groups = "groups.npy"
"""
    )
    return path


def test_paths_in_a_config_mean_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(with_paths(tmp_path / "mine"))
    assert [
        settings.data.source,
        settings.data.path,
        settings.data.units,
        settings.target.network,
        settings.target.checkpoint,
        settings.references.folder,
        settings.report.groups,
    ] == [
        f"{tmp_path}/mine/my_data.py:datasets",
        f"{tmp_path}/mine/images",
        f"{tmp_path}/mine/persons.npy",
        f"{tmp_path}/mine/../net/my_net.py:build",
        "/a/b.ckpt",
        f"{tmp_path}/mine/models",
        f"{tmp_path}/mine/groups.npy",
    ]
    monkeypatch.chdir(tmp_path)
    assert config.load(Path("mine/audit.toml")).data.path == "mine/images"
    monkeypatch.chdir(tmp_path / "mine")
    assert config.load(Path("audit.toml")).data.path == "images"


def test_data_from_outside_the_config_lie_where_make_runs(tmp_path: Path) -> None:
    settings = config.load(with_paths(tmp_path / "mine"), "elsewhere")
    assert settings.data.path == "elsewhere"


def test_a_path_that_is_only_here_is_read_here_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = with_paths(tmp_path / "mine")
    for name in ("my_data.py", "groups.npy"):
        (tmp_path / name).write_text("")
    (path.parent / "groups.npy").write_text("")
    settings = config.load(path)
    assert settings.data.source == "./my_data.py:datasets"
    assert settings.report.groups == f"{tmp_path}/mine/groups.npy"
    assert config.strays(path) == ["data.source"]


# Networks by name


def with_target(folder: Path, lines: str) -> Path:
    path = folder / "audit.toml"
    path.write_text(
        f'[data]\nsource = "digits"\n[target]\n{lines}\n[target.training]\n'
        "learning_rate = 0.1\nepochs = 1\n"
    )
    return path


@pytest.mark.parametrize("name", ["mindcv:resnet18", "a.b_1:Net", "timm:x"])
def test_a_network_of_a_package_has_its_name_and_arguments(
    name: str, tmp_path: Path
) -> None:
    lines = f'network = "{name}"\nnetwork_args = {{ width = 3 }}'
    target = config.load(with_target(tmp_path, lines)).target
    assert (target.network, target.network_args) == (name, {"width": 3})


def test_arguments_for_a_network_that_takes_none_are_refused(tmp_path: Path) -> None:
    lines = 'network = "cnn"\nnetwork_args = { width = 3 }'
    assert refusal(with_target(tmp_path, lines)) == (
        "target: network_args are not for cnn, which takes none. Fix: remove them, or "
        "name a function of your own."
    )


def test_a_prefix_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    lines = 'network = "cnn"\nprefix = "ema."'
    assert refusal(with_target(tmp_path, lines)) == (
        "target.prefix: is set without a checkpoint. Fix: remove it, or set "
        "target.checkpoint."
    )


def test_settings_that_came_later_leave_no_trace_until_they_are_chosen() -> None:
    plain = config.Target(network="cnn", checkpoint="a.ckpt")
    assert {*plain.model_dump(mode="json")} == {"network", "n_classes", "training"}
    chosen = {"network_args": {"width": 3}, "prefix": ""}
    target = config.Target(network="a.py:b", checkpoint="a.ckpt", **chosen)
    assert target.chosen == chosen
    assert chosen.items() <= target.model_dump(mode="json").items()
    assert config.Target.model_validate(target.model_dump()).chosen == chosen


def test_a_name_that_is_only_a_key_of_toml_is_no_path(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text('data = "digits"\n[target]\nnetwork = 3\n')
    assert refusal(path).startswith("data: ")


@pytest.mark.parametrize("given", ["my_net.py", "my_net.py:", "my net:build", "a.py:1"])
def test_a_function_that_is_not_named_as_one_is_refused(
    given: str, tmp_path: Path
) -> None:
    message = refusal(edited(tmp_path, ('"cnn_digits"', f'"{given}"')))
    assert message.startswith(f"target.network: is {given!r}. Fix: use ")
    assert message.endswith("or file.py:function of your own.")


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    message = refusal(edited(tmp_path, ("[report]", "[report")))
    assert message.startswith("is not TOML: ")
    assert f"at line {AUDIT[: AUDIT.index('[report]')].count(chr(10)) + 1}," in message
    assert message.endswith(". Fix: correct that line.")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_bytes(b"\xff\xfe")
    assert refusal(path).endswith(". Fix: pass CONFIG=a TOML file.")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert message.startswith("cannot be read (")
    assert message.endswith(". Fix: pass CONFIG=a TOML file.")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    expected = "does not exist. Fix: pass CONFIG=a file in configs/."
    assert refusal(tmp_path / "audit.toml") == expected


def test_a_method_may_be_written_in_any_case(tmp_path: Path) -> None:
    settings = config.load(edited(tmp_path, ('"knn"', '"KNN"')))
    assert [method.method for method in settings.attack.methods] == ["lr", "knn"]


def test_the_case_of_a_method_changes_nothing(tmp_path: Path) -> None:
    before = dumps(config.load(edited(tmp_path)))
    assert dumps(config.load(edited(tmp_path, ('"knn"', '"KNN"')))) == before


def test_a_method_named_twice_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ('"knn"', '"LR"'), ("n_neighbors = [3, 5], p", "tol"))
    expected = "attack.methods: names 'lr' twice. Fix: put its values into one grid"
    assert refusal(path) == f"{expected}, or give it a name of its own."


ATTACK_REFUSALS = {
    "attacks = []": "attack: names no attack. Fix: set attacks or add an "
    "[[attack.methods]].",
    'attacks = ["lira_onlin"]': "attack.attacks: names 'lira_onlin'. "
    "Fix: use lira_online.",
    'attacks = ["loss", "loss"]': "attack.attacks: names 'loss' twice. "
    "Fix: name it once.",
    '[[attack.methods]]\nmethod = "lr"\nfeatures = ["los"]': (
        "attack.methods.features: names 'los'. Fix: use loss."
    ),
    '[[attack.methods]]\nmethod = "lr"\nname = "qmia"': (
        "attack.methods: gives the name 'qmia', an attack's own. Fix: choose another."
    ),
}


@pytest.mark.parametrize("text", ATTACK_REFUSALS)
def test_attacks_that_cannot_be_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    whole = AUDIT.partition("[attack]")[0]
    path.write_text(f"{whole}[attack]\n{text}\n", encoding="utf-8")
    assert refusal(path) == ATTACK_REFUSALS[text]


def candidates(methods: tuple[config.AttackMethod, ...]) -> list[tuple[str, Any]]:
    return [
        (each.title, grids.candidates(each.method, each.params)[0]) for each in methods
    ]


def test_every_attack_runs_unless_some_are_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text(AUDIT.partition("[attack]")[0], encoding="utf-8")
    settings = config.load(path).attack
    assert settings == config.Attack(attacks="all")
    # The built-in demonstration writes out the tutorial's grids.
    (digits,) = (path for path in CONFIGS if path.stem == "digits")
    written = config.load(digits).attack.methods[:4]
    assert candidates(settings.methods) == candidates(written)


@pytest.mark.parametrize(
    ("text", "attacks", "methods"),
    [
        ('attacks = "all"\nmethods = []', "all", {}),
        ('attacks = ["loss"]', ("loss",), {}),
        (
            'attacks = ["rf", "loss", "lr"]',
            ("loss",),
            {"rf": grids.TUTORIAL["rf"], "lr": grids.TUTORIAL["lr"]},
        ),
        (
            'attacks = ["lr", "knn"]\n[[attack.methods]]\nmethod = "LR"\n'
            "params = { C = [1.0] }",
            (),
            {"knn": grids.TUTORIAL["knn"], "lr": {"C": [1.0]}},
        ),
        (
            '[[attack.methods]]\nmethod = "knn"\nparams = { p = [1] }',
            "all",
            {"knn": {"p": [1]}},
        ),
    ],
)
def test_methods_that_are_named_alone_have_the_tutorials_grids(
    text: str, attacks: Any, methods: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "audit.toml"
    whole = AUDIT.partition("[attack]")[0]
    path.write_text(f"{whole}[attack]\n{text}\n", encoding="utf-8")
    settings = config.load(path).attack
    assert settings.attacks == attacks
    assert {each.title: each.params for each in settings.methods} == methods
    # As a stage reads them from its stamp.
    written = settings.model_dump(mode="json")
    assert config.Attack.model_validate(written) == settings


def test_a_method_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    whole = AUDIT.partition("[attack]")[0]
    path.write_text(f'{whole}[attack]\nattacks = ["lr", "lr"]\n', encoding="utf-8")
    expected = "attack.methods: names 'lr' twice. Fix: put its values into one grid"
    assert refusal(path).startswith(expected)


def test_a_method_may_stand_twice_under_two_names(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    methods = '[[attack.methods]]\nmethod = "lr"\n'
    methods += '[[attack.methods]]\nmethod = "lr"\nname = "more"\n'
    path.write_text(AUDIT.partition("[attack]")[0] + methods, encoding="utf-8")
    titles = [method.title for method in config.load(path).attack.methods]
    assert titles == ["lr", "more"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[references]\ncount = 3",
            "references.count: is 3, but references come in pairs. Fix: use 4.",
        ),
        (
            '[features]\nviews = ["flip"]',
            "features.views: starts with 'flip'. Fix: put identity first.",
        ),
        (
            '[features]\nviews = ["identity", "flip", "flip"]',
            "features.views: names a view twice. Fix: name each once.",
        ),
    ],
)
def test_references_and_views_that_cannot_be_are_refused(
    text: str, expected: str, tmp_path: Path
) -> None:
    section = text.partition("\n")[0] + "\n"
    path = tmp_path / "audit.toml"
    if section in AUDIT:
        whole = AUDIT.replace(section, f"{text}\n")
    else:
        whole = f"{text}\n\n{AUDIT}"
    path.write_text(whole, encoding="utf-8")
    assert refusal(path) == expected


@pytest.mark.parametrize("view", ["mirror", "shift(5,0)", "shift(1)", "shift(1,2)x"])
def test_an_unknown_view_is_refused(view: str, tmp_path: Path) -> None:
    text = f'[features]\nviews = ["identity", "{view}"]\n'
    path = edited(tmp_path, ("[features]\n", text))
    assert refusal(path) == (
        f"features.views: has the view '{view}'. Fix: use identity, flip or "
        "shift(dy,dx) by at most 4 pixels."
    )


CHECKPOINT = (
    ("[target]\n", '[target]\ncheckpoint = "my.ckpt"\n'),
    ("canaries = 0.25\n", ""),
)
RECIPE = "[references.training]\nlearning_rate = 0.1\nepochs = 1\n"


def with_references(text: str) -> tuple[str, str]:
    """Return the edit that adds references to a config."""
    return "[features]\n", f"[references]\n{text}\n\n[features]\n"


def test_references_of_a_checkpoint_need_a_recipe(tmp_path: Path) -> None:
    path = edited(tmp_path, *CHECKPOINT, with_references("count = 2"))
    assert refusal(path) == (
        "references.training: is missing, as the target is a checkpoint. Fix: add "
        "[references.training], the recipe that it was trained by."
    )
    path = edited(tmp_path, *CHECKPOINT, with_references(f"count = 2\n{RECIPE}"))
    expected = config.Training(learning_rate=0.1, epochs=1)
    assert config.load(path).references.training == expected


def test_a_recipe_besides_the_targets_own_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, with_references(f"count = 2\n{RECIPE}"))
    assert refusal(path) == (
        "references.training: is not used, as the target is trained here. Fix: remove "
        "it, as [target.training] trains them too."
    )


def test_the_recipe_of_references_is_checked_as_the_targets(tmp_path: Path) -> None:
    recipe = RECIPE.replace("epochs", "epocs")
    path = edited(tmp_path, *CHECKPOINT, with_references(f"count = 2\n{recipe}"))
    expected = "references.training.epocs: is not a setting. Fix: use epochs."
    assert refusal(path) == expected


BUILT_IN = ('optimizer = "adam"\nlearning_rate = 0.01\nepochs = 2\n', "")


def with_training(folder: Path, text: str) -> Path:
    return edited(folder, (BUILT_IN[0], f"{text}\n"))


def test_a_recipe_of_ones_own_lies_beside_the_config(tmp_path: Path) -> None:
    text = 'recipe = "sub/my_recipe.py:train"\nstart = "a.ckpt"\nseed = 3'
    path = with_training(tmp_path, f'{text}\nstart_allow_missing = ["fc.*"]')
    expected = config.OwnTraining(
        recipe=f"{tmp_path}/sub/my_recipe.py:train",
        start=f"{tmp_path}/a.ckpt",
        start_allow_missing=("fc.*",),
        seed=3,
    )
    settings = config.load(path)
    assert settings.target.training == settings.recipe == expected
    more = with_references(f"count = 2\n[references.training]\n{text}")
    settings = config.load(edited(tmp_path, *CHECKPOINT, more))
    assert settings.recipe == settings.references.training
    assert settings.recipe is not None
    assert settings.recipe.start == f"{tmp_path}/a.ckpt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'recipe = "a.py:train"\nepochs = 3',
            "target.training: has epochs beside recipe, which is a setting of the "
            "built-in recipe. Fix: remove it, and let the function decide.",
        ),
        (
            'recipe = "my_recipe:train"',
            "target.training.recipe: is 'my_recipe:train'. Fix: use file.py:function "
            "of your own, such as my_recipe.py:train.",
        ),
        (
            'recpie = "a.py:train"',
            "target.training.recpie: is not a setting. Fix: use recipe.",
        ),
        (
            'recipe = "a.py:train"\nsede = 3',
            "target.training.sede: is not a setting. Fix: use seed.",
        ),
        (
            'recipe = "a.py:train"\nstart_allow_missing = ["fc.*"]',
            "target.training: start_allow_missing is set without start. Fix: remove "
            "it, or set start.",
        ),
        (
            "learning_rate = 0.1\nepochs = 2\nnesterov = true",
            "target.training: nesterov is not for adam. Fix: remove it, or set "
            'optimizer = "momentum".',
        ),
        (
            "learning_rate = 0.1\nepochs = 2\nwarmup_epochs = 2",
            "target.training: has 2 warmup_epochs of 2 epochs. Fix: let the warm-up be "
            "shorter.",
        ),
        (
            "learning_rate = 0.1\nepochs = 2\nlabel_smoothing = 1.0",
            "target.training.label_smoothing: is 1.0. Fix: note that input should be "
            "less than 1.",
        ),
        (
            "learning_rate = 0.1\nepochs = 2\nclip_norm = 0.0",
            "target.training.clip_norm: is 0.0. Fix: note that input should be greater "
            "than 0.",
        ),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    assert refusal(with_training(tmp_path, text)) == message


def test_another_recipe_of_references_leaves_the_target_alone(tmp_path: Path) -> None:
    (tmp_path / "my.ckpt").write_bytes(b"1")
    target = (CHECKPOINT[0][0], CHECKPOINT[0][1].replace("my", f"{tmp_path}/my"))
    found = []
    for recipe in (RECIPE, RECIPE.replace("epochs = 1", "epochs = 2")):
        more = with_references(f"count = 2\n{recipe}")
        path = edited(tmp_path, target, CHECKPOINT[1], more)
        found.append(stamped(config.load(path), tmp_path / "run"))
    changed = [name for name in STAGES if found[0][name] != found[1][name]]
    assert changed == ["references", "features", "attack", "report", "page"]


@pytest.mark.parametrize(
    ("text", "name"), [("count = 2", "count"), (RECIPE, "training")]
)
def test_references_are_given_or_trained_but_not_both(
    text: str, name: str, tmp_path: Path
) -> None:
    path = edited(tmp_path, with_references(f'folder = "mine"\n{text}'))
    assert refusal(path) == (
        f"references: has both folder and {name}. Fix: leave out {name}, as models of "
        "your own are not trained here."
    )


def own_references(folder: Path) -> Path:
    folder.mkdir()
    for name in ("b.ckpt", "a.safetensors", "membership.npy"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_references_of_ones_own_are_stamped_by_content(tmp_path: Path) -> None:
    mine = own_references(tmp_path / "mine")

    def stamps_of(where: Path, more: str = "") -> dict[str, Any]:
        path = edited(tmp_path, with_references(f'folder = "{where}"\n{more}'))
        return stamped(config.load(path), tmp_path / "run")

    before = stamps_of(mine)
    names = ["a.safetensors", "b.ckpt", "membership.npy"]
    assert sorted(before["references"]["inputs"]["files"]) == names
    (mine / ".c.ckpt").write_bytes(b"hidden")
    (mine / "notes.txt").write_bytes(b"no checkpoint")
    assert stamps_of(mine, "seed = 7") == before
    elsewhere = mine.rename(tmp_path / "elsewhere")
    assert stamps_of(elsewhere) == before
    for name in names:
        (elsewhere / name).write_bytes(b"other")
        after = stamps_of(elsewhere)
        changed = [stage for stage in STAGES if after[stage] != before[stage]]
        assert changed == ["references", "features", "attack", "report", "page"]
        before = after


def test_references_of_ones_own_stand_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    mine = own_references(tmp_path / "mine")
    found = [path.name for path in own.checkpoints(mine)]
    assert found == ["a.safetensors", "b.ckpt"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ref_10", "ref_2"], ("ref_10", "ref_2")),
        (["1.ckpt", "10.ckpt", "9.ckpt"], ("10.ckpt", "9.ckpt")),
        (["a12b3", "a9b1"], ("a12b3", "a9b1")),
        (["ref_02", "ref_10"], None),
        (["ref_0", "ref_1", "ref_2"], None),
        (["a.ckpt", "a1.ckpt"], None),
        (["ref-1.ckpt", "ref.ckpt"], None),
        (["B2", "a10", "a9"], ("a10", "a9")),
        (["x1", "x01"], None),
        (["a", "b"], None),
    ],
)
def test_names_that_sort_otherwise_by_number_are_known(
    names: list[str], expected: tuple[str, str] | None
) -> None:
    assert own.disordered(names) == expected


def test_rows_by_number_of_files_that_sort_by_string_are_refused(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for number in range(12):
        (mine / f"ref_{number}.ckpt").write_bytes(b"")
    (mine / "membership.npy").write_bytes(b"")
    with pytest.raises(AuditError) as caught:
        own.checkpoints(mine)
    assert str(caught.value) == (
        f"references.folder: {mine} has ref_10.ckpt before ref_2.ckpt by the order of "
        "strings and after it by that of numbers, so which row of membership.npy is "
        "whose is not certain. Fix: save membership.npz in its place, with the arrays "
        "names and member, or write all numbers with as many digits, in the order of "
        "the rows."
    )
    (mine / "membership.npz").write_bytes(b"")
    with pytest.raises(AuditError) as caught:
        own.checkpoints(mine)
    assert str(caught.value) == (
        f"references.folder: {mine} has both membership.npy and membership.npz. "
        "Fix: take out the wrong one."
    )
    (mine / "membership.npy").unlink()
    assert len(own.checkpoints(mine)) == 12
    assert own.table(mine) == mine / "membership.npz"


def test_a_table_with_names_is_stamped_by_content(tmp_path: Path) -> None:
    mine = own_references(tmp_path / "mine")
    (mine / "membership.npy").rename(mine / "membership.npz")
    path = edited(tmp_path, with_references(f'folder = "{mine}"\n'))
    stamp = stamped(config.load(path), tmp_path / "run")["references"]
    names = ["a.safetensors", "b.ckpt", "membership.npz"]
    assert sorted(stamp["inputs"]["files"]) == names


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (["mine"], "references.folder: {} does not exist. Fix: correct it."),
        (
            ["a.safetensors", "b.ckpt"],
            "references.folder: {} has no .ckpt or .safetensors file. Fix: put the "
            "checkpoints of your references there.",
        ),
        (
            ["membership.npy"],
            "references.folder: {} has no membership.npy. Fix: save there which "
            "records of the source each model was trained on.",
        ),
    ],
)
def test_an_incomplete_folder_of_references_is_refused(
    lost: list[str], message: str, tmp_path: Path
) -> None:
    mine = own_references(tmp_path / "mine")
    for name in lost:
        if name == "mine":
            mine = tmp_path / "nowhere"
        else:
            (mine / name).unlink()
    path = edited(tmp_path, with_references(f'folder = "{mine}"'))
    with pytest.raises(AuditError) as caught:
        stamped(config.load(path), tmp_path / "run")
    assert str(caught.value) == message.format(mine)


def test_a_file_in_place_of_a_folder_of_references_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, with_references(f'folder = "{tmp_path}/audit.toml"'))
    with pytest.raises(AuditError, match=r"audit\.toml is not a folder. Fix: corr"):
        stamped(config.load(path), tmp_path / "run")


LEARNED = '[[attack.methods]]\nmethod = "lr"\nfeatures = ["loss", "{}"]\n'
NONE = "needs references, and there are none. Fix: raise references.count, or leave"
FEW = (
    "needs 2 references on a side of a record, and there is 1. "
    "Fix: raise references.count to 4, or leave"
)
ONLINE = "lira_online_bayes"
NEEDS = {
    (0, 'attacks = ["loss", "rmia_online"]'): (
        f"attack.attacks (rmia_online): {NONE} this attack out."
    ),
    (0, 'attacks = ["attack_r"]'): (
        f"attack.attacks (attack_r): {NONE} this attack out."
    ),
    (0, LEARNED.format("references")): (
        f"attack.methods.lr.features: names 'references', which {NONE} it out."
    ),
    (0, LEARNED.format("attack_r")): (
        f"attack.methods.lr.features: names 'attack_r', which {NONE} it out."
    ),
    (2, f'attacks = ["lira_online", "{ONLINE}"]'): (
        f"attack.attacks ({ONLINE}): {FEW} this attack out."
    ),
    (2, LEARNED.format(ONLINE)): (
        f"attack.methods.lr.features: names {ONLINE!r}, which {FEW} it out."
    ),
}


def attacking(folder: Path, references: str, attack: str) -> Path:
    path = folder / "audit.toml"
    whole = AUDIT.partition("[attack]")[0]
    text = f"{whole}[references]\n{references}\n\n[attack]\n{attack}"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("count", "text"), NEEDS)
def test_what_needs_more_references_than_there_are_is_refused(
    count: int, text: str, tmp_path: Path
) -> None:
    path = attacking(tmp_path, f"count = {count}", text)
    assert refusal(path) == NEEDS[count, text]
    # How many of his own a user has is not known yet, and 4 are enough.
    for enough in ('folder = "mine"', "count = 4"):
        config.load(attacking(tmp_path, enough, text))


def test_two_references_are_enough_for_all_attacks_but_the_bayesian(
    tmp_path: Path,
) -> None:
    rest = [name for name in catalogue.names() if name != ONLINE]
    path = attacking(tmp_path, "count = 2", f"attacks = {json.dumps(rest)}")
    assert config.load(path).attack.attacks == tuple(rest)


def test_without_references_all_means_the_attacks_that_need_none(
    tmp_path: Path,
) -> None:
    path = attacking(tmp_path, "count = 0", 'attacks = "all"')
    assert config.load(path).attack.attacks == "all"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[references]\ncount = 2", "references"),
        ('[references]\nfolder = "mine"', "references"),
        ('[features]\nviews = ["identity", "flip"]', "features.views"),
    ],
)
def test_references_and_views_of_arrays_come_from_the_file(
    text: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "audit.toml"
    path.write_text(f'[data]\nsource = "arrays"\n{text}\n', encoding="utf-8")
    expected = f"{name}: must be left out. Fix: they come from the file of arrays."
    assert refusal(path) == expected


def test_canaries_in_a_model_that_is_given_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ("[target]\n", '[target]\ncheckpoint = "my.ckpt"\n'))
    expected = "data.canaries: need a target trained here, not a checkpoint. Fix: "
    assert refusal(path).startswith(expected)


def test_canaries_in_signals_made_elsewhere_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ('"digits"', '"arrays"'))
    expected = "data: canaries need a target trained here, not signals made elsewhere. "
    assert refusal(path).startswith(expected)


def test_a_population_of_signals_made_elsewhere_comes_from_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.toml"
    path.write_text('[data]\nsource = "arrays"\npopulation = 5\n', encoding="utf-8")
    expected = (
        "data: population must be left out. Fix: it comes from the file of arrays."
    )
    assert refusal(path) == expected


def test_a_target_of_signals_made_elsewhere_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ('"digits"', '"arrays"'), ("canaries = 0.25", ""))
    expected = "target: must be empty, as the signals were made elsewhere. Fix: "
    assert refusal(path).startswith(expected)


def test_normalisation_of_a_users_own_images_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ('"digits"', '"my_data.py:datasets"\nmean = [0.5]'))
    expected = "data: mean applies to digits, cifar10 and cifar100 only. Fix: "
    assert refusal(path).startswith(expected)


def test_a_missing_network_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = edited(tmp_path, ('network = "cnn_digits"\n', ""))
    assert "target.network: is missing. Fix: use one of cnn, cnn_digits, " in (
        refusal(path)
    )


def test_a_target_neither_given_nor_trained_here_is_refused(tmp_path: Path) -> None:
    recipe = AUDIT[AUDIT.index("[target.training]") : AUDIT.index("[features]")]
    path = edited(tmp_path, (recipe, ""))
    expected = "target: has neither a checkpoint nor a [target.training]. Fix: "
    assert refusal(path).startswith(expected)


@pytest.mark.parametrize("std", ["0.0", "-1.0"])
def test_a_deviation_that_is_not_positive_is_refused(std: str, tmp_path: Path) -> None:
    path = edited(tmp_path, ('"digits"', f'"digits"\nstd = [{std}]'))
    assert refusal(path).startswith(f"data: std must be positive, got {std}. Fix: ")


def test_settings_cannot_be_changed_once_read(tmp_path: Path) -> None:
    settings = config.load(edited(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        settings.split.seed = 5


def test_the_recipe_is_ignored_when_a_checkpoint_is_given(tmp_path: Path) -> None:
    checkpoint = ("[target]\n", '[target]\ncheckpoint = "my.ckpt"\n')
    none = ("canaries = 0.25\n", "")
    one = config.load(edited(tmp_path, checkpoint, none))
    other = config.load(
        edited(tmp_path, checkpoint, none, ("epochs = 2", "epochs = 9"))
    )
    assert one.target.training is None
    assert one.target.model_dump() == other.target.model_dump()


def test_n_iter_is_ignored_in_a_search_of_the_whole_grid(tmp_path: Path) -> None:
    before = dumps(config.load(edited(tmp_path)))
    path = edited(tmp_path, ("folds = 3", "folds = 3\nn_iter = 4"))
    assert dumps(config.load(path)) == before


def test_n_iter_counts_in_a_random_search(tmp_path: Path) -> None:
    random = 'folds = 3\nsearch = "random"\nn_iter = 4'
    settings = config.load(edited(tmp_path, ("folds = 3", random)))
    assert settings.attack.n_iter == 4


@pytest.mark.parametrize("setting", ['intervals = "bootstrap"', "resamples = 400"])
def test_a_bootstrap_is_not_a_setting(setting: str, tmp_path: Path) -> None:
    name, _, _ = setting.partition(" ")
    message = refusal(edited(tmp_path, ("= 0.6", f"= 0.6\n{setting}")))
    assert message.startswith(f"report.{name}: is not a setting.")


def test_groups_are_stamped_by_content_and_rerun_the_report_alone(
    tmp_path: Path,
) -> None:
    groups = tmp_path / "groups.npy"
    groups.write_bytes(b"one")
    path = edited(tmp_path, ("= 0.6", f'= 0.6\ngroups = "{groups}"'))
    settings = config.load(path)
    before = stamped(settings, tmp_path)
    assert stamps.paths(settings, path, None)["groups"] == str(groups)
    groups.write_bytes(b"another")
    after = stamped(settings, tmp_path)
    assert [name for name in STAGES if before[name] != after[name]] == [
        "report",
        "page",
    ]
    groups.unlink()
    with pytest.raises(AuditError) as caught:
        stamped(settings, tmp_path)
    assert str(caught.value) == (
        f"report.groups: {groups} does not exist. Fix: correct it."
    )


def test_where_the_data_lie_changes_nothing(tmp_path: Path) -> None:
    path = edited(tmp_path)
    one, other = config.load(path, "here"), config.load(path, "there")
    assert (one.data.path, other.data.path) == ("here", "there")
    assert dumps(one) == dumps(other)


def test_comments_and_the_order_of_settings_change_nothing(tmp_path: Path) -> None:
    before = dumps(config.load(edited(tmp_path)))
    path = edited(
        tmp_path,
        ("members = 50\n", ""),
        ("canaries = 0.25", "canaries = 0.25  # a quarter\n\nmembers = 50"),
        ("{ n_neighbors = [3, 5], p = [2] }", "{ p = [2], n_neighbors = [3, 5] }"),
    )
    assert dumps(config.load(path)) == before


def test_the_order_of_sections_changes_nothing(tmp_path: Path) -> None:
    before = dumps(config.load(edited(tmp_path)))
    report = "[report]\nthreshold = 0.6\n"
    path = edited(tmp_path, (report, ""), ("[split]", f"{report}\n[split]"))
    assert dumps(config.load(path)) == before


def test_another_value_changes_the_settings(tmp_path: Path) -> None:
    before = dumps(config.load(edited(tmp_path)))
    assert dumps(config.load(edited(tmp_path, ("= 50", "= 51")))) != before


def test_a_number_in_place_of_a_grid_is_refused_by_its_name(tmp_path: Path) -> None:
    message = refusal(edited(tmp_path, ("[1.0]", "1.0")))
    assert message.endswith(
        "is 1.0, neither a list nor a range. "
        'Fix: write a list, or a range such as "logspace(-4, 2, 10)".'
    )


def test_a_folder_in_place_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = ("[target]\n", f'[target]\ncheckpoint = "{tmp_path}"\n')
    settings = config.load(edited(tmp_path, checkpoint, ("canaries = 0.25\n", "")))
    with pytest.raises(AuditError, match=r"target\.checkpoint: .* is a folder"):
        stamped(settings, tmp_path / "run")


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = ("[target]\n", '[target]\ncheckpoint = "none.ckpt"\n')
    settings = config.load(edited(tmp_path, checkpoint, ("canaries = 0.25\n", "")))
    with pytest.raises(AuditError, match=r"target\.checkpoint: /.*none\.ckpt does not"):
        stamped(settings, tmp_path / "run")


def test_digits_need_no_data_wherever_they_are_said_to_lie(tmp_path: Path) -> None:
    path = edited(tmp_path)
    plain = stamped(config.load(path), tmp_path / "run")
    assert stamped(config.load(path, "nowhere"), tmp_path / "run") == plain


def test_a_corrupt_memory_of_digests_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stamps" / "digests.json"
    path.parent.mkdir()
    path.write_text("{", encoding="utf-8")
    with pytest.raises(AuditError, match=r"digests\.json: is corrupt. Fix: run `rm "):
        stamped(config.load(edited(tmp_path)), tmp_path)


def test_a_feature_that_is_left_out_of_the_attacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text(
        '[data]\nsource = "arrays"\n[attack]\nattacks = ["loss"]\n'
        '[[attack.methods]]\nmethod = "lr"\nfeatures = ["margin", "qmia"]\n',
        encoding="utf-8",
    )
    expected = (
        "attack: has lr learn from qmia, which is not in attacks. Fix: add it, or "
        "leave it out of features."
    )
    assert refusal(path) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            '["label"]',
            "data.inputs: names label, which no network is given. Fix: leave it out.",
        ),
        ('["a", "a"]', "data.inputs: names 'a' twice. Fix: name it once."),
        ("[]", "data.inputs: is []. Fix: note that "),
        (
            '["ids"]',
            "data: inputs name the columns of datasets of your own. Fix: leave them "
            "out.",
        ),
    ],
)
def test_inputs_that_cannot_be_are_refused(
    given: str, message: str, tmp_path: Path
) -> None:
    path = edited(tmp_path, ("[split]", f"inputs = {given}\n\n[split]"))
    assert refusal(path).startswith(message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("-1", "target.output"),
        ("true", "target.output"),
        ("1.5", "target.output"),
        ("[0]", "target.output"),
    ],
)
def test_an_output_is_a_place_or_a_name(
    given: str, message: str, tmp_path: Path
) -> None:
    path = edited(tmp_path, ("[target]", f"[target]\noutput = {given}"))
    assert refusal(path).startswith(message)
    for name, value in (("0", 0), ('"logits"', "logits")):
        path = edited(tmp_path, ("[target]", f"[target]\noutput = {name}"))
        assert config.load(path).target.output == value


def test_a_mode_other_than_the_three_is_refused() -> None:
    for mode in ("auto", "graph", "pynative"):
        assert config.Features(mode=mode).mode == mode
    with pytest.raises(ValueError, match="'auto', 'graph' or 'pynative'"):
        config.Features(mode="eager")  # type: ignore[arg-type]


def test_an_output_decides_what_networks_say_and_a_mode_what_is_extracted(
    tmp_path: Path,
) -> None:
    def changed(*edits: tuple[str, str]) -> list[str]:
        before = stamped(config.load(edited(tmp_path)), tmp_path)
        after = stamped(config.load(edited(tmp_path, *edits)), tmp_path)
        return [
            name
            for name in before
            if before[name]["settings"] != after[name]["settings"]
        ]

    by_output = changed(("[target]", "[target]\noutput = 0"))
    assert by_output == ["target", "references", "features"]
    assert changed(("[features]", '[features]\nmode = "graph"')) == ["features"]


def test_units_are_stamped_by_content_and_rerun_all(tmp_path: Path) -> None:
    units = tmp_path / "persons.npy"
    units.write_bytes(b"one")
    path = edited(
        tmp_path, ('source = "digits"', f'source = "digits"\nunits = "{units}"')
    )
    settings, run = config.load(path), tmp_path / "run"
    before = stamped(settings, run)
    assert "units" not in before["records"]["settings"]["data"]
    assert stamps.paths(settings, path, None)["units"] == str(units)
    units.write_bytes(b"another")
    after = stamped(settings, run)
    changed = [name for name in STAGES if before[name] != after[name]]
    assert changed == [*STAGES]
    units.unlink()
    with pytest.raises(AuditError) as caught:
        stamped(settings, run)
    assert str(caught.value) == f"data.units: {units} does not exist. Fix: correct it."


# What is said of the audit


def about(folder: Path, *lines: str) -> config.About:
    path = edited(folder, ("[report]", "\n".join(("[about]", *lines, "[report]"))))
    return config.load(path).about


def test_what_is_said_of_an_audit_is_free_text_that_may_be_left_out(
    tmp_path: Path,
) -> None:
    assert config.load(edited(tmp_path)).about == config.About()
    said = about(
        tmp_path,
        'name = "  Digits <b>2</b> "',
        'owner = ""',
        "date = 2026-11-25",
        'notes = """Two\nlines."""',
    )
    assert said == config.About(
        name="Digits <b>2</b>", date="2026-11-25", notes="Two\nlines."
    )
    assert said.owner is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            f'name = "{201 * "a"}"',
            f"about.name: is {201 * 'a'!r}. Fix: note that string should have at most "
            "200 characters.",
        ),
        (
            f'notes = "{4001 * "a"}"',
            f"about.notes: is {4001 * 'a'!r}. Fix: note that string should have at "
            "most 4000 characters.",
        ),
        (
            "owner = 7",
            "about.owner: is 7. Fix: note that input should be a valid string.",
        ),
        (
            'onwer = "me"',
            "about.onwer: is not a setting. Fix: use owner.",
        ),
    ],
)
def test_what_cannot_be_said_of_an_audit_is_refused(
    line: str, message: str, tmp_path: Path
) -> None:
    path = edited(tmp_path, ("[report]", f"[about]\n{line}\n[report]"))
    assert refusal(path) == message


def test_what_is_said_of_an_audit_reruns_the_report_alone(tmp_path: Path) -> None:
    before = stamped(config.load(edited(tmp_path)), tmp_path)
    path = edited(tmp_path, ("[report]", '[about]\nname = "x"\n[report]'))
    after = stamped(config.load(path), tmp_path)
    assert [name for name in before if before[name] != after[name]] == [
        "report",
        "page",
    ]


# The schema for editors


def test_the_schema_of_the_configs_is_the_present_one() -> None:
    # Written by `python -m tests.config_schema`.
    assert config_schema.SCHEMA.read_text(encoding="utf-8") == config_schema.text()


def test_every_section_and_every_setting_has_a_description() -> None:
    sections = json.loads(config_schema.text())["$defs"]
    described = {
        f"{section}.{name}": setting.get("description", "")
        for section, content in sections.items()
        for name, setting in content["properties"].items()
    }
    assert len(described) > 60
    described |= {name: content["description"] for name, content in sections.items()}
    assert [name for name, text in described.items() if not text.endswith(".")] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_editors_find_the_schema_in_the_first_line(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    name = first.removeprefix("#:schema ")
    assert path.parent / name == config_schema.SCHEMA
