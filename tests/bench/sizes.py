"""Sizes: how much each part of the bench works on."""

import json
import os
from dataclasses import dataclass, replace

from pipeline.attacks import grids


@dataclass(frozen=True)
class Extraction:
    """What a network is run over."""

    network: str  # of `networks.NETWORKS`
    image_size: int  # pixels of each side
    batch_size: int  # in records
    shard_rows: int  # in records
    shards: int  # the first is not timed


@dataclass(frozen=True)
class Arrays:
    """An audit of signals drawn for it."""

    records: int
    classes: int
    references: int


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    pairs: int  # runs of either side, in alternation
    noops: int  # runs in each pair in which nothing is to be done
    members: int  # of the target that is trained here, and as many non-members
    epochs: int  # of its training; 0 leaves it as it is made
    grids: dict[str, dict[str, str]]  # parameters of each method, in TOML
    added: tuple[str, str, str]  # a method, its parameter, and its values with one more
    extraction: tuple[Extraction, ...]
    digits: dict[str, int]  # settings of the digits audit that are replaced
    ranks: int  # processes that train its references
    kernel_records: int
    kernel_references: int
    growth: dict[str, tuple[Arrays, ...]]  # curves, by what grows
    large: tuple[Arrays, ...]  # whose memory and time have targets


C = "logspace(-4, 2, 10)"
# The grids of MindArmour's tutorial; scikit-learn has dropped "auto" of max_features,
# which meant the square root.
TUTORIAL = {
    "lr": {"C": json.dumps(C)},
    "knn": {"n_neighbors": "[3, 5, 7]"},
    "mlp": {
        "hidden_layer_sizes": "[[64], [32, 32]]",
        "solver": '["adam"]',
        "alpha": "[0.0001, 0.001, 0.01]",
    },
    "rf": {
        "n_estimators": "[100]",
        "max_features": '["sqrt"]',
        "max_depth": '[5, 10, 20, "None"]',
        "min_samples_split": "[2, 5, 10]",
        "min_samples_leaf": "[1, 2, 4]",
    },
}
SMALL = {
    "lr": {"C": "[0.1, 1.0]"},
}


def _growing(start: Arrays, name: str, *values: int) -> tuple[Arrays, ...]:
    """Return a curve on which one number grows and the others stay."""
    return tuple(replace(start, **{name: value}) for value in values)


SIZES = {
    "tiny": Size(
        pairs=1,
        noops=1,
        members=60,
        epochs=0,
        grids=SMALL,
        added=("lr", "C", "[0.1, 1.0, 10.0]"),
        extraction=(Extraction("cnn", 32, 16, 16, 4),),
        digits={"members": 200, "nonmembers": 200, "epochs": 1, "count": 4},
        ranks=1,
        kernel_records=200,
        kernel_references=8,
        growth={"records": _growing(Arrays(0, 4, 2), "records", 200)},
        large=(),
    ),
    "full": Size(
        pairs=3,
        noops=5,
        members=5000,
        epochs=12,
        grids=TUTORIAL,
        added=("lr", "C", json.dumps([*grids.values("C", C), 1000.0])),
        extraction=(
            Extraction("cnn", 32, 256, 1024, 16),
            Extraction("vgg16_32", 32, 64, 128, 12),
            Extraction("vgg16", 224, 16, 16, 9),
        ),
        digits={},
        ranks=os.cpu_count() or 1,
        kernel_records=20_000,
        kernel_references=16,
        growth={
            "records": _growing(
                Arrays(0, 10, 8), "records", 1000, 10_000, 100_000, 1_000_000
            ),
            "classes": _growing(Arrays(2000, 0, 4), "classes", 10, 100, 1000, 10_000),
            "references": _growing(
                Arrays(10_000, 10, 0), "references", 2, 4, 8, 16, 32, 64
            ),
        },
        large=(Arrays(1_000_000, 10, 8), Arrays(1_000_000, 100, 64)),
    ),
}
