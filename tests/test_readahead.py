import threading
import traceback
import weakref
from collections.abc import Iterator
from contextlib import closing

import pytest

from pipeline.data import readahead
from pipeline.data.readahead import ahead
from pipeline.errors import AuditError

PATIENCE = 30.0  # seconds that a thread may take on a busy machine


class Block:
    """Something large."""


def threads() -> list[threading.Thread]:
    """Return those that read ahead: other tests leave MindSpore's own behind."""
    return [each for each in threading.enumerate() if each.name == readahead.THREAD]


@pytest.mark.parametrize("n", [0, 1, 2, 50])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_items_come_in_their_order_and_the_thread_ends(n: int, depth: int) -> None:
    assert list(ahead(iter(range(n)), depth)) == list(range(n))
    assert not threads()


def test_nothing_is_made_before_the_first_is_asked_for() -> None:
    made: list[int] = []
    ready = ahead((made.append(k) or k for k in range(3)), 1)
    assert (made, threads()) == ([], [])
    assert list(ready) == [0, 1, 2]


def test_without_depth_each_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []
    for item in ahead((made.append(k) or k for k in range(3)), 0):
        assert made == list(range(item + 1))
        assert not threads()


def test_the_next_item_is_made_while_one_is_in_use() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for k, event in enumerate(made):
            event.set()
            yield k

    with closing(ahead(items(), 1)) as ready:
        assert next(ready) == 0
        assert made[1].wait(PATIENCE)
        assert made[2].wait(PATIENCE)  # while the second waits


@pytest.mark.parametrize("depth", [1, 2])
def test_no_more_items_are_alive_than_wait_are_in_use_or_being_made(depth: int) -> None:
    alive: weakref.WeakSet[Block] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[Block]:
        nonlocal most
        for _ in range(30):
            block = Block()
            alive.add(block)
            most = max(most, len(alive))
            yield block
            del block

    for block in ahead(items(), depth):
        assert block in alive
        del block
    assert depth <= most <= depth + 2
    assert not alive


def failing(error: Exception) -> Iterator[int]:
    yield 1
    raise error


def test_an_error_is_raised_in_its_turn_with_the_place_where_it_was_made() -> None:
    error = AuditError("data", "is other than before", "leave out shuffling")
    ready = ahead(failing(error), 1)
    assert next(ready) == 1
    with pytest.raises(AuditError) as caught:
        next(ready)
    assert caught.value is error
    places = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "failing" in places
    assert not threads()


@pytest.mark.parametrize("taken", [1, 2])
def test_the_thread_ends_where_no_more_are_asked_for(taken: int) -> None:
    made: list[int] = []
    ready = ahead((made.append(k) or k for k in range(1000)), 1)
    with closing(ready):
        for _ in range(taken):
            next(ready)
        assert len(threads()) == 1
    assert not threads()
    assert len(made) <= taken + 3


def test_an_error_of_the_consumer_ends_the_thread() -> None:

    def use() -> None:
        with closing(ahead(iter(range(1000)), 1)) as ready:
            for item in ready:
                if item == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert not threads()
