"""Beds on which the judge learns: data and recipes, diverse in what matters.

Images and tables, 2 to 100 classes, perceptrons and networks of convolutions, known by
heart or barely leaking, with and without mirroring, noise, dropout, weight decay,
smooth labels or an early stop, balanced or not, 300 to 5,000 records. Images are
CIFAR-100's from FIRST_IMAGE on: those before are of beds kept for development.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from pipeline.config import Training
from tests import bed_networks, beds
from tests.bed_networks import Recipe
from tests.beds import Bed

CIFAR = Path("cifar-100-binary") / "train.bin"
ROW, CHANNELS = 3074, (3, 32, 32)  # bytes of a record: coarse and fine class, pixels
FIRST_IMAGE, IMAGES = 5000, 6000


class Records(NamedTuple):
    """What models learn."""

    inputs: NDArray[np.float32]  # (n_views, n_records, n_features), or images
    label: NDArray[np.int64]  # (n_records,)


class Convolutional(NamedTuple):
    """How small convolutional networks are built and trained."""

    widths: tuple[int, ...]  # channels of the blocks
    training: Training


Source = Callable[[Path, np.random.Generator], Records]


class Plan(NamedTuple):
    """How a bed is made."""

    source: Source
    recipe: Recipe | Convolutional
    models: int

    @property
    def rows(self) -> int:
        """Records of each target, with each count of references, for the judge.

        Of networks of convolutions there are few beds, and most audits are of such.
        """
        return 1400 if isinstance(self.recipe, Convolutional) else 350


def standard(inputs: NDArray[Any]) -> NDArray[np.float32]:
    wide = np.asarray(inputs, dtype=np.float32)
    return (wide - wide.mean(axis=0)) / np.maximum(wide.std(axis=0), 1e-6)


def images(kind: str, n: int, *, views: int = 2) -> Source:
    """Return CIFAR-100 by convolutions of random patches, the mirror image a view."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        features, coarse, fine = _convolved(folder)
        if kind in ("ten", "thirty"):
            n_classes, base = (10, coarse) if kind == "ten" else (30, fine)
            n_all = 20 if kind == "ten" else 100
            names = np.sort(rng.choice(n_all, n_classes, replace=False))
            chosen = rng.permutation(np.flatnonzero(np.isin(base, names)))[:n]
            label = np.searchsorted(names, base[chosen])
        else:
            chosen = rng.permutation(len(fine))[:n]
            label = {"coarse": coarse, "five": coarse // 4, "binary": coarse < 10}[kind]
            label = label[chosen].astype(np.int64)
        return Records(features[:views, chosen], label)

    return source


def _cifar(
    folder: Path, first: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    raw = np.fromfile(folder / CIFAR, dtype=np.uint8, count=n * ROW, offset=first * ROW)
    rows = raw.reshape(n, ROW)
    pixels = rows[:, 2:].reshape(n, *CHANNELS).astype(np.float32) / 255 - 0.5
    return rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), pixels


def _convolved(
    folder: Path, n_filters: int = 64, n_features: int = 192, side: int = 6
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return features of IMAGES images and their mirror images, and their classes."""
    path = folder / "convolved.npz"
    if not path.exists():
        coarse, fine, pixels = _cifar(folder, FIRST_IMAGE, IMAGES)
        rng = np.random.default_rng(7)
        filters = _filters(pixels, n_filters, side, rng)
        both = np.stack(
            [_pooled(pixels, filters, side), _pooled(pixels[..., ::-1], filters, side)]
        )
        flat = both.reshape(-1, both.shape[-1])
        away = both - flat.mean(axis=0)
        axes = np.linalg.eigh(np.cov(flat[::3].T))[1][:, -n_features:]
        z = away @ axes
        z *= np.linspace(0.5, 1.0, n_features) / z.std(axis=(0, 1))
        np.savez(path, x=z.astype(np.float32), coarse=coarse, fine=fine)
    with np.load(path) as arrays:
        return arrays["x"], arrays["coarse"], arrays["fine"]


def _filters(
    pixels: NDArray[np.float32], n: int, side: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return whitened patches of images, as rows (Coates and Ng 2012)."""
    which = rng.integers(len(pixels), size=4000)
    corners = rng.integers(CHANNELS[1] - side, size=(2, 4000))
    patches = np.stack(
        [
            pixels[i, :, row : row + side, column : column + side].ravel()
            for i, row, column in zip(which, *corners, strict=True)
        ]
    )
    patches -= patches.mean(axis=1, keepdims=True)
    covariance = np.cov(patches.T) + 0.01 * np.eye(patches.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    white = (vectors / np.sqrt(values)) @ vectors.T
    filters = patches[:n] @ white
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    return np.asarray(filters @ white, dtype=np.float32)


def _pooled(
    pixels: NDArray[np.float32], filters: NDArray[np.float32], side: int
) -> NDArray[np.float32]:
    """Return how far filters answer, above a threshold, in each quarter of an image."""
    parts = []
    for first in range(0, len(pixels), 500):
        windows = np.lib.stride_tricks.sliding_window_view(
            pixels[first : first + 500], (side, side), axis=(2, 3)
        )[:, :, ::2, ::2]
        n_places = windows.shape[2]
        patches = windows.transpose(0, 2, 3, 1, 4, 5)
        patches = patches.reshape(len(windows), n_places**2, -1)
        answers = (patches - patches.mean(axis=2, keepdims=True)) @ filters.T
        sides = np.concatenate([answers - 0.3, -answers - 0.3], axis=2)
        maps = np.maximum(sides, 0).reshape(len(windows), n_places, n_places, -1)
        half = n_places // 2
        quarters = [
            maps[:, rows, columns].mean(axis=(1, 2))
            for rows in (slice(half), slice(half, None))
            for columns in (slice(half), slice(half, None))
        ]
        parts.append(np.concatenate(quarters, axis=1))
    return np.concatenate(parts)


def pixels(first: int, n: int, n_features: int = 64) -> Source:
    """Return two classes of CIFAR-100 by the axes of their coarse pixels, one view."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        coarse, _, image = _cifar(folder, first, n)
        small = image.reshape(n, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(n, -1)
        small = small - small.mean(axis=0)
        axes = np.linalg.eigh(np.cov(small.T))[1][:, -n_features:]
        return Records(standard(small @ axes)[None], (coarse < 10).astype(np.int64))

    return source


def photographs(kind: str, first: int, n: int) -> Source:
    """Return CIFAR-100's images, and their mirror images as a view."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        coarse, fine, image = _cifar(folder, first, n)
        label = {
            "fine": fine,
            "coarse": coarse,
            "ten": coarse // 2,
            "binary": (coarse < 10).astype(np.int64),
        }[kind]
        both = np.stack([image, image[..., ::-1]]) * np.float32(4)
        return Records(both, label)

    return source


def digits(folder: Path, rng: np.random.Generator) -> Records:
    """Return scikit-learn's digits; shifted by a pixel they are a view."""
    bunch = datasets.load_digits()
    image = bunch.images.astype(np.float32) / 8 - 1
    shifted = np.roll(image, 1, axis=2)
    shifted[:, :, 0] = -1
    views = np.stack([image.reshape(-1, 64), shifted.reshape(-1, 64)])
    return Records(views, bunch.target)


def cancer(folder: Path, rng: np.random.Generator) -> Records:
    bunch = datasets.load_breast_cancer()
    return Records(standard(bunch.data)[None], bunch.target)


def diabetes(n_classes: int) -> Source:
    """Return scikit-learn's diabetes, its target cut into classes of equal size."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        bunch = datasets.load_diabetes()
        cuts = np.quantile(bunch.target, np.arange(1, n_classes) / n_classes)
        return Records(standard(bunch.data)[None], np.digitize(bunch.target, cuts))

    return source


def blobs(
    n: int,
    n_features: int,
    n_classes: int,
    apart: float,
    flipped: float = 0.0,
    *,
    uneven: bool = False,
    view_noise: float = 0.0,
) -> Source:
    """Return Gaussian classes, some labels wrong; a noisy copy may be a view."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        centre = rng.normal(size=(n_classes, n_features)) * apart
        share = np.full(n_classes, 1 / n_classes)
        if uneven:
            share = rng.dirichlet(np.full(n_classes, 2.0))
        label = rng.choice(n_classes, n, p=share)
        inputs = standard(centre[label] + rng.normal(size=(n, n_features)))
        wrong = rng.random(n) < flipped
        label = np.where(wrong, rng.integers(n_classes, size=n), label)
        views = [inputs]
        if view_noise:
            noise = rng.standard_normal(inputs.shape, dtype=np.float32)
            views.append(inputs + np.float32(view_noise) * noise)
        return Records(np.stack(views), label)

    return source


def bits(
    n: int,
    n_features: int,
    n_classes: int,
    dense: float,
    flipped: float,
    *,
    kinds: int = 3,
) -> Source:
    """Return bits like those of a few kinds in each class, some flipped."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        usual = rng.random((n_classes, kinds, n_features)) < dense
        label, kind = rng.integers(n_classes, size=n), rng.integers(kinds, size=n)
        rate = flipped * rng.uniform(0.3, 1.7, size=(n, 1))
        inputs = usual[label, kind] ^ (rng.random((n, n_features)) < rate)
        return Records((1.4 * (inputs - 0.5)).astype(np.float32)[None], label)

    return source


def teacher(n: int, n_features: int, n_classes: int, sharp: float) -> Source:
    """Return normal inputs labelled by a random network, the sharper the surer."""

    def source(folder: Path, rng: np.random.Generator) -> Records:
        inputs = rng.standard_normal((n, n_features), dtype=np.float32)
        first = rng.normal(size=(n_features, 64)) * 2 / np.sqrt(n_features)
        odds = np.tanh(inputs @ first) @ rng.normal(size=(64, n_classes)) / 8 * sharp
        return Records(inputs[None], (odds + rng.gumbel(size=odds.shape)).argmax(1))

    return source


def adam(epochs: int, **settings: Any) -> Convolutional:
    """Return a recipe of three blocks."""
    training = Training(learning_rate=1e-3, epochs=epochs, **settings)
    return Convolutional((32, 64, 64), training)


R = Recipe
PLANS = {
    "im-ten": Plan(images("ten", 2400), R((128,), 16, views=True), 12),
    "im-thirty-heart": Plan(images("thirty", 1700), R((128,), 25), 12),
    "im-coarse-smooth": Plan(
        images("coarse", 2500), R((96, 64), 20, smoothing=0.1, views=True), 12
    ),
    "im-five": Plan(images("five", 2500), R((96,), 12, views=True, decay=0.3), 12),
    "im-one-view": Plan(images("coarse", 2400, views=1), R((128,), 12), 12),
    "im-binary-weak": Plan(images("binary", 3000, views=1), R((32,), 6, decay=0.5), 12),
    "im-binary": Plan(images("binary", 2500), R((96,), 15, views=True, decay=0.2), 12),
    "im-coarse-early": Plan(images("coarse", 3000), R((96,), 5, views=True), 12),
    "im-ten-deep": Plan(
        images("ten", 2400),
        R((96, 64, 48), 20, rate=1e-3, views=True, dropout=0.2),
        12,
    ),
    "im-coarse-heart": Plan(images("coarse", 3000), R((192,), 12), 12),
    "im-coarse-mirror": Plan(images("coarse", 5000), R((128,), 14, views=True), 14),
    "im-coarse-wide": Plan(images("coarse", 5000), R((256,), 30), 12),
    "im-coarse-decay": Plan(
        images("coarse", 5000), R((256,), 25, decay=0.5, views=True, dropout=0.3), 12
    ),
    "im-weak-pixels": Plan(pixels(16000, 4000), R((32,), 12, decay=1.0), 14),
    "rate-coarse": Plan(
        images("coarse", 3000), R((96,), 9, rate=4e-3, views=True, constant=True), 12
    ),
    "rate-ten": Plan(
        images("ten", 2400), R((96, 48), 10, rate=3e-3, views=True, constant=True), 12
    ),
    "rate-coarse-heart": Plan(
        images("coarse", 2400), R((128,), 14, rate=4e-3, constant=True), 12
    ),
    "rate-five": Plan(
        images("five", 3000), R((64,), 8, rate=5e-3, views=True, constant=True), 12
    ),
    "rate-thirty": Plan(
        images("thirty", 1700), R((96,), 14, rate=4e-3, views=True, constant=True), 12
    ),
    "rate-binary": Plan(
        images("binary", 3000),
        R((64,), 8, rate=5e-3, views=True, constant=True, decay=0.2),
        12,
    ),
    "rate-one-view": Plan(
        images("coarse", 3000, views=1), R((96, 64), 8, rate=3e-3, constant=True), 12
    ),
    "rate-bits30": Plan(
        bits(2500, 200, 30, 0.1, 0.24), R((96,), 12, rate=4e-3, constant=True), 12
    ),
    "rate-blobs10": Plan(
        blobs(2500, 40, 10, 0.5, 0.05), R((64,), 14, rate=5e-3, constant=True), 12
    ),
    "conv-coarse": Plan(
        photographs("coarse", 5000, 4000), adam(11, augmentation="flip"), 12
    ),
    "conv-plain": Plan(photographs("coarse", 9000, 4000), adam(6), 12),
    "conv-ten": Plan(
        photographs("ten", 13000, 3500),
        adam(14, augmentation="flip", schedule="cosine", weight_decay=1e-3),
        12,
    ),
    "conv-fine": Plan(
        photographs("fine", 5000, 5000),
        adam(14, schedule="cosine", label_smoothing=0.1),
        10,
    ),
    "conv-binary": Plan(
        photographs("binary", 16500, 3500),
        adam(6, augmentation="flip", schedule="cosine", weight_decay=1e-2),
        12,
    ),
    "digits": Plan(digits, R((64,), 30), 12),
    "digits-early": Plan(digits, R((32,), 5, views=True), 12),
    "digits-noise": Plan(digits, R((64,), 30, noise=0.3), 12),
    "cancer": Plan(cancer, R((32,), 60), 14),
    "cancer-decay": Plan(cancer, R((16,), 30, decay=2.0), 14),
    "diabetes2": Plan(diabetes(2), R((32, 32), 60), 16),
    "diabetes4": Plan(diabetes(4), R((64,), 40, dropout=0.2), 16),
    "blobs2": Plan(blobs(2000, 20, 2, 0.35), R((64,), 25), 12),
    "blobs2-weak": Plan(blobs(5000, 30, 2, 0.2, 0.05), R((16,), 8, decay=1.0), 12),
    "blobs2-flip": Plan(blobs(1500, 40, 2, 0.4, 0.15), R((96,), 30), 12),
    "blobs10": Plan(blobs(2500, 40, 10, 0.5, 0.05), R((96,), 25), 12),
    "blobs10-uneven": Plan(
        blobs(2500, 40, 10, 0.5, uneven=True), R((64, 64), 18, decay=0.3), 12
    ),
    "blobs50": Plan(blobs(2500, 60, 50, 0.45), R((96,), 20, dropout=0.2), 10),
    "blobs5-tiny": Plan(blobs(300, 20, 5, 0.5), R((64,), 60), 18),
    "blobs3-view": Plan(
        blobs(2000, 30, 3, 0.35, 0.05, view_noise=0.3), R((96,), 25, noise=0.3), 12
    ),
    "bits30": Plan(bits(2500, 200, 30, 0.1, 0.22), R((96,), 20), 12),
    "bits30-deep": Plan(bits(2500, 300, 30, 0.08, 0.25, kinds=5), R((128, 64), 25), 12),
    "bits10-small": Plan(bits(600, 150, 10, 0.2, 0.25), R((64, 64), 30), 14),
    "bits50": Plan(
        bits(2500, 200, 50, 0.2, 0.25), R((128,), 18, decay=0.3, dropout=0.2), 10
    ),
    "bits2": Plan(bits(2000, 100, 2, 0.3, 0.35, kinds=6), R((64,), 15, decay=0.3), 12),
    "bits100": Plan(bits(2500, 200, 100, 0.2, 0.22), R((128,), 20), 8),
    "teacher2": Plan(teacher(3000, 20, 2, 12), R((64,), 20), 12),
    "teacher5": Plan(teacher(2000, 20, 5, 15), R((96, 48), 30), 12),
    "teacher10-early": Plan(teacher(3000, 30, 10, 15), R((64,), 8, decay=0.2), 12),
    "teacher3-weak": Plan(teacher(5000, 20, 3, 10), R((24,), 10, decay=1.0), 12),
}


OF_CIFAR = "images", "photographs", "pixels"  # sources that need it


def possible(folder: Path) -> Iterator[str]:
    """Yield the beds that can be made, those of CIFAR-100 only where it is there."""
    for name, plan in PLANS.items():
        needs_images = plan.source.__qualname__.startswith(OF_CIFAR)
        if not needs_images or (folder / CIFAR).exists():
            yield name


def memberships(n: int, n_models: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return (n_models, n) random halves in complementary pairs; n is even."""
    member = np.zeros((n_models, n), dtype=bool)
    for model in range(0, n_models, 2):
        member[model, rng.permutation(n)[: n // 2]] = True
        member[model + 1] = ~member[model]
    return member


def trained(
    inputs: NDArray[np.float32],
    label: NDArray[np.int64],
    member: NDArray[np.bool_],
    n_classes: int,
    recipe: Recipe | Convolutional,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the logits of models by either kind of recipe."""
    if isinstance(recipe, Recipe):
        return bed_networks.trained(inputs, label, member, n_classes, recipe, rng)
    # MindSpore takes long to import.
    from tests import bed_convolutions

    return bed_convolutions.trained(inputs, label, member, n_classes, recipe, rng)


def made(folder: Path, name: str) -> Bed:
    """Return a bed, its models trained unless they lie in the folder."""
    path = folder / "beds" / f"{name}.npz"
    if not path.exists():
        plan = PLANS[name]
        rng = np.random.default_rng([*name.encode()])
        inputs, label = plan.source(folder, rng)
        even = inputs.shape[1] // 2 * 2
        inputs, label = np.ascontiguousarray(inputs[:, :even]), label[:even]
        member = memberships(even, plan.models, rng)
        n_classes = int(label.max()) + 1
        logits = trained(inputs, label, member, n_classes, plan.recipe, rng)
        beds.save(path, logits=logits, label=label.astype(np.int32), member=member)
    return beds.load(path)
