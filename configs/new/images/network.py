"""The network of the model that is audited."""

from mindspore import nn


def build() -> nn.Cell:
    """Return the network with fresh weights."""
    # REPLACE: your own network, as it was built to be trained.
    return nn.SequentialCell(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Dense(16 * 4 * 4, 64),
        nn.ReLU(),
        nn.Dense(64, 10),
    )
