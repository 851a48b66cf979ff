"""Prefetching in threads from sources that may hang: a disk, a store, a server."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from wsl.errors import BadImageError
from wsl.formats.shards.fetch import UnfetchedError

S = TypeVar("S")
T = TypeVar("T")

_AHEAD = 4  # items per thread


def fetched(
    items: Iterable[S], fetch: Callable[[S], T], *, threads: int, seconds: float
) -> Iterator[T | BadImageError]:
    """`fetch` of each item in order, by threads that run ahead; the error takes the place of an image.

    An item that takes longer than `seconds` is given up. Its thread is abandoned and replaced, because a thread that
    hangs in a system call cannot be ended; it does not keep the process from exiting.

    >>> list(fetched("ab", str.upper, threads=2, seconds=10))
    ['A', 'B']
    """
    tasks: queue.SimpleQueue[_Task[S, T] | None] = queue.SimpleQueue()
    waiting: deque[_Task[S, T]] = deque()

    def result(task: _Task[S, T]) -> T | BadImageError:
        if not task.wait(seconds):
            _start(tasks, fetch)
        return task.outcome(seconds)

    for _ in range(threads):
        _start(tasks, fetch)
    try:
        for item in items:
            waiting.append(_Task(item))
            tasks.put(waiting[-1])
            if len(waiting) > _AHEAD * threads:
                yield result(waiting.popleft())
        while waiting:
            yield result(waiting.popleft())
    finally:
        for task in waiting:
            task.given_up = True
        for _ in range(threads):
            tasks.put(None)


class _Task(Generic[S, T]):
    """An item that is being fetched."""

    def __init__(self, item: S) -> None:
        self.item = item
        self.given_up = False
        self._began: float | None = None
        self._done = threading.Event()
        self._result: T | BaseException | None = None

    def run(self, fetch: Callable[[S], T]) -> None:
        self._began = time.monotonic()
        try:
            self._result = fetch(self.item)
        except BaseException as error:  # raised where the item is requested
            self._result = error
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is done within ``seconds`` of its start."""
        while not self._done.wait(self._left(seconds)):
            if self._began is not None and self._left(seconds) <= 0:
                self.given_up = True
                return False
        return True

    def _left(self, seconds: float) -> float:
        return seconds if self._began is None else max(0.0, self._began + seconds - time.monotonic())

    def outcome(self, seconds: float) -> T | BadImageError:
        if self.given_up:
            return UnfetchedError(f"took longer than {seconds:g} s to be fetched")
        if isinstance(self._result, BaseException) and not isinstance(self._result, BadImageError):
            raise self._result
        return self._result  # type: ignore[return-value] # what fetch gave


def _start(tasks: queue.SimpleQueue[_Task[S, T] | None], fetch: Callable[[S], T]) -> None:
    def work() -> None:
        while (task := tasks.get()) is not None:
            if not task.given_up:
                task.run(fetch)
            if task.given_up:  # this thread was replaced
                return

    threading.Thread(target=work, name="wsl-fetch", daemon=True).start()
