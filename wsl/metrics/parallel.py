"""Observation of images in several processes, since threads wait for each other between many small Python steps."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING

from wsl.limits import allow, max_pixels
from wsl.metrics.evidence import View
from wsl.metrics.statistic import Observation
from wsl.results import Localization
from wsl.samples import Sample

if TYPE_CHECKING:
    from wsl.metrics.evaluation import Evaluation, Settings

Pair = tuple[Localization, Sample]
Observed = Mapping[str, Mapping[View, Observation]]
"""What an image adds to each metric, by name."""

_BATCH = 16
_AHEAD = 64


def observed_side_by_side(
    evaluation: Evaluation, settings: Settings, pairs: Iterable[Pair], processes: int
) -> Iterator[tuple[list[Observed], list[Pair]]]:
    """The contributions of batches of images to each metric, with the batches, in order.

    This process observes whatever the others are too busy for, or not yet ready for: starting one takes as long as a
    few hundred images. The pairs are read as results are consumed, a limited number of batches ahead.

    Raises:
        UserError: as `Evaluation.update` would for an image of the batch.
    """
    context, others = multiprocessing.get_context("spawn"), processes - 1
    initargs = settings, tuple(evaluation.statistics), max_pixels()
    pool = ProcessPoolExecutor(others, context, initializer=_start, initargs=initargs)
    waiting: deque[tuple[Future[list[Observed]], list[Pair]]] = deque()
    batches = iter(pairs)
    try:
        while batch := list(itertools.islice(batches, _BATCH)):
            elsewhere = sum(not future.done() for future, _ in waiting)
            waiting.append((pool.submit(_observe, batch) if elsewhere < 2 * others else _now(evaluation, batch), batch))
            while waiting and (waiting[0][0].done() or len(waiting) > _AHEAD):
                future, batch = waiting.popleft()
                yield future.result(), batch
        for future, batch in waiting:
            yield future.result(), batch
    finally:
        pool.shutdown(cancel_futures=True)


def _now(evaluation: Evaluation, batch: Sequence[Pair]) -> Future[list[Observed]]:
    """What a batch adds, observed in this process; an error is raised when its turn comes."""
    observed: Future[list[Observed]] = Future()
    try:
        observed.set_result([evaluation.observe(found, sample) for found, sample in batch])
    except Exception as error:
        observed.set_exception(error)
    return observed


_EVALUATION: list[Evaluation] = []


def _start(settings: Settings, metrics: Sequence[str], pixels: int) -> None:
    # Ctrl-C is handled by the main process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    allow(pixels)
    _EVALUATION[:] = [settings.evaluation(metrics)]


def _observe(batch: Sequence[Pair]) -> list[Observed]:
    return [_EVALUATION[0].observe(found, sample) for found, sample in batch]
