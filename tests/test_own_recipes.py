"""Models that are trained by a recipe of the user's, from the config to the files."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import config, draws
from pipeline.cache import kinds
from pipeline.data import sources
from stages import references, target
from tests import jobs
from tests.conftest import PROJECT, Checkout
from tests.test_references import told_records

BLOCKS = re.findall(
    r"```python\n(.*?)```", (PROJECT / "docs" / "recipes.md").read_text(), re.DOTALL
)
NETWORK = """
from mindspore import nn

def build():
    return nn.SequentialCell(
        nn.Flatten(), nn.Dense(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(p=0.2),
        nn.Dense(8, 10))
"""
# What a user would write who knows nothing of this project.
BY_HAND = """
import json, random
import mindspore as ms
import numpy as np
from mindspore.dataset import NumpySlicesDataset
from sklearn.datasets import load_digits
import my_net, my_recipe

ms.set_device("CPU")
ms.device_context.cpu.op_tuning.threads_num(1)
images = (load_digits().images * 15).astype(np.float32)[:, None] / np.float32(255)

class Records:
    def __init__(self, ids, label):
        self.ids, self.label = np.array(ids), np.array(label, np.int32)

    def __len__(self):
        return len(self.ids)

    def dataset(self):
        columns = {"image": images[self.ids], "label": self.label}
        return NumpySlicesDataset(columns, shuffle=False)

    def advance(self, loss, total): ...

def seeded(seed):
    random.seed(seed)
    np.random.seed(seed)
    ms.set_seed(seed)
    ms.dataset.config.set_seed(seed)

for model in json.load(open("models.json")):
    seeded(model["weights"])
    network = my_net.build()
    seeded(model["seed"])
    ms.set_context(mode=ms.PYNATIVE_MODE)
    my_recipe.train(network, Records(model["ids"], model["label"]), model["seed"])
    ms.save_checkpoint(network, model["file"])
"""


def digits(n: int) -> kinds.Records:
    """Return records of the digits, of which each third has a wrong label."""
    ids = 3 + 2 * np.arange(n)
    catalogue = sources.catalogue(config.Data(source="digits"))
    label = catalogue.label[ids]
    wrong = np.arange(n) % 3 == 0
    return told_records(
        id=ids,
        label=np.where(wrong, (label + 1) % 10, label).astype(np.int32),
        member=np.arange(n) < n // 2,
        population=np.zeros(n, dtype=bool),
        canary=wrong,
        content=catalogue.content[ids],
    )


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    short = BLOCKS[0].replace(
        "EPOCHS, BATCH_SIZE = 30, 32", "EPOCHS, BATCH_SIZE = 3, 8"
    )
    assert short != BLOCKS[0]
    Path("my_recipe.py").write_text(short)
    Path("my_net.py").write_text(NETWORK)
    return tmp_path


def test_references_are_to_the_last_byte_those_of_the_recipe_run_by_hand(
    files: Path,
) -> None:
    """Of the recipe in docs/recipes.md: label smoothing, and a step of its own."""
    records, half = digits(40), np.arange(40) % 2 == 0
    member = np.stack((half, ~half))
    training = {"recipe": "my_recipe.py:train", "device": "CPU"}
    settings = config.References.model_validate({"count": 2, "training": training})
    sections = {"target": {"network": "my_net.py:build"}, "data": {"source": "digits"}}
    job = jobs.job("references", files / "run", sections)
    done: list[int] = []
    references.train(job, settings, records, member, [0, 1], done.append)
    assert done == [0, 1]

    models = [
        {
            "weights": draws.integer(1, "references.weights", model),
            "seed": draws.integer(1, "references.recipe", model),
            "ids": records.id[rows].tolist(),
            "label": records.label[rows].tolist(),
            "file": f"{model}.ckpt",
        }
        for model, rows in enumerate(member)
    ]
    Path("models.json").write_text(json.dumps(models))
    Path("by_hand.py").write_text(BY_HAND)
    subprocess.run([sys.executable, "by_hand.py"], check=True, capture_output=True)
    for model in range(2):
        ours = job.folder("references") / f"reference-00{model}.ckpt"
        assert ours.read_bytes() == Path(f"{model}.ckpt").read_bytes()


def test_the_second_recipe_of_the_docs_trains_a_target(files: Path) -> None:
    head = "import mindspore as ms\nfrom mindspore import nn\n\n"
    Path("my_recipe.py").write_text(head + BLOCKS[1].replace("train(30,", "train(2,"))
    training = {"recipe": "my_recipe.py:train", "device": "CPU"}
    settings = {
        "target": {"network": "my_net.py:build", "training": training},
        "data": {"source": "digits"},
    }
    job = jobs.job("target", files / "run", settings)
    features = jobs.job("features", files, {"features": {}}).stamps["features"]
    job = replace(job, stamps={**job.stamps, "features": features})
    section = job.section(config.Target)
    assert section.training is not None
    accuracies, _ = target.train(job, section, section.training, digits(80))
    assert (job.folder("target") / "checkpoint.ckpt").exists()
    assert accuracies.train_accuracy is not None
    assert accuracies.train_accuracy > 0.15  # a guess is right for a tenth


RECIPE = """
import mindspore as ms
from mindspore import nn

def train(network, records, seed):
    model = ms.train.Model(
        network, nn.CrossEntropyLoss(), nn.SGD(network.trainable_params(), 0.01))
    model.train(1, records.dataset().batch(16), dataset_sink_mode=False)
"""


def test_references_are_fine_tuned_by_an_own_recipe_and_anew_only_if_it_changes(
    checkout: Checkout,
) -> None:
    import mindspore as ms

    from pipeline.models import checkpoints, networks

    ms.set_seed(1)
    network = networks.build("cnn_digits", 10)
    checkpoints.save(network, checkout.folder / "my.ckpt")
    text = checkout.config.read_text()
    own, rest = text.split("[target.training]")
    own += 'checkpoint = "my.ckpt"\n\n'
    training = 'recipe = "my_recipe.py:train"\nstart = "my.ckpt"\n'
    rest = rest[rest.index("[references]") :].replace(
        "count = 2\nseed = 1\n",
        f"count = 2\nseed = 1\n[references.training]\n{training}",
    )
    checkout.config.write_text(own + rest)
    recipe = checkout.folder / "my_recipe.py"
    recipe.write_text(RECIPE)

    def made() -> list[bytes]:
        folder = checkout.run / "references"
        return [path.read_bytes() for path in sorted(folder.glob("*.ckpt"))]

    done = checkout.make("references")
    assert "references 2 of 2 trained" in done.stdout, done.stderr
    assert re.search(r"note: references: \d+ s each, about \d+ s in all", done.stderr)
    first = made()
    assert len({*first}) == 2
    before = network.parameters_dict()["classifier.1.weight"].asnumpy()
    after = ms.load_checkpoint(str(checkout.run / "references/reference-000.ckpt"))
    moved = np.abs(after["classifier.1.weight"].asnumpy() - before).max()
    assert 0 < moved < 0.1
    recipe.write_text(f"# A comment.\n{RECIPE}")
    assert checkout.ran("references") == []
    recipe.write_text(RECIPE.replace("0.01", "0.02"))
    assert checkout.ran("references") == ["references"]
    assert not {*first} & {*made()}


def test_what_the_recipe_and_its_start_are_decides_a_reference(tmp_path: Path) -> None:
    def key(files: dict[str, str], **training: Any) -> str:
        settings = config.References.model_validate(
            {"count": 2, "training": {"recipe": "a.py:train", **training}}
        )
        job = jobs.job("references", tmp_path, {"target": {"network": "cnn_digits"}})
        stamp = job.stamps["references"]
        stamp = {**stamp, "inputs": {**stamp["inputs"], "files": files}}
        job = replace(job, stamps={**job.stamps, "references": stamp})
        return references.key_of(job, settings, 0, np.array([True]))

    recipe = {"recipe: a.py": "1"}
    keys = [
        key(recipe),
        key({"recipe: a.py": "2"}),
        key({**recipe, "recipe: b.py": "1"}),
        key({**recipe, "start": "1"}),
        key(recipe, recipe="a.py:other"),
        key(recipe, start="a.ckpt", start_allow_missing=["fc.*"]),
    ]
    assert len({*keys}) == len(keys)
    assert key(recipe, recipe="folder/a.py:train", seed=7) == keys[0]
