"""Networks: the classifiers that an audit can train or load, by name."""

from collections.abc import Callable

from mindspore import nn

from pipeline.data import modules
from pipeline.errors import AuditError
from pipeline.models.networks.cnn import Cnn
from pipeline.models.networks.vgg import vgg16

NETWORKS: dict[str, Callable[[int], nn.Cell]] = {
    "cnn": lambda n_classes: Cnn((32, 64, 128), 256, (3, 32), n_classes),
    "cnn_digits": lambda n_classes: Cnn((16,), 256, (1, 8), n_classes),
    "vgg16": lambda n_classes: vgg16(n_classes, image_size=224),
    "vgg16_32": lambda n_classes: vgg16(n_classes, image_size=32),
}


def build(name: str, n_classes: int) -> nn.Cell:
    """Return a network by its name in the config.

    Args:
        name: one of `NETWORKS`, or file.py:function of the user's.
        n_classes: number of outputs; a user's function knows its own.

    Raises:
        AuditError: if the user's function does not return a network.
    """
    if not modules.is_function(name):
        return NETWORKS[name](n_classes)
    network = modules.call(name)
    if not isinstance(network, nn.Cell):
        problem = f"returns {type(network).__name__}, not a mindspore.nn.Cell"
        raise AuditError(name, problem, "return the network itself")
    return network
