"""Pipelines for streams of items: concurrent stages, ordered results, constant memory."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import threadpoolctl
import torch

from wsl.errors import BadImageError, UserError

log = logging.getLogger("wsl")

Item = TypeVar("Item")
Errors: TypeAlias = Literal["raise", "skip", "return"]
S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")

# Images that a thread reads at a time if a GPU decodes them.
_CHUNK = 32


def ordered(executor: Executor | None, work: Callable[[S], T], items: Iterable[S], depth: int) -> Iterator[T]:
    """`work` of each item in order, with up to `depth` of them started in advance.

    Without an executor each is done when it is requested.

    >>> with ThreadPoolExecutor(2) as threads:
    ...     list(ordered(threads, str.upper, "abc", depth=2))
    ['A', 'B', 'C']
    """
    if executor is None:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one may be shorter.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def pipeline(
    items: Iterable[S],
    prepare: Callable[[S], T],
    load: Callable[[list[T]], U],
    run: Callable[[U], V],
    finish: Callable[[V], W],
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
) -> Iterator[W]:
    """Batches of prepared items through a network, in order, with reading, computing and postprocessing overlapped.

    `load` transfers a batch to the device, `run` computes there, `finish` waits for the results. `workers` threads
    `prepare` items in advance; with 0 everything runs in the caller's thread. None is the fastest for local files: on
    the CPU each core prepares its own batches, on a GPU two threads read ahead.
    """
    if device.type == "cuda":
        yield from _on_gpu(items, prepare, load, run, finish, batch_size, 2 if workers is None else workers)
        return
    # On the CPU each core runs its own batches: threads that share a batch would wait for each other, and for the
    # reading that occupies a core.
    on_cpu = device.type == "cpu"
    runners = 0 if workers == 0 else torch.get_num_threads() if on_cpu else 1
    with _threads(workers or 0) as readers, _threads(runners, one_core_each=on_cpu) as networks:
        if workers is None:
            chunks = batched(items, batch_size)
            yield from ordered(
                networks, lambda some: finish(run(load([prepare(one) for one in some]))), chunks, runners
            )
            return
        batches = batched(ordered(readers, prepare, items, runners * batch_size + workers), batch_size)
        yield from ordered(networks, lambda batch: finish(run(load(batch))), batches, runners)


def _on_gpu(
    items: Iterable[S],
    prepare: Callable[[S], T],
    load: Callable[[list[T]], U],
    run: Callable[[U], V],
    finish: Callable[[V], W],
    batch_size: int,
    workers: int,
) -> Iterator[W]:
    """The pipeline for a GPU: the network is launched in the caller's thread, with few other busy threads.

    A batch is hundreds of calls that each release the interpreter's lock. With other busy threads, each call waits to
    get it back, which took five times as long as the work itself.
    """
    with _threads(min(workers, 2)) as readers, _threads(min(workers, 2)) as loaders, _threads(workers and 1) as last:
        chunks = ordered(readers, lambda some: [prepare(one) for one in some], batched(items, _CHUNK), 8)
        batches = batched(itertools.chain.from_iterable(chunks), batch_size)
        launched = map(run, ordered(loaders, load, batches, 2))
        yield from ordered(last, finish, launched, 2)


@contextmanager
def _threads(count: int, *, one_core_each: bool = False) -> Iterator[Executor | None]:
    """A pool of ``count`` threads; None for 0. With `one_core_each`, torch uses only one core in each of them.

    At the end, running work is awaited, and work that has not started is dropped.
    """
    if not count:
        yield None
        return
    pool = ThreadPoolExecutor(count, initializer=_use_one_core if one_core_each else None)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _use_one_core() -> None:
    # torch.set_num_threads would also affect threads started elsewhere in the meantime. OpenMP's own setting is per
    # thread; torch overwrites it when a thread first queries it, so it is queried before.
    torch.get_num_threads()
    threadpoolctl.threadpool_limits(1, user_api="openmp")


class Stream(Iterator[Item]):
    """The results for a stream of images, in order; ``skipped`` counts images that could not be read.

    `errors` says what happens to the error of an image: it is raised, skipped with a line in the log, or returned in
    place of the image.

    Raises:
        UserError: `errors` is unknown.
    """

    def __init__(self, found: Generator[Any], errors: Errors) -> None:
        if errors not in get_args(Errors):
            raise UserError(f"errors is {errors!r}, expected raise, skip or return")
        self.skipped = 0
        # The generator must not hold this stream, or an abandoned stream and its threads would stay alive.
        self._found, self._errors = found, errors

    def __next__(self) -> Item:
        for found in self._found:
            if not isinstance(found, BadImageError) or self._errors == "return":
                return found  # type: ignore[no-any-return] # the type of an item depends on `errors`
            if self._errors == "raise":
                self.close()
                raise found
            log.warning("skipped: %s", found)
            self.skipped += 1
        raise StopIteration

    def close(self) -> None:
        """Stop reading ahead, and release the threads."""
        self._found.close()
