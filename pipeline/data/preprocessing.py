"""Preprocessing: from stored records to the network's inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.config import Data, Features
from pipeline.data import modules, sources
from pipeline.data.sources import Inputs
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

    @property
    def is_uniform(self) -> bool:
        """Whether all images are treated alike, as by a view."""
        same_place = (self.offset == self.offset[:1]).all()
        return bool(
            len(self.mirror) and same_place and (self.mirror == self.mirror[0]).all()
        )

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
    if how.is_uniform:
        top, left = how.offset[0]
        window = padded[:, top : top + height, left : left + width]
        return np.ascontiguousarray(window[:, :, ::-1] if how.mirror[0] else window)
    rows = how.offset[:, 0, None] + np.arange(height)
    columns = how.offset[:, 1, None] + np.arange(width)
    columns = np.where(how.mirror[:, None], columns[:, ::-1], columns)
    return np.asarray(
        padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    )


def inputs(
    stored: Inputs, data: Data, resize: Resize, draws: Sequence[Draw] = ()
) -> Inputs:
    """Return what the network is given for stored records.

    Args:
        stored: a block as `sources.blocks` yields it.
        data: the settings of the source; a user's own images are not normalised.
        resize: the device's bilinear interpolation.
        draws: augmentations of each image, one after the other.

    Returns:
        (n_images, n_channels, height, width) float32, or a user's own inputs.

    Raises:
        AuditError: if a value is not finite.
    """
    seen = shown(stored, data, draws)
    if not modules.is_function(data.source):
        mean, std = sources.channels_normalised_by(data)
        (images,) = seen
        seen = (
            normalised(images, size=data.image_size, mean=mean, std=std, resize=resize),
        )
    return finite(tuple(map(np.ascontiguousarray, seen)), data)


def shown(stored: Inputs, data: Data, draws: Sequence[Draw] = ()) -> Inputs:
    """Return stored records with their images augmented, in their own form.

    Of several inputs every image is augmented alike, and what is no image stays as it
    is.

    Args:
        stored: a block as `sources.blocks` yields it.
        data: the settings of the source; a user's own images have channels first.
        draws: augmentations of each image, one after the other.

    Raises:
        AuditError: if there is no image to be augmented.
    """
    if not draws:
        return stored
    users = modules.is_function(data.source)
    if users and not any(map(is_image, stored)):
        forms = ", ".join(
            f"{name} {column.shape[1:]} {column.dtype}"
            for name, column in zip(data.inputs, stored, strict=True)
        )
        problem = f"has no image to be mirrored or moved: {forms}"
        fix = (
            "give floats or bytes (n_channels, height, width), or set augmentation and "
            'member_augmentation to "none" and views to ["identity"]'
        )
        raise AuditError(data.source, problem, fix)

    def augment(column: NDArray[Any]) -> NDArray[Any]:
        if users and not is_image(column):
            return column
        seen = column.transpose(0, 2, 3, 1) if users else column
        for how in draws:
            seen = augmented(seen, how)
        return seen.transpose(0, 3, 1, 2) if users else seen

    return tuple(map(augment, stored))


def is_image(column: NDArray[Any]) -> bool:
    """Return whether a user's input can be an image: three axes of floats or bytes.

    Args:
        column: (n_records, ...) of any type.
    """
    values = np.issubdtype(column.dtype, np.floating) or column.dtype == np.uint8
    return values and column.ndim == 4


def finite(ready: Inputs, data: Data) -> Inputs:
    """Return the inputs as they are.

    Raises:
        AuditError: if a value is not finite.
    """
    for name, column in zip(data.inputs, ready, strict=True):
        if not np.isfinite(column).all():
            # ReLU on CPU turns NaN into 0, so the logits would not show it.
            problem = f"has values of {name} that are NaN or infinite in float32"
            raise AuditError(data.source, problem, "correct the records")
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
    # Channels first: over the last axis, of three, NumPy takes twenty times as long.
    ready = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    ready /= np.float32(255)
    ready -= np.array(mean, np.float32)[:, None, None]
    ready /= np.array(std, np.float32)[:, None, None]
    return ready
