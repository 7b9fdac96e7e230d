"""Configs: those of the audits that the bench runs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.attacks import grids
from tests.bench.sizes import Extraction

SEED, FOLDS, EVAL_FRACTION = 1, 3, 0.2
# Of each channel, after rescaling to [0, 1]; the tutorial's values.
MEAN, STD = (0.4465, 0.4822, 0.4914), (0.2010, 0.1994, 0.2023)
NETWORK = "cnn"  # of the target that is trained here
BATCH = 256  # records of a step of its inference


def of_images(images: Path, members: int, image_size: int = 32) -> str:
    """Return the section of CIFAR-100's images."""
    size = f"image_size = {image_size}\n" if image_size != 32 else ""
    return (
        f'[data]\nsource = "cifar100"\npath = {json.dumps(str(images))}\n'
        f'members = {members}\nnonmembers = {members}\nchoose = "first"\n'
        f"mean = {list(MEAN)}\nstd = {list(STD)}\n{size}"
    )


def model(images: Path, members: int, epochs: int) -> str:
    """Return the config by which the target is trained, until it knows its members."""
    return (
        f"{of_images(images, members)}"
        f'[target]\nnetwork = "{NETWORK}"\n'
        f"[target.training]\nlearning_rate = 0.001\nepochs = {epochs}\n"
        f'batch_size = 64\nseed = {SEED}\ndevice = "CPU"\n'
    )


def extraction(images: Path, checkpoint: Path, size: Extraction) -> str:
    """Return the config of an audit whose features are timed."""
    members = size.shards * size.shard_rows // 2
    return (
        f"{of_images(images, members, size.image_size)}"
        f"{_given(size.network, checkpoint)}"
        f'[features]\ndevice = "CPU"\nbatch_size = {size.batch_size}\n'
        f"shard_rows = {size.shard_rows}\n"
    )


def whole(
    images: Path,
    checkpoint: Path,
    members: int,
    methods: Mapping[str, Mapping[str, str]],
) -> str:
    """Return the config of the tutorial's audit, from a checkpoint."""
    return (
        f"{of_images(images, members)}"
        f"[split]\neval_fraction = {EVAL_FRACTION}\nseed = {SEED}\n"
        f"{_given(NETWORK, checkpoint)}"
        f'[features]\ndevice = "CPU"\nbatch_size = {BATCH}\n'
        f"[attack]\nfolds = {FOLDS}\nseed = {SEED}\n{searched(methods)}"
    )


def search(path: Path, methods: Mapping[str, Mapping[str, str]]) -> str:
    """Return the config of a search by some methods, and no other attack."""
    return (
        f"{_arrays(path)}[split]\neval_fraction = {EVAL_FRACTION}\nseed = {SEED}\n"
        f"[attack]\nattacks = []\nfolds = {FOLDS}\nseed = {SEED}\n{searched(methods)}"
    )


def arrays(path: Path) -> str:
    """Return the config of an audit of arrays by every attack without a grid."""
    return f'{_arrays(path)}[attack]\nattacks = "all"\nmethods = []\n'


def searched(methods: Mapping[str, Mapping[str, str]]) -> str:
    """Return the tables of learned attacks."""
    parts = []
    for method, params in methods.items():
        lines = [f"{name} = {values}" for name, values in params.items()]
        parts += [f'[[attack.methods]]\nmethod = "{method}"', "[attack.methods.params]"]
        parts += lines
    return "\n".join(parts) + "\n"


def plain(methods: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the grids with the values that they stand for."""
    return [
        {
            "method": method,
            "params": {
                name: grids.values(f"{method}.{name}", json.loads(values))
                for name, values in params.items()
            },
        }
        for method, params in methods.items()
    ]


def replaced(text: str, settings: Mapping[str, Any]) -> str:
    """Return a config in which some settings have other values, at their first place.

    Raises:
        ValueError: if a setting is not there.
    """
    for name, value in settings.items():
        lines = text.splitlines(keepends=True)
        places = [i for i, line in enumerate(lines) if line.startswith(f"{name} = ")]
        if not places:
            msg = f"{name} is not set"
            raise ValueError(msg)
        lines[places[0]] = f"{name} = {value}\n"
        text = "".join(lines)
    return text


def only(methods: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return some of the methods, in their order."""
    wanted = {*names}
    return {name: grid for name, grid in methods.items() if name in wanted}


def _arrays(path: Path) -> str:
    return f'[data]\nsource = "arrays"\npath = {json.dumps(str(path))}\n'


def _given(network: str, checkpoint: Path) -> str:
    path = json.dumps(str(checkpoint))
    return f'[target]\nnetwork = "{network}"\ncheckpoint = {path}\n'
