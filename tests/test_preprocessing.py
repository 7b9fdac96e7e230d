import re

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import preprocessing
from pipeline.data.preprocessing import PADDING, Draw
from pipeline.errors import AuditError

MINE = Data(source="mine.py:datasets")
DIGITS = Data(source="digits")


def images(n: int, height: int, width: int, n_channels: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(11)
    shape = (n, height, width, n_channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def no_resize(_: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    msg = f"resized to {size}"
    raise AssertionError(msg)


def centred(n: int) -> Draw:
    return Draw(np.full((n, 2), PADDING), np.zeros(n, dtype=bool))


def slow_augmented(image: NDArray[np.uint8], how: Draw, i: int) -> NDArray[np.uint8]:
    height, width, n_channels = image.shape
    found = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            shown = width - 1 - x if how.mirror[i] else x
            row = y + how.offset[i, 0] - PADDING
            column = shown + how.offset[i, 1] - PADDING
            if 0 <= row < height and 0 <= column < width:
                for channel in range(n_channels):
                    found[y, x, channel] = image[row, column, channel]
    return found


def test_augmented_images_are_those_cropped_and_mirrored_one_by_one() -> None:
    given = images(40, 6, 7, 3)
    how = preprocessing.draw(40, "tutorial", np.random.default_rng(2))
    expected = [slow_augmented(image, how, i) for i, image in enumerate(given)]
    assert np.array_equal(preprocessing.augmented(given, how), expected)


@pytest.mark.parametrize("offset", [(0, 0), (0, 8), (8, 0), (8, 8)])
def test_the_outermost_crops_are_within_the_padding(offset: tuple[int, int]) -> None:
    given = images(1, 8, 8, 1)
    how = Draw(np.array([offset]), np.array([True]))
    expected = slow_augmented(given[0], how, 0)
    assert np.array_equal(preprocessing.augmented(given, how)[0], expected)


def test_the_centred_unmirrored_draw_changes_nothing() -> None:
    given = images(3, 5, 4, 2)
    assert np.array_equal(preprocessing.augmented(given, centred(3)), given)


def test_mirroring_twice_changes_nothing() -> None:
    given = images(3, 5, 4, 2)
    mirror = Draw(centred(3).offset, np.ones(3, dtype=bool))
    once = preprocessing.augmented(given, mirror)
    assert not np.array_equal(once, given)
    assert np.array_equal(preprocessing.augmented(once, mirror), given)


def test_augmented_leaves_read_only_images_as_they_are() -> None:
    given = images(2, 4, 4, 1)
    given.flags.writeable = False
    how = preprocessing.draw(2, "tutorial", np.random.default_rng(1))
    preprocessing.augmented(given, how)
    assert np.array_equal(given, images(2, 4, 4, 1))


def test_flip_mirrors_about_half_and_crops_none() -> None:
    how = preprocessing.draw(10_000, "flip", np.random.default_rng(1))
    assert (how.offset == PADDING).all()
    # Five standard deviations of the share: 5 * sqrt(1 / 4 / 10000) = 0.025.
    assert abs(how.mirror.mean() - 0.5) < 0.025


def test_tutorial_crops_at_every_offset_about_equally_often() -> None:
    how = preprocessing.draw(9_000, "tutorial", np.random.default_rng(1))
    for axis in (0, 1):
        counts = np.bincount(how.offset[:, axis])
        # Nine offsets of 1000 on average; five deviations are 5 * sqrt(889) = 149.
        assert len(counts) == 2 * PADDING + 1
        assert np.abs(counts - 1000).max() < 149
    assert abs(how.mirror.mean() - 0.5) < 0.027


def test_the_same_seed_draws_the_same() -> None:
    one = preprocessing.draw(20, "tutorial", np.random.default_rng(4))
    other = preprocessing.draw(20, "tutorial", np.random.default_rng(4))
    assert np.array_equal(one.offset, other.offset)
    assert np.array_equal(one.mirror, other.mirror)


def test_a_part_of_a_draw_is_the_draw_of_that_part() -> None:
    given = images(6, 5, 5, 1)
    how = preprocessing.draw(6, "tutorial", np.random.default_rng(3))
    rows = np.array([1, 4, 5])
    whole = preprocessing.augmented(given, how)
    assert np.array_equal(preprocessing.augmented(given[rows], how[rows]), whole[rows])


def test_a_draw_for_some_images_only_leaves_the_others_unchanged() -> None:
    given = images(30, 5, 5, 1)
    how = preprocessing.draw(30, "tutorial", np.random.default_rng(3))
    chosen = np.arange(30) % 2 == 0
    found = preprocessing.augmented(given, how.only(chosen))
    assert np.array_equal(found[~chosen], given[~chosen])
    assert np.array_equal(found[chosen], preprocessing.augmented(given, how)[chosen])


def test_normalised_images_are_rescaled_centred_and_channels_first() -> None:
    given = images(2, 3, 4, 3)
    mean, std = (0.4465, 0.4822, 0.4914), (0.2010, 0.1994, 0.2023)
    found = preprocessing.normalised(
        given, size=None, mean=mean, std=std, resize=no_resize
    )
    assert (found.shape, found.dtype) == ((2, 3, 3, 4), np.float32)
    for (i, y, x, c), byte in np.ndenumerate(given):
        expected = (int(byte) / 255 - mean[c]) / std[c]
        # Single precision: three roundings of 2 ** -24 over a deviation of 1 / 5.
        assert found[i, c, y, x] == pytest.approx(expected, rel=2e-7, abs=9e-7)


def test_normalised_images_are_resized_to_the_size_asked_for() -> None:
    given = images(2, 4, 4, 1)

    def enlarged(shown: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        return shown.repeat(size // 4, axis=1).repeat(size // 4, axis=2)

    found = preprocessing.normalised(
        given, size=8, mean=(0.0,), std=(1.0,), resize=enlarged
    )
    expected = enlarged(given, 8).transpose(0, 3, 1, 2) / np.float32(255)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [None, 4])
def test_images_of_the_size_asked_for_are_not_resized(size: int | None) -> None:
    given = images(2, 4, 4, 1)
    found = preprocessing.normalised(
        given, size=size, mean=(0.0,), std=(1.0,), resize=no_resize
    )
    assert found.shape == (2, 1, 4, 4)


def test_normalised_leaves_read_only_images_as_they_are() -> None:
    given = images(2, 4, 4, 1)
    given.flags.writeable = False
    preprocessing.normalised(
        given, size=None, mean=(0.5,), std=(2.0,), resize=no_resize
    )
    assert np.array_equal(given, images(2, 4, 4, 1))


def test_images_of_a_known_source_become_channels_first_in_the_unit_range() -> None:
    given = images(2, 8, 8, 1)
    (found,) = preprocessing.inputs((given,), DIGITS, no_resize)
    assert found.flags.c_contiguous
    assert np.array_equal(found, given.transpose(0, 3, 1, 2) / np.float32(255))


def test_images_of_a_known_source_are_augmented_before_they_are_normalised() -> None:
    given = images(5, 8, 8, 1)
    how = preprocessing.draw(5, "tutorial", np.random.default_rng(3))
    data = Data(source="digits", mean=[0.5], std=[0.25])
    (found,) = preprocessing.inputs((given,), data, no_resize, [how])
    changed = preprocessing.augmented(given, how)
    (expected,) = preprocessing.inputs((changed,), data, no_resize)
    assert np.array_equal(found, expected)


def test_a_users_own_records_are_passed_on_as_they_are() -> None:
    given = np.array([[0.5, -3.0], [1e6, 2.0]], dtype=np.float32)
    (found,) = preprocessing.inputs((given,), MINE, no_resize)
    assert found.dtype == np.float32
    assert np.array_equal(found, given)


def test_a_users_own_images_are_augmented_though_channels_come_first() -> None:
    given = images(5, 6, 7, 3).astype(np.float32)
    how = preprocessing.draw(5, "tutorial", np.random.default_rng(3))
    (found,) = preprocessing.inputs(
        (given.transpose(0, 3, 1, 2),), MINE, no_resize, [how]
    )
    expected = preprocessing.augmented(given, how).transpose(0, 3, 1, 2)
    assert np.array_equal(found, expected)


def test_augmentation_of_a_users_records_that_are_no_images_is_refused() -> None:
    given = np.zeros((2, 5), dtype=np.float32)
    message = re.escape(
        "mine.py:datasets: has no image to be mirrored or moved: image (5,) float32. "
        "Fix: give floats or bytes (n_channels, height, width), or set augmentation "
        'and member_augmentation to "none" and views to ["identity"].'
    )
    with pytest.raises(AuditError, match=message):
        preprocessing.inputs((given,), MINE, no_resize, [centred(2)])


def test_of_several_inputs_the_images_are_augmented_and_nothing_else() -> None:
    given = images(5, 6, 7, 3)
    how = preprocessing.draw(5, "tutorial", np.random.default_rng(3))
    data = Data(source="mine.py:datasets", inputs=("photo", "depth", "ids", "age"))
    photo = given.transpose(0, 3, 1, 2)
    depth = photo[:, :1].astype(np.float32)
    ids, age = np.arange(20, dtype=np.int32).reshape(5, 4), np.ones(5, np.float32)
    found = preprocessing.inputs((photo, depth, ids, age), data, no_resize, [how])
    expected = preprocessing.augmented(given, how).transpose(0, 3, 1, 2)
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], expected[:, :1])
    assert found[0].dtype == np.uint8
    assert np.array_equal(found[2], ids)
    assert np.array_equal(found[3], age)


def test_whole_numbers_of_three_axes_are_no_image() -> None:
    data = Data(source="mine.py:datasets", inputs=("board",))
    board = np.zeros((2, 3, 4, 4), np.int32)
    with pytest.raises(AuditError, match=r"moved: board \(3, 4, 4\) int32"):
        preprocessing.inputs((board,), data, no_resize, [centred(2)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_records_that_are_not_finite_are_refused(value: float) -> None:
    given = np.array([[0.0, value]], dtype=np.float32)
    message = "has values of image that are NaN or infinite in float32. Fix: correct"
    with pytest.raises(AuditError, match=message):
        preprocessing.inputs((given,), MINE, no_resize)


def test_inputs_leaves_a_users_read_only_records_as_they_are() -> None:
    given = np.ones((2, 3), dtype=np.float32)
    given.flags.writeable = False
    preprocessing.inputs((given,), MINE, no_resize)
    assert (given == 1).all()


def test_views_are_mirrored_and_moved_images() -> None:
    given = images(3, 6, 6, 1)

    def shown(name: str) -> np.ndarray:
        return preprocessing.augmented(given, preprocessing.view(name, 3))

    assert np.array_equal(shown("identity"), given)
    assert np.array_equal(shown("flip"), given[:, :, ::-1])
    moved = shown("shift(1,-2)")
    assert np.array_equal(moved[:, 1:, :-2], given[:, :-1, 2:])
    assert not moved[:, 0].any()
    assert not moved[:, :, -2:].any()


def test_draws_are_applied_one_after_the_other() -> None:
    given = images(5, 8, 8, 1)
    first = preprocessing.draw(5, "tutorial", np.random.default_rng(3))
    then = preprocessing.view("shift(2,1)", 5)
    (found,) = preprocessing.inputs((given,), DIGITS, no_resize, [first, then])
    changed = preprocessing.augmented(preprocessing.augmented(given, first), then)
    (expected,) = preprocessing.inputs((changed,), DIGITS, no_resize)
    assert np.array_equal(found, expected)
