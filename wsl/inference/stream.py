"""Work on a stream of items: stages side by side, results in order, memory constant."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TypeVar

import threadpoolctl
import torch

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

# Images that a thread reads at a time where a GPU decodes them.
_CHUNK = 32


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
        networks = pools.enter_context(_threads(runners, one_core_each=on_cpu))
        if device.type != "cuda":
            readers = pools.enter_context(_threads(workers))
            batches = batched(ordered(readers, prepare, items, runners * batch_size + workers), batch_size)
            yield from ordered(networks, lambda batch: finish(run(batch)), batches, runners)
            return
        # Images take microseconds here, so threads pass on many at a time, and few of them want the interpreter.
        readers, finishers = (pools.enter_context(_threads(min(workers, count))) for count in (4, 2))
        chunks = ordered(readers, lambda some: [prepare(one) for one in some], batched(items, _CHUNK), 4 * runners + 4)
        batches = batched(itertools.chain.from_iterable(chunks), batch_size)
        running = ordered(networks, _on_own_queue(run, device), batches, runners)
        yield from ordered(finishers, finish, running, 2)


def _threads(count: int, *, one_core_each: bool = False) -> AbstractContextManager[Executor | None]:
    """A pool of so many threads; None for 0. With `one_core_each` torch uses no further cores in them."""
    if not count:
        return nullcontext()
    return ThreadPoolExecutor(count, initializer=_use_one_core if one_core_each else None)


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
