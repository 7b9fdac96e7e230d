"""Thumbnails: records as a reader sees them, images as pictures, others as numbers."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

LARGEST = 64  # pixels of a side; of larger pictures every second, third … is shown
SMALLEST = 4  # pixels of a side; what is smaller is no picture
VALUES = 6  # shown of a record that is no picture
CHANNELS = (1, 3)


def picture(record: Sequence[NDArray[Any]]) -> str | None:
    """Return a record as a data URI of a PNG; None if none of its inputs is an image.

    Bytes are shown as they are. Other numbers are stretched to the range of the image,
    as their scale is the user's own.

    Args:
        record: its inputs, of which an image is (height, width), or (height, width,
            n_channels) with the channels first or last.
    """
    images = (_channels_last(array) for array in record)
    pixels = next((image for image in images if image is not None), None)
    if pixels is None:
        return None
    step = -(-max(pixels.shape[:2]) // LARGEST)
    pixels = pixels[::step, ::step]
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        stretched = (pixels.astype(np.float64) - low) / ((high - low) or 1.0)
        pixels = np.round(255 * stretched).astype(np.uint8)
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    file = io.BytesIO()
    imsave(file, np.ascontiguousarray(rgb), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def values(record: Sequence[NDArray[Any]]) -> str:
    """Return the first numbers of each input of a record.

    Args:
        record: its inputs, (...,) of any shape.
    """
    return "; ".join(map(_first, record))


def _first(array: NDArray[Any]) -> str:
    flat = array.reshape(-1)
    shown = ", ".join(map(_short, flat[:VALUES].tolist()))
    return f"{shown}, … ({flat.size} values)" if flat.size > VALUES else shown


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _channels_last(array: NDArray[Any]) -> NDArray[Any] | None:
    """Return (height, width, n_channels); None of what is no image."""
    if array.ndim == 2:
        pixels = array[:, :, None]
    elif array.ndim == 3 and array.shape[2] in CHANNELS:
        pixels = array
    elif array.ndim == 3 and array.shape[0] in CHANNELS:
        pixels = array.transpose(1, 2, 0)
    else:
        return None
    return pixels if min(pixels.shape[:2]) >= SMALLEST else None
