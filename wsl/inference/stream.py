"""Work on a stream of items: stages side by side, results in order, memory constant."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import threadpoolctl
import torch

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


def ordered(executor: Executor | None, work: Callable[[S], T], items: Iterable[S], depth: int) -> Iterator[T]:
    """`work` of each item in order, up to `depth` of them under way before they are asked for.

    Without an executor each is done when it is asked for.

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
    """Lists of `size` items, the last one maybe shorter.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def pipeline(
    items: Iterable[S],
    prepare: Callable[[S], T],
    run: Callable[[list[T]], U],
    finish: Callable[[U], V],
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
) -> Iterator[V]:
    """Batches of prepared items through a network: reading, computing and what follows overlap, in order.

    `workers` threads `prepare` items, by default one a core; with 0 everything is done in the caller's thread. On the
    CPU each core runs batches of its own, `run` and `finish` together: threads that share a batch would wait for each
    other, and for the reading that takes a core away. On a GPU two threads `run`, each on a queue of its own, so that
    the device has a batch to go on with, and `finish` waits for the results in others.
    """
    cores = torch.get_num_threads()
    workers = cores if workers is None else workers
    on_cpu = device.type == "cpu"
    runners = (cores if on_cpu else 2) if workers else 0
    with ExitStack() as pools:
        readers = pools.enter_context(_threads(workers))
        networks = pools.enter_context(_threads(runners, one_core_each=on_cpu))
        batches = batched(ordered(readers, prepare, items, runners * batch_size + workers), batch_size)
        if device.type != "cuda":
            yield from ordered(networks, lambda batch: finish(run(batch)), batches, runners)
            return
        finishers = pools.enter_context(_threads(min(workers, 4)))
        running = ordered(networks, _on_own_queue(run, device), batches, runners)
        yield from ordered(finishers, finish, running, 2 * runners)


@contextmanager
def _threads(count: int, *, one_core_each: bool = False) -> Iterator[Executor | None]:
    """A pool of so many threads; None for 0. With `one_core_each` torch uses no further cores in them.

    At the end what is under way is waited for, and what has not begun is left.
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
    # torch.set_num_threads would also decide for threads that others start meanwhile. OpenMP's own setting is the
    # thread's; torch overwrites it when a thread first asks, so it has to ask before.
    torch.get_num_threads()
    threadpoolctl.threadpool_limits(1, user_api="openmp")


def _on_own_queue(work: Callable[[S], T], device: torch.device) -> Callable[[S], T]:
    """`work`, with what it launches queued on a CUDA stream of the thread that calls it."""
    own, first = threading.local(), torch.cuda.current_stream(device)

    def on_own_stream(item: S) -> T:
        if not hasattr(own, "stream"):
            own.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            own.stream.wait_stream(first)  # where the weights were put
        with torch.cuda.stream(own.stream):
            return work(item)

    return on_own_stream
