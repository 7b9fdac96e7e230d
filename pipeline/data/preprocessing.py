"""Preprocessing: from stored images to the network's input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.config import Data, Features, Training
from pipeline.data import modules, sources
from pipeline.errors import AuditError

PADDING = 4  # pixels on each side, from which a crop of the old size is taken

Images = NDArray[np.uint8]  # (n_images, height, width, n_channels)
Resize = Callable[[Images, int], Images]


@dataclass(frozen=True)
class Draw:
    """Where each image of a batch is cropped and whether it is mirrored."""

    offset: NDArray[np.int64]  # (n_images, 2) top and left corner, in pixels
    mirror: NDArray[np.bool_]  # (n_images,)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> "Draw":
        return Draw(self.offset[rows], self.mirror[rows])

    def only(self, chosen: NDArray[np.bool_]) -> "Draw":
        """Return the draw with all other images left as they are."""
        offset = np.where(chosen[:, None], self.offset, PADDING)
        return Draw(offset, self.mirror & chosen)


def draw(
    n_images: int, kind: Literal["flip", "tutorial"], rng: np.random.Generator
) -> Draw:
    """Draw the augmentation of each image.

    Args:
        n_images: how many.
        kind: "flip" mirrors with probability ½; "tutorial" also crops at random from
            the image padded with zeros, as MindArmour's tutorial does with members.
        rng: the source of randomness.
    """
    offset = np.full((n_images, 2), PADDING)
    if kind == "tutorial":
        offset = rng.integers(0, 2 * PADDING + 1, (n_images, 2))
    return Draw(offset, rng.random(n_images) < 0.5)


def member_augmentation(settings: Features, member: NDArray[np.bool_]) -> Draw | None:
    """Return the augmentation of every record: the tutorial's for members only."""
    if settings.member_augmentation == "none":
        return None
    rng = draws.rng(settings.augmentation_seed, "features.augmentation")
    return draw(len(member), "tutorial", rng).only(member)


def view(name: str, n_images: int) -> Draw:
    """Return the draw that turns every image into one of its views.

    Args:
        name: "identity", "flip" (mirrored), or "shift(dy,dx)": moved down and to the
            right by whole pixels, at most PADDING, zeros moving in.
        n_images: how many.
    """
    offset = np.full((n_images, 2), PADDING)
    if name.startswith("shift"):
        offset = offset - [int(part) for part in name[6:-1].split(",")]
    return Draw(offset, np.full(n_images, name == "flip"))


def augmented(images: NDArray[Any], how: Draw) -> NDArray[Any]:
    """Return images cropped from their zero-padded selves and mirrored.

    Args:
        images: (n_images, height, width, n_channels) of any type.
        how: the draw of each image.
    """
    n, height, width = images.shape[:3]
    around = (PADDING, PADDING)
    padded = np.pad(images, ((0, 0), around, around, (0, 0)))
    rows = how.offset[:, 0, None] + np.arange(height)
    columns = how.offset[:, 1, None] + np.arange(width)
    columns = np.where(how.mirror[:, None], columns[:, ::-1], columns)
    return np.asarray(
        padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    )


def inputs(
    images: NDArray[Any], data: Data, resize: Resize, draws: Sequence[Draw] = ()
) -> NDArray[np.float32]:
    """Return what the network is given for stored images.

    Args:
        images: a block as `datasets.blocks` yields it.
        data: the settings of the source; a user's own images are not normalised.
        resize: the device's bilinear interpolation.
        draws: augmentations of each image, one after the other.

    Returns:
        (n_images, n_channels, height, width), or a user's own shape.

    Raises:
        AuditError: if a value is not finite.
    """
    seen = shown(images, data, draws)
    if modules.is_function(data.source):
        return finite(np.ascontiguousarray(seen, dtype=np.float32), data.source)
    mean, std = sources.channels_normalised_by(data)
    ready = normalised(seen, size=data.image_size, mean=mean, std=std, resize=resize)
    return finite(ready, data.source)


def shown(images: NDArray[Any], data: Data, draws: Sequence[Draw] = ()) -> NDArray[Any]:
    """Return stored images augmented, in their own form.

    Args:
        images: a block as `datasets.blocks` yields it.
        data: the settings of the source; a user's own images have channels first.
        draws: augmentations of each image, one after the other.

    Raises:
        AuditError: if a user's own are no images and are to be augmented.
    """
    if not draws:
        return images
    users = modules.is_function(data.source)
    if users and images.ndim != 4:
        problem = f"yields images of {images.ndim - 1} axes, not channels first"
        fix = 'give (n_channels, height, width), or set augmentation = "none"'
        raise AuditError(data.source, problem, fix)
    seen = images.transpose(0, 2, 3, 1) if users else images
    for how in draws:
        seen = augmented(seen, how)
    return seen.transpose(0, 3, 1, 2) if users else seen


def finite(ready: NDArray[Any], source: str) -> NDArray[Any]:
    """Return the input as it is.

    Raises:
        AuditError: if a value is not finite.
    """
    if not np.isfinite(ready).all():
        # ReLU on CPU turns NaN into 0, so the logits would not show it.
        problem = "has pixels that are NaN or infinite"
        raise AuditError(source, problem, "correct the records")
    return ready


def normalised(
    images: Images,
    *,
    size: int | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    resize: Resize,
) -> NDArray[np.float32]:
    """Return images resized, rescaled to [0, 1], normalised, channels first.

    Args:
        images: (n_images, height, width, n_channels) in 0 … 255.
        size: of the square wanted, in pixels; None keeps the images' own.
        mean: of each channel after rescaling.
        std: of each channel after rescaling.
        resize: the device's bilinear interpolation.

    Returns:
        (n_images, n_channels, size, size).
    """
    if size is not None and images.shape[1:3] != (size, size):
        images = resize(images, size)
    scaled = images.astype(np.float32) / np.float32(255)
    centred = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(centred.transpose(0, 3, 1, 2))


def batches(
    data: Data, recipe: Training, images: NDArray[Any], resize: Resize
) -> Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.float32]]:
    """Return a function from rows to the network's input, freshly augmented."""

    def batch(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        draws = []
        if recipe.augmentation != "none":
            draws.append(draw(len(rows), recipe.augmentation, rng))
        return inputs(images[rows], data, resize, draws)

    return batch
