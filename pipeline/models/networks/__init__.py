"""Networks: the classifiers that an audit can train or load, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from mindspore import nn

from pipeline.config import Target
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
# A package whose models have names in a list of its own.
MINDCV = "mindcv"


def of_target(target: Target, n_classes: int) -> nn.Cell:
    """Return a target's network with fresh weights; for the rest see `build`."""
    return build(str(target.network), n_classes, target.network_args)


def build(
    name: str, n_classes: int, arguments: Mapping[str, Any] | None = None
) -> nn.Cell:
    """Return a network by its name in the config.

    Args:
        name: one of `NETWORKS`, mindcv:model, or a function of the user's, as
            `modules.function` knows it.
        n_classes: number of outputs; a user's function knows its own.
        arguments: by keyword, of the user's function or of mindcv's model; mindcv's
            is told the number of outputs as `num_classes`, unless it is among them.

    Raises:
        AuditError: if the function does not return a network, or there is none of
            that name.
    """
    if name in NETWORKS:
        return NETWORKS[name](n_classes)
    package, _, model = name.partition(":")
    if package == MINDCV:
        settings = {"num_classes": n_classes, **(arguments or {})}
        network = _of_mindcv(name, {**settings, "model_name": model})
    else:
        network = modules.call(name, arguments)
    if not isinstance(network, nn.Cell):
        problem = f"returns {type(network).__name__}, not a mindspore.nn.Cell"
        raise AuditError(name, problem, "return the network itself")
    return network


def _of_mindcv(name: str, settings: Mapping[str, Any]) -> Any:
    create = modules.function(f"{MINDCV}:create_model")
    try:
        return create(**settings)
    except Exception as error:
        fix = "name one of `mindcv.list_models()`, with network_args that it takes"
        raise AuditError(name, f"raises {modules.summary(error)}", fix) from error
