"""The network of the model that is audited."""

from mindspore import nn


def build() -> nn.Cell:
    """Return the network with fresh weights."""
    # REPLACE: your own network, as it was built to be trained.
    return nn.SequentialCell(
        nn.Flatten(), nn.Dense(64, 64), nn.ReLU(), nn.Dense(64, 10)
    )
