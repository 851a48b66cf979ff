"""Predictors in threads and other processes: sent as weights, the same results, and a clear word after a fork."""

import concurrent.futures
import multiprocessing
import pickle
import pickletools
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import wsl
from wsl import Localizer, Predictor, RunError, Source
from wsl.config import Preprocessing
from wsl.models import OnnxLocalizer


def of(model, **settings):
    return Predictor(model, **{"top_k": 2, "threshold": 0.5, "device": "cpu", "precision": "fp32", **settings})


def unpickled(thing):
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - our own bytes


def names_in(data: bytes) -> set[str]:
    """All texts of a pickle, the modules and classes that it imports among them."""
    return {argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)}


@pytest.fixture(scope="module")
def spawned() -> Iterator[concurrent.futures.Executor]:
    """Another process, which shares nothing with this one."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
        yield process


@pytest.fixture
def custom() -> Localizer:
    """A backbone that has no name to build it by."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        return Localizer(net, classes=("cat", "dog"), preprocessing=Preprocessing(image_size=64)).eval()


@pytest.fixture
def classifier() -> Localizer:
    """A classifier that has no name to build it by."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torchvision.models.resnet18(num_classes=4)
    return Localizer.from_classifier(net, preprocessing=Preprocessing(image_size=64)).eval()


def test_two_threads_share_a_predictor(predictor, photos, assert_same):
    expected = predictor(photos)
    start = threading.Barrier(2)

    def work(_):
        start.wait()
        return [[predictor(photo) for photo in photos] for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        for rounds in threads.map(work, range(2)):
            for found in rounds:
                for one, other in zip(found, expected, strict=True):
                    assert_same(one, other, tolerance=1e-4)


def test_two_threads_have_a_predictor_each(tinynet, resnet, photos, assert_same):
    predictors = [of(tinynet), of(resnet, refine="affinity")]
    expected = [predictor(photos) for predictor in predictors]
    start = threading.Barrier(4)

    def work(number):
        start.wait()
        return [list(predictors[number % 2].stream(photos)) for _ in range(3)]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for number, rounds in enumerate(threads.map(work, range(4))):
            for found in rounds:
                for one, other in zip(found, expected[number % 2], strict=True):
                    assert_same(one, other, tolerance=1e-4)


def test_settings_and_results_survive_pickling(resnet, photos, assert_same):
    predictor = of(resnet, classes=("pig", "cat"), box_rule="all", min_area=0.01, image_size=96, max_pixels=40_000)
    again = unpickled(predictor)
    assert repr(again) == repr(predictor)
    assert (again.boxes, again.preprocessing, again.max_pixels) == (
        predictor.boxes,
        predictor.preprocessing,
        predictor.max_pixels,
    )
    for one, other in zip(again(photos), predictor(photos), strict=True):
        assert_same(one, other)


def test_a_named_model_travels_as_its_weights_and_not_as_code(resnet, tmp_path):
    wsl.models.save(resnet, tmp_path / "model.safetensors")
    for model in (resnet, wsl.load(tmp_path)):
        names = names_in(pickle.dumps(of(model)))
        assert not any("fx" in name.split(".") or "GraphModule" in name for name in names)
        assert not any(name.startswith("torch.nn") for name in names)
        assert "wsl.models.checkpoint" in names


def test_an_onnx_model_travels_as_its_file(onnx, photos, assert_same):
    predictor = of(OnnxLocalizer(onnx))
    data = pickle.dumps(predictor)
    assert not any(name.startswith(("torch.nn", "onnxruntime")) for name in names_in(data))
    assert onnx.read_bytes() in data
    for one, other in zip(unpickled(predictor)(photos), predictor(photos), strict=True):
        assert_same(one, other)


def test_a_module_without_a_name_travels_as_a_module(custom, classifier, photos, assert_same):
    for model in (custom, classifier):
        predictor = of(model)
        assert any(name.startswith("torch.nn.modules") for name in names_in(pickle.dumps(predictor)))
        for one, other in zip(unpickled(predictor)(photos), predictor(photos), strict=True):
            assert_same(one, other)


def test_a_spawned_process_gives_the_same_results(spawned, tinynet, custom, classifier, resnet, photos, assert_same):
    predictors = [of(tinynet), of(custom), of(classifier), of(resnet, refine="affinity")]
    sources = [*photos[:3], Source(photos[3], "named", classes=())]
    for predictor in predictors:
        known = sources if "cat" in predictor.classes else photos[:3]
        found = spawned.submit(predictor, known).result()
        for one, other in zip(found, predictor(known), strict=True):
            assert one.id == other.id
            assert_same(one, other, tolerance=1e-4)


def test_images_are_prepared_in_another_process(spawned, predictor, photos, assert_same):
    inputs = list(spawned.map(predictor.prepare, photos[:3]))
    for found, photo in zip(predictor.predict(inputs), photos, strict=False):
        assert_same(found, predictor(photo), tolerance=1e-4)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("use", ["call", "list", "stream", "class_maps"])
@pytest.mark.quick("use", ["call"])
def test_a_predictor_from_before_a_fork_says_what_to_do(predictor, photos, use):
    uses = {
        "call": lambda: predictor(photos[0]),
        "list": lambda: predictor(photos),
        "stream": lambda: list(predictor.stream(photos, workers=1)),
        "class_maps": lambda: list(predictor.class_maps(photos, workers=1)),
    }
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child():
        prepared = predictor.prepare(photos[0])
        try:
            uses[use]()
        except RunError as error:
            sender.send((prepared.pixels.shape, str(error)))
        sender.close()

    process = context.Process(target=child)
    process.start()
    sender.close()
    shape, message = receiver.recv()
    process.join()
    assert process.exitcode == 0
    assert shape == (64, 64, 3)
    assert "made before the process was forked" in message
    assert "make it in the new process, or send it there pickled ('spawn')" in message
    assert np.isfinite(list(predictor(photos[0]).scores.values())).all()  # here it still works
