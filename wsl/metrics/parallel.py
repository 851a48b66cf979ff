"""Observing images in several processes, because threads wait for each other between many small Python steps."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from wsl.limits import allow, max_pixels
from wsl.metrics.statistic import Observation, View
from wsl.results import Localization
from wsl.samples import Sample

if TYPE_CHECKING:
    from wsl.metrics.evaluation import Evaluation, Settings

Pair = tuple[Localization, Sample]
Observed = Mapping[str, Mapping[View, Observation]]
"""What an image adds to each metric, by name."""

_BATCH = 16


def observed_elsewhere(
    settings: Settings, metrics: Sequence[str], pairs: Iterable[Pair], processes: int
) -> Iterator[tuple[list[Observed], list[Pair]]]:
    """What batches of images add to each metric, and the batches, in order.

    The pairs are read as results are consumed, at most a few batches ahead.

    Raises:
        UserError: as `Evaluation.update` would for an image of the batch.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(settings, metrics, max_pixels()))
    waiting: deque[tuple[Future[Any], list[Pair]]] = deque()
    batches = iter(pairs)
    try:
        while batch := list(itertools.islice(batches, _BATCH)):
            waiting.append((pool.submit(_observe, batch), batch))
            if len(waiting) > 2 * processes:
                future, done = waiting.popleft()
                yield future.result(), done
        for future, done in waiting:
            yield future.result(), done
    finally:
        pool.shutdown(cancel_futures=True)


_EVALUATION: list[Evaluation] = []


def _start(settings: Settings, metrics: Sequence[str], pixels: int) -> None:
    # Ctrl-C is handled by the main process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    allow(pixels)
    _EVALUATION[:] = [settings.evaluation(metrics)]


def _observe(batch: Sequence[Pair]) -> list[Observed]:
    return [_EVALUATION[0].observe(found, sample) for found, sample in batch]
