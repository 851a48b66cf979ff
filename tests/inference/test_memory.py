"""Memory: batches that do not fit are halved, and ten thousand calls need no more of it than a hundred."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wsl import Predictor, RunError


class Limited:
    """A model on a device whose memory holds `most` images; ``tried`` are the sizes of its batches."""

    def __init__(self, run, most: int) -> None:
        self.run, self.most, self.tried = run, most, []
        self.probabilities = run.probabilities

    def __call__(self, images, *, taps=False):
        self.tried.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.run(images, taps=taps)


def limited(predictor: Predictor, monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let the device run out of memory in batches of more than `most` images; gives the sizes that were tried."""
    model = Limited(predictor._network._run, most)
    monkeypatch.setattr(predictor._network, "_run", model)
    return model.tried


@pytest.fixture
def eight(tinynet) -> Predictor:
    return Predictor(tinynet, device="cpu", precision="fp32", batch_size=8)


def test_a_batch_that_does_not_fit_is_halved_once_and_for_all(eight, photos, monkeypatch, caplog, assert_same):
    images = photos * 4
    expected = eight(images)
    tried = limited(eight, monkeypatch, most=4)
    with caplog.at_level(logging.WARNING, "wsl"):
        found = list(eight.stream(images, workers=0))
    assert tried == [8, 4, 4, 4, 4, 4, 4]
    assert [record.message for record in caplog.records] == ["a batch of 8 is too large for the memory of cpu: halved"]
    for one, other in zip(found, expected, strict=True):
        assert one.id == other.id
        assert_same(one, other, tolerance=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_halving_goes_on_until_it_fits_and_bad_images_keep_their_places(eight, photos, monkeypatch, workers):
    images = [b"broken" if number % 5 == 3 else photos[number % 6] for number in range(20)]
    tried = limited(eight, monkeypatch, most=1)
    found = list(eight.stream(images, errors="return", workers=workers))
    assert [getattr(one, "id", None) for one in found] == [None if n % 5 == 3 else str(n) for n in range(20)]
    assert tried.count(1) == 16
    assert tried[-1] == 1


def test_predict_halves_too(eight, photos, monkeypatch, assert_same):
    inputs = [eight.prepare(photo, id=str(number)) for number, photo in enumerate(photos)]
    expected = eight.predict(inputs)
    limited(eight, monkeypatch, most=2)
    for _ in range(2):
        for one, other in zip(eight.predict(inputs), expected, strict=True):
            assert one.id == other.id
            assert_same(one, other, tolerance=1e-4)


def test_questions_of_changed_images_halve_too(eight, photos, monkeypatch, caplog):
    images = eight.images([eight.prepare(photo) for photo in photos])
    expected = eight.probabilities(images)
    tried = limited(eight, monkeypatch, most=2)
    with caplog.at_level(logging.WARNING, "wsl"):
        for _ in range(2):
            torch.testing.assert_close(eight.probabilities(images), expected)
    assert tried == [6, 3, 2, 2, 2, 2, 2, 2]
    limited(eight, monkeypatch, most=0)
    with pytest.raises(RunError, match="take a smaller image size"):
        eight.probabilities(images[:1])


@pytest.mark.parametrize("workers", [0, 2])
def test_one_image_that_does_not_fit_ends_the_run_with_what_to_do(eight, photos, monkeypatch, workers, no_thread_stays):
    limited(eight, monkeypatch, most=0)
    with pytest.raises(RunError, match="cpu has too little memory for one image of 64 px: take a smaller image size"):
        eight(photos[0])
    with pytest.raises(RunError, match="too little memory"):
        list(eight.stream(photos, workers=workers))


def resident() -> int:
    """The process's memory in bytes; where it cannot be asked for, its peak, which only grows."""
    try:
        import psutil
    except ImportError:
        resource = pytest.importorskip("resource")
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return psutil.Process().memory_info().rss


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208 - closed before it is counted


@pytest.mark.long
def test_a_thousand_calls_neither_grow_nor_leave_files_open(tinynet, tmp_path, encoded):
    predictor = Predictor(tinynet, device="cpu", image_size=32, precision="fp32")
    rng = np.random.default_rng(0)
    # A shape of its own each: nothing may be kept by shape either.
    images = [rng.integers(0, 256, (20 + number % 97, 20 + number % 89, 3), np.uint8) for number in range(1000)]
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(images[0]))
    for image in images[:200]:
        predictor(image)
    predictor(path)
    memory, files = resident(), open_files()
    for image in images:
        predictor(image)
    for _ in range(20):
        predictor(path)
        with path.open("rb") as opened:
            predictor(opened)
    assert resident() - memory < 30 * 2**20
    assert open_files() == files


def test_a_stream_holds_a_few_images_and_not_all(tinynet):
    """Each image is two megabytes; all of them together would be eight hundred."""
    predictor = Predictor(tinynet, device="cpu", image_size=32, precision="fp32")

    def images(count):
        for number in range(count):
            yield np.full((800, 900, 3), number % 256, np.uint8)

    for _ in predictor.stream(images(50)):
        pass
    memory = resident()
    most = 0
    for _ in predictor.stream(images(400)):
        most = max(most, resident())
    assert most - memory < 200 * 2**20
