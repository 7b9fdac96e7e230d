"""Readahead: the next items of an iterator are made while one of them is used."""

import threading
from collections.abc import Generator, Iterator
from queue import Empty, Queue
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")
THREAD = "readahead"  # name of the threads


class _Ended(NamedTuple):
    """The end of the items, and the error by which they ended, if any."""

    error: BaseException | None = None


def ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items in their order, the next ones made by a thread meanwhile.

    The thread begins when the first item is asked for, and ends when the last one is
    made, when an error ends them, or when no more are asked for.

    Args:
        items: what makes them.
        depth: how many may wait, beside the one in use and the one being made; 0 for
            no thread, so that each is made when it is asked for.

    Raises:
        BaseException: whatever `items` raises, in its own place.
    """
    if not depth:
        yield from items
        return
    waiting: Queue[Item | _Ended] = Queue(depth)
    is_left = threading.Event()

    def make() -> None:
        try:
            for item in items:
                waiting.put(item)
                if is_left.is_set():
                    return
            waiting.put(_Ended())
        except BaseException as error:
            waiting.put(_Ended(error))

    thread = threading.Thread(target=make, name=THREAD, daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _Ended):
            yield item
            del item  # or one more would be kept while the next is awaited
        if item.error is not None:
            raise item.error
    finally:
        is_left.set()
        # One place is enough: the thread looks up after every item.
        try:
            while True:
                waiting.get_nowait()
        except Empty:
            thread.join()
