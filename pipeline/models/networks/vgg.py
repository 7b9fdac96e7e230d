"""VGG: the sixteen-layer network of MindArmour's tutorial."""

from typing import Any

from mindspore import nn

# Output channels of each 3×3 convolution; None halves the image.
VGG16 = (
    *(64, 64, None),
    *(128, 128, None),
    *(256, 256, 256, None),
    *(512, 512, 512, None),
    *(512, 512, 512, None),
)
N_MAPS = 512  # of the last convolution
HIDDEN = 4096


class Vgg(nn.Cell):  # type: ignore[misc]
    """Convolutions without bias, batch norm, and a classifier of three dense layers.

    The attributes ``layers`` and ``classifier`` and their order decide the names of the
    parameters, which are those of checkpoints trained with MindArmour's example.

    Source: Simonyan and Zisserman 2015, arXiv:1409.1556, table 1, column D.
    """

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Cell] = []
        n_in = 3
        for n_out in VGG16:
            if n_out is None:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
                continue
            convolution = nn.Conv2d(
                n_in, n_out, 3, pad_mode="same", weight_init="XavierUniform"
            )
            layers += [convolution, nn.BatchNorm2d(n_out), nn.ReLU()]
            n_in = n_out
        self.layers = nn.SequentialCell(layers)
        self.flatten = nn.Flatten()
        # The tutorial's dropout keeps everything; it stays for the parameters' names.
        self.classifier = nn.SequentialCell(
            nn.Dense(n_features, HIDDEN),
            nn.ReLU(),
            nn.Dropout(p=0.0),
            nn.Dense(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Dropout(p=0.0),
            nn.Dense(HIDDEN, n_classes),
        )

    def construct(self, images: Any) -> Any:
        """Return (n_images, n_classes) logits of (n_images, 3, size, size) images."""
        return self.classifier(self.flatten(self.layers(images)))


def vgg16(n_classes: int, *, image_size: int) -> Vgg:
    """Return VGG16 for square images whose side is a multiple of 32 pixels."""
    # Five poolings halve the side.
    side = image_size // 2**5
    return Vgg(N_MAPS * side * side, n_classes)
