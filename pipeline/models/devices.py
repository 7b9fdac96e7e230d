"""Devices: where networks run."""

import sys

import mindspore as ms
import numpy as np
from mindspore.dataset import vision
from numpy.typing import NDArray

from pipeline.errors import AuditError

PREFERENCE = ("Ascend", "GPU", "CPU")
MISSING = {
    "Ascend": "install CANN and source its set_env.sh (libge_runner.so is missing)",
    "GPU": "install CUDA and a MindSpore wheel that is built for it",
    "CPU": "install a MindSpore wheel for this machine",
}


def start(name: str) -> str:
    """Choose the device of this process and compile graphs from now on.

    Args:
        name: "Ascend", "GPU", "CPU", or "auto" for the first of these that is usable.

    Returns:
        The device's name.

    Raises:
        AuditError: if the named device is absent, saying what is missing.
    """
    wanted = PREFERENCE if name == "auto" else (name,)
    for device in wanted:
        if ms.hal.is_available(device):
            ms.set_device(device)
            ms.set_context(mode=ms.GRAPH_MODE)
            return device
    problem = f"{name} cannot be used by MindSpore {ms.__version__} here"
    fix = f"{MISSING.get(name, MISSING['CPU'])}, or use auto"
    raise AuditError("device", problem, fix)


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images interpolated bilinearly to a square, as the tutorial's pipeline.

    Args:
        images: (n_images, height, width, n_channels).
        size: side of the square, in pixels.
    """
    operation = vision.Resize((size, size))
    out = [operation(image).reshape(size, size, -1) for image in images]
    return np.stack(out)


if __name__ == "__main__":
    sys.stdout.write(start("auto"))
