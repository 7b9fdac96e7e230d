import base64
import io
import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from pipeline.pages import thumbnails

RNG = np.random.default_rng(0)
HEAD = "data:image/png;base64,"


def picture(image: NDArray[Any]) -> str | None:
    return thumbnails.picture((image,))


def values(*record: NDArray[Any]) -> str:
    return thumbnails.values(record)


def pixels(uri: str | None) -> NDArray[np.uint8]:
    assert uri is not None
    assert uri.startswith(HEAD)
    file = io.BytesIO(base64.b64decode(uri.removeprefix(HEAD)))
    return np.round(255 * imread(file)[:, :, :3]).astype(np.uint8)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_bytes_are_shown_as_they_are(n_channels: int) -> None:
    image = RNG.integers(0, 200, (8, 9, n_channels)).astype(np.uint8)
    assert np.array_equal(pixels(picture(image)), np.broadcast_to(image, (8, 9, 3)))


def test_channels_may_come_first_and_may_be_missing() -> None:
    image = RNG.integers(0, 200, (8, 9, 3)).astype(np.uint8)
    assert picture(image.transpose(2, 0, 1)) == picture(image)
    assert picture(image[:, :, 0]) == picture(image[:, :, :1])


def test_floats_are_stretched_to_the_whole_range() -> None:
    image = np.linspace(-2.0, 3.0, 64).reshape(8, 8)
    shown = pixels(picture(image))
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert shown[-1, -1].tolist() == [255, 255, 255]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not pixels(picture(np.full((8, 8), 5.0))).any()


def test_a_large_picture_is_thinned_out() -> None:
    assert pixels(picture(np.zeros((224, 200), np.uint8))).shape == (56, 50, 3)


@pytest.mark.parametrize("shape", [(10,), (2, 100), (4, 4, 7), (2, 3, 4, 5), ()])
def test_what_is_no_picture_is_shown_by_its_first_numbers(
    shape: tuple[int, ...],
) -> None:
    assert picture(np.zeros(shape)) is None
    assert values(np.zeros(shape)).startswith("0")


def test_the_first_numbers_are_followed_by_how_many_there_are() -> None:
    assert values(np.array([1.23456, -2.0])) == "1.235, -2"
    assert values(np.arange(100.0)) == "0, 1, 2, 3, 4, 5, … (100 values)"


def test_of_several_inputs_the_first_image_is_shown_or_all_numbers() -> None:
    image = RNG.integers(0, 200, (8, 9, 3)).astype(np.uint8)
    assert thumbnails.picture((np.zeros(5), image, image // 2)) == picture(image)
    assert thumbnails.picture((np.zeros(5), np.zeros(7))) is None
    shown = values(np.array([30522, 7]), np.array([0.5]), np.array(3))
    assert shown == "30522, 7; 0.5; 3"


def test_a_record_is_not_changed() -> None:
    image = np.linspace(0, 1, 64).reshape(8, 8)
    image.flags.writeable = False
    assert picture(image) == picture(image.copy())
