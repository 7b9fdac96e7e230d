"""CNN: a small convolutional network that two cores train in seconds to minutes."""

from typing import Any

from mindspore import nn


class Cnn(nn.Cell):  # type: ignore[misc]
    """Blocks of convolution, batch norm, ReLU and pooling, then two dense layers.

    Args:
        widths: output channels of each block, which halves the image.
        hidden: units of the first dense layer.
        image: channels, and pixels of each side.
        n_classes: number of outputs.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        hidden: int,
        image: tuple[int, int],
        n_classes: int,
    ) -> None:
        super().__init__()
        n_in, side = image
        layers: list[nn.Cell] = []
        for n_out in widths:
            layers += [
                nn.Conv2d(n_in, n_out, 3, weight_init="HeUniform"),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
                nn.MaxPool2d(kernel_size=2, stride=2),
            ]
            n_in, side = n_out, side // 2
        self.layers = nn.SequentialCell(layers)
        self.classifier = nn.SequentialCell(
            nn.Flatten(),
            nn.Dense(n_in * side * side, hidden),
            nn.ReLU(),
            nn.Dense(hidden, n_classes),
        )

    def construct(self, images: Any) -> Any:
        """Return (n, n_classes) logits of (n, n_channels, side, side) images."""
        return self.classifier(self.layers(images))
