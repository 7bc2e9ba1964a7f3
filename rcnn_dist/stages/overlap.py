"""Threads that work ahead of a loop and behind it: a step that is slow slows the others, and nothing piles up."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


@contextmanager
def ahead(items: Iterable[T], limit: int) -> Iterator[Iterator[T]]:
    """The same items in the same order, made by a thread: at most `limit` are made or in the making before they are asked for.

    What making an item raises is raised where the item would have come.
    """
    source = iter(items)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, source, _END) for _ in range(limit))

        def taken() -> Iterator[T]:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item

        try:
            yield taken()
        finally:
            thread.shutdown(cancel_futures=True)


@contextmanager
def behind(consume: Callable[..., None], limit: int) -> Iterator[Callable[..., None]]:
    """A function that leaves its arguments to `consume` in a thread, in order: it waits while `limit` calls are not done.

    What `consume` raises is raised by a later call or at the end of the block, which waits for all of them.
    """
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as thread:

        def leave(*arguments: Any) -> None:
            while len(waiting) >= limit:
                waiting.popleft().result()
            waiting.append(thread.submit(consume, *arguments))

        try:
            yield leave
            while waiting:
                waiting.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)


def timed_items(items: Iterable[T], timed: Callable[[], AbstractContextManager[None]]) -> Iterator[T]:
    """The items; `timed` is entered while each is waited for."""
    source = iter(items)
    while True:
        with timed():
            item = next(source, _END)
        if item is _END:
            return
        yield item
