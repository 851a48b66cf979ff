"""What happens on a GPU, as far as it can be told without one: its parts run here on the CPU or in an interpreter."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

import wsl
from wsl.config import Preprocessing
from wsl.errors import BadImageError
from wsl.images import cuda, fit
from wsl.inference import network, predictor
from wsl.inference.stream import _on_gpu

SIDE = 64


@pytest.fixture
def device_decodes(monkeypatch):
    """A predictor's device "decodes" JPEGs: here OpenCV in the place of nvJPEG. Gives the batches that it was asked."""
    batches: list[int] = []

    def decode(images, device):
        batches.append(len(images))
        planes = []
        for one in images:
            pixels = cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
            if pixels is None:
                raise cuda.UndecodedError("damaged")
            planes.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
        return cuda.Planes(planes)

    monkeypatch.setattr(network, "decode_planes", decode)
    monkeypatch.setattr(cuda, "_triton_resize", lambda: None)
    monkeypatch.setattr(predictor, "decodes_jpeg", lambda device: True)
    return batches


@pytest.fixture
def photos(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for number, suffix in enumerate([".jpg", ".jpg", ".png", ".jpg", ".jpg"]):
        noise = cv2.GaussianBlur(rng.integers(0, 255, (150 + 7 * number, 120, 3)).astype(np.uint8), (0, 0), 3)
        paths.append(tmp_path / f"{number}{suffix}")
        cv2.imwrite(str(paths[-1]), noise)
    return paths


def build(**settings):
    torch.manual_seed(0)
    preprocessing = Preprocessing(image_size=SIDE)
    model = wsl.Localizer("tinynet", classes=["a", "b"], weights="none", preprocessing=preprocessing)
    return wsl.Predictor(model, device="cpu", precision="fp32", top_k=2, **settings)


def test_images_that_the_device_decodes_give_the_same_localizations(photos, monkeypatch, device_decodes):
    on_device = build(batch_size=4)
    found = on_device(photos)
    assert on_device.prepare(photos[0]).pixels is None
    assert on_device.prepare(photos[2]).jpeg is None
    monkeypatch.setattr(predictor, "decodes_jpeg", lambda device: False)
    for one, other in zip(found, build(batch_size=4)(photos), strict=True):
        assert (one.path, one.size) == (other.path, other.size)
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        for label, score_map in one.maps.items():
            np.testing.assert_allclose(score_map, other.maps[label], atol=1e-5)
    assert sum(device_decodes) == 4


@pytest.mark.parametrize("errors", ["skip", "return"])
def test_a_batch_with_a_damaged_file_is_decoded_on_the_host(photos, device_decodes, errors):
    whole = photos[1].read_bytes()
    photos[1].write_bytes(whole[:40] + b"\0" * (len(whole) - 42) + whole[-2:])
    stream = build(batch_size=5).stream(photos, errors=errors)
    found = list(stream)
    good = [one for one in found if not isinstance(one, BadImageError)]
    assert [one.id for one in good] == ["0", "2", "3", "4"]
    if errors == "return":
        assert "1.jpg" in str(found[1])
    else:
        assert stream.skipped == 1


def test_prepared_images_that_the_device_decodes_are_those_of_the_host(photos, monkeypatch, device_decodes):
    on_device = build()
    images = on_device.images([on_device.prepare(photo) for photo in photos])
    assert device_decodes == [4]
    whole = photos[1].read_bytes()
    photos[1].write_bytes(whole[:40] + b"\0" * (len(whole) - 42) + whole[-2:])
    with pytest.raises(BadImageError, match=r"1\.jpg"):
        on_device.images([on_device.prepare(photos[1])])
    photos[1].write_bytes(whole)
    monkeypatch.setattr(predictor, "decodes_jpeg", lambda device: False)
    on_host = build()
    expected = on_host.images([on_host.prepare(photo) for photo in photos])
    torch.testing.assert_close(images, expected, atol=0.02, rtol=0)  # a level of 255 is up to 0.018


def test_batches_of_a_gpu_come_in_order_and_are_launched_in_the_callers_thread():
    import threading

    caller, launched = threading.get_ident(), []

    def run(batch):
        launched.append(threading.get_ident())
        return batch

    stages = _on_gpu(range(200), lambda one: one + 1, lambda batch: batch, run, sum, 8, 16)
    assert list(stages) == [sum(range(start + 1, min(start + 9, 201))) for start in range(0, 200, 8)]
    assert set(launched) == {caller}
    assert [one.name for one in threading.enumerate() if "ThreadPool" in one.name] == []


@pytest.mark.parametrize("stage", range(4))
def test_an_error_in_any_stage_reaches_the_caller(stage):
    def failing(value):
        raise ValueError("here")

    stages = [lambda value: value] * 4
    stages[stage] = failing
    with pytest.raises(ValueError, match="here"):
        list(_on_gpu(range(50), *stages, 8, 2))


SCRIPT = """
import numpy as np, torch
from wsl.config import Preprocessing
from wsl.images import fit
from wsl.images.triton_resize import resize_and_normalise
rng = np.random.default_rng(0)
mean, std = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 3.0, 4.0])
for sizes, bound in (([(75, 100), (50, 33), (33, 200), (32, 32), (301, 299)], 0), ([(20, 10), (9, 60), (300, 17)], 1)):
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    planes = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    result = resize_and_normalise(planes, 32, mean, std)
    assert result.is_contiguous(memory_format=torch.channels_last)
    for image, found in zip(images, result):
        levels = (found.permute(1, 2, 0) * std + mean).numpy()
        expected = fit(image, Preprocessing(image_size=32))[0]
        assert np.abs(levels - expected).max() <= bound + 1e-3, (image.shape, np.abs(levels - expected).max())
    assert torch.equal(resize_and_normalise(planes[-1:], 32, mean, std)[0], result[-1])  # a batch of one
print("equal")
"""


@pytest.mark.long
def test_the_triton_program_resizes_as_the_host_does():
    """To the level where both sides shrink, and within one where OpenCV's bilinear weights have 11 bits."""
    pytest.importorskip("triton", reason="this build of torch comes without Triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr


def test_the_plain_form_of_the_resizing_is_the_hosts_too():
    image = np.random.default_rng(1).integers(0, 256, (90, 130, 3)).astype(np.uint8)
    planes = cuda.Planes([torch.from_numpy(image).permute(2, 0, 1)])
    found = cuda.resize_planes(planes.images, SIDE)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - fit(image, Preprocessing(image_size=SIDE))[0]).max() <= 1
