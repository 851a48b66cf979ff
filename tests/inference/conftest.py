"""Small models with fixed random weights, photographs that differ everywhere, and what it means to find the same."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from heads import MapClassifier
from wsl import Localization, Localizer, Predictor
from wsl.config import Preprocessing
from wsl.models import export_model

CLASSES = ("cat", "dog", "cow", "pig")


def build(name: str, **settings) -> Localizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = Preprocessing(image_size=64, **settings.pop("preprocessing", {}))
        model = Localizer(name, classes=CLASSES, weights="none", preprocessing=small, **settings).eval()
        with torch.no_grad():
            # An untrained network scores all images alike; let the scores of noise spread around zero.
            scores = model(torch.randn(16, 3, 64, 64) * torch.rand(16, 3, 1, 1)).scores
            last = model.head.conv if isinstance(model.head, MapClassifier) else model.head.classifier.linear
            last.weight.div_(scores.std(0).reshape(-1, *[1] * (last.weight.ndim - 1)))
            last.bias.sub_(scores.mean(0)).div_(scores.std(0))
    return model


@pytest.fixture(scope="session")
def new_model() -> Callable[..., Localizer]:
    """Builds a localizer for 64 pixels and the classes cat, dog, cow and pig; always with the same weights."""
    return build


@pytest.fixture(scope="session")
def tinynet() -> Localizer:
    """One level of intermediate features, maps of 8 x 8. No test may change it."""
    return build("tinynet")


@pytest.fixture(scope="session")
def onnx(tinynet: Localizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tinynet as an ONNX file."""
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="the extra onnx is not installed")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_model(tinynet, path, "onnx")
    return path


@pytest.fixture(scope="session")
def resnet() -> Localizer:
    """Two levels of intermediate features, maps of 2 x 2. No test may change it."""
    return build("resnet18")


@pytest.fixture(scope="session")
def predictor(tinynet: Localizer) -> Predictor:
    """tinynet on the CPU in float32; its two most probable classes."""
    return Predictor(tinynet, top_k=2, threshold=0.5, device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Six photographs of six shapes: smooth, with noise, and none like another."""
    rng = np.random.default_rng(0)
    images = []
    for width, height in ((67, 45), (45, 67), (64, 64), (130, 33), (12, 90), (200, 150)):
        y, x = np.mgrid[:height, :width]
        phases = rng.uniform(0, 6, (3, 1, 1))
        waves = 127 + 90 * np.sin(x / width * 5 + phases) * np.cos(y / height * 4 - phases)
        noisy = waves.transpose(1, 2, 0) + rng.uniform(-30, 30, (height, width, 3))
        images.append(noisy.clip(0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """The bytes of an image file."""

    def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind, **options)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Two localizations have the same scores, points, boxes and maps; by default to the last bit."""

    def check(found: Localization, expected: Localization, tolerance: float = 0.0) -> None:
        assert found.size == expected.size
        close = {"rtol": tolerance, "atol": tolerance}
        assert list(found.scores) == list(expected.scores)
        np.testing.assert_allclose(list(found.scores.values()), list(expected.scores.values()), **close)
        assert found.boxes.labels == expected.boxes.labels
        np.testing.assert_allclose(found.boxes.xyxy, expected.boxes.xyxy, **close)
        np.testing.assert_allclose(found.boxes.scores, expected.boxes.scores, **close)
        assert found.points.keys() == expected.points.keys()
        for label, point in expected.points.items():
            np.testing.assert_allclose(found.points[label], point, **close)
        assert list(found.maps) == list(expected.maps)
        for label, score_map in expected.maps.items():
            np.testing.assert_allclose(found.maps[label], score_map, **close)

    return check


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Fails a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
