"""Streams: results in order, a bounded look-ahead, errors that reach the caller, and no thread left behind."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl import Predictor
from wsl.inference import stream
from wsl.inference.stream import batched, ordered, pipeline

CPU = torch.device("cpu")


def counted(items, taken):
    for item in items:
        taken.append(item)
        yield item


@given(items=st.lists(st.integers(), max_size=30), depth=st.integers(0, 10), threads=st.integers(0, 3))
@settings(deadline=None)
def test_ordered_keeps_the_order_and_looks_no_further_ahead_than_asked(items, depth, threads):
    taken: list[int] = []
    executor = ThreadPoolExecutor(threads) if threads else None
    try:
        results = ordered(executor, lambda item: 2 * item, counted(items, taken), depth)
        for number, result in enumerate(results, 1):
            assert result == 2 * items[number - 1]
            assert len(taken) <= number + (depth if threads else 0)
    finally:
        if executor is not None:
            executor.shutdown()
    assert taken == items


def test_closing_ordered_cancels_what_has_not_begun():
    begun, go_on, ran = threading.Event(), threading.Event(), []

    def work(item):
        ran.append(item)
        if item == 1:
            begun.set()
            go_on.wait()
        return item

    with ThreadPoolExecutor(1) as executor:
        results = ordered(executor, work, range(100), depth=5)
        assert next(results) == 0
        begun.wait()
        results.close()
        go_on.set()
    assert ran == [0, 1]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9), st.sampled_from([None, 0, 1, 3]))
@settings(deadline=None)
def test_a_pipeline_gives_batches_in_order(items, batch_size, workers):
    batches = pipeline(
        items,
        lambda item: item + 1,
        list,
        lambda batch: [2 * item for item in batch],
        lambda batch: [-item for item in batch],
        batch_size=batch_size,
        device=CPU,
        workers=workers,
    )
    assert list(batches) == [[-2 * (item + 1) for item in batch] for batch in batched(items, batch_size)]


@pytest.mark.parametrize("stage", ["source", "prepare", "load", "run", "finish"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_of_any_stage_reaches_the_consumer_after_the_results_before_it(stage, workers, no_thread_stays):
    def fails(here, item):
        if here == stage and 7 in (item if isinstance(item, list) else [item]):
            raise KeyError(here)
        return item

    batches = pipeline(
        (fails("source", number) for number in itertools.count()),
        lambda item: fails("prepare", item),
        lambda batch: fails("load", batch),
        lambda batch: fails("run", batch),
        lambda batch: fails("finish", batch),
        batch_size=3,
        device=CPU,
        workers=workers,
    )
    given = []
    with pytest.raises(KeyError, match=stage):
        given.extend(batches)  # endless, but for the error
    assert given == [[0, 1, 2], [3, 4, 5]][: len(given)]
    assert stage in ("source", "prepare") or len(given) == 2


def test_results_that_are_there_come_before_the_error_of_a_later_batch(no_thread_stays):
    def run(batch):
        if 7 in batch:
            raise KeyError("run")
        return batch

    batches = pipeline(itertools.count(), int, list, run, list, batch_size=3, device=CPU, workers=2)
    assert [next(batches), next(batches)] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(KeyError, match="run"):
        next(batches)


def test_closing_a_pipeline_cancels_what_has_not_begun(monkeypatch, no_thread_stays):
    begun, closed = threading.Event(), threading.Event()
    pools, prepared = [], []

    class Threads(ThreadPoolExecutor):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            pools.append(self)

        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            if self is pools[0]:  # the readers
                closed.set()
            super().shutdown(wait=wait)

    def prepare(item):
        prepared.append(item)
        if item == 8:  # not needed for the first result; behind it more are waiting
            begun.set()
            closed.wait()
        return item

    monkeypatch.setattr(stream, "ThreadPoolExecutor", Threads)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    batches = pipeline(itertools.count(), prepare, list, list, list, batch_size=4, device=CPU, workers=1)
    assert next(batches) == [0, 1, 2, 3]
    begun.wait()
    batches.close()
    assert prepared == list(range(9))


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_a_stream_that_is_closed_early_ends_its_threads(predictor, photos, workers, no_thread_stays):
    stream = predictor.stream(itertools.cycle(photos), workers=workers)
    assert [next(stream).id, next(stream).id] == ["0", "1"]
    stream.close()
    assert list(stream) == []
    stream.close()


def test_a_stream_that_nobody_began_is_closed_without_reading(predictor, no_thread_stays):
    taken = []
    predictor.stream(counted([b"never read"], taken)).close()
    assert taken == []


def test_a_stream_that_is_forgotten_ends_its_threads(predictor, photos, no_thread_stays):
    for found in predictor.stream(itertools.cycle(photos)):
        assert found.id == "0"
        break
    del found


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_stream_gives_what_the_predictor_gives_whatever_the_threads(
    tinynet, photos, assert_same, workers, batch_size
):
    predictor = Predictor(tinynet, top_k=2, threshold=0.5, device="cpu", precision="fp32", batch_size=batch_size)
    images = photos * 3
    found = list(predictor.stream(images, workers=workers))
    assert [one.id for one in found] == [str(number) for number in range(len(images))]
    for one, image in zip(found, images, strict=True):
        # Other batch sizes and thread counts sum in another order.
        assert_same(one, predictor(image), tolerance=1e-4)
        assert one.image is image


def test_an_endless_stream_is_read_only_a_few_batches_ahead(predictor, photos):
    taken: list = []
    stream = predictor.stream(counted(itertools.cycle(photos), taken), workers=2)
    ahead = 0
    for number in range(1, 60):
        next(stream)
        ahead = max(ahead, len(taken) - number)
    stream.close()
    cores = torch.get_num_threads()
    assert ahead <= 3 * (cores + 1) * predictor.batch_size + 2


def test_two_streams_of_one_predictor_may_be_read_in_turn(predictor, photos, assert_same):
    one, two = predictor.stream(photos), predictor.stream(photos[::-1])
    pairs = list(zip(one, two, strict=True))
    for (first, _), (_, second) in zip(pairs, pairs[::-1], strict=True):
        assert_same(first, second, tolerance=1e-4)
