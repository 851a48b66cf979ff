"""A run of two small models, and a picture."""

import numpy as np
import pytest
from PIL import Image

import wsl
from wsl.models import save


@pytest.fixture(scope="session")
def small_model():
    return wsl.Localizer("tinynet", classes=["cat", "dog", "emu"], pooling="gap", weights="none").eval()


@pytest.fixture(scope="session")
def runs(small_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save(small_model, folder / "first" / "model.safetensors")
    return folder


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)).save(path)
    return path
