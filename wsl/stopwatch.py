"""Run time by stage: each moment is counted for the innermost active stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Seconds by stage. While a stopwatch is ``running``, every `stage` of its thread is added to it.

    >>> watch = Stopwatch()
    >>> with watch.running(), stage("outer"), stage("inner"):
    ...     pass
    >>> list(watch.seconds)
    ['outer', 'inner']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[Stopwatch]:
        """Measure the stages of this thread during the block."""
        token = _LISTENER.set(self)
        try:
            yield self
        finally:
            _LISTENER.reset(token)

    def enter(self, name: str) -> None:
        """Stop the clock of the active stage, and start that of this one."""
        self._turn()
        self.seconds.setdefault(name, 0.0)
        self._open.append(name)

    def leave(self) -> None:
        """Return to the previous stage."""
        self._turn()
        self._open.pop()

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


# As for logging, a context variable rather than an argument that every function would have to pass on.
_LISTENER: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of a block for a stage, if a stopwatch is running; can be used as a decorator.

    >>> @stage("work")
    ... def work():
    ...     return 1
    >>> with Stopwatch().running() as watch:
    ...     _ = work(), work()
    >>> list(watch.seconds)
    ['work']
    """
    watch = _LISTENER.get()
    if watch is None:
        yield
        return
    watch.enter(name)
    try:
        yield
    finally:
        watch.leave()


def timed(items: Iterable[T], name: str) -> Iterator[T]:
    """The items of an iterable; the time to get each item, but not that of its use, is counted for a stage.

    >>> list(timed([1, 2], "reading"))
    [1, 2]
    """
    iterator = iter(items)
    while True:
        with stage(name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
