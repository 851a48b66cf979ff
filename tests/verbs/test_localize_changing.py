"""Images that go or are replaced while a run is at them, and names that a writer must change."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from wsl import inference
from wsl.config import LocalizeConfig, RuntimeConfig
from wsl.errors import BadImageError
from wsl.models import Localizer, save
from wsl.verbs.localize import run_localize


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcd":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 255, (24, 32, 3), np.uint8)).save(
            folder / f"{name}.png"
        )
    return folder


@pytest.fixture
def weights(tmp_path):
    save(Localizer("tinynet", classes=["cat", "dog"], weights="none"), tmp_path / "run" / "model.safetensors")
    return str(tmp_path / "run")


def config(photos, weights, **changes):
    return LocalizeConfig(
        sources=(str(photos),),
        weights=weights,
        out=photos.parent / "found",
        heatmaps=True,
        image_size=32,
        runtime=RuntimeConfig(device="cpu", workers=0, **changes),
    )


@pytest.fixture
def changing(photos, monkeypatch):
    """After the network has seen all images, one is gone and one is another."""
    stream = inference.Predictor.stream

    def once_seen(self, *args, **options):
        found = stream(self, *args, **options)

        class Changed:
            skipped = 0

            def __iter__(self):
                seen = list(found)
                (photos / "b.png").unlink()
                Image.new("RGB", (8, 8)).save(photos / "c.png")
                yield from seen

        return Changed()

    monkeypatch.setattr(inference.Predictor, "stream", once_seen)


def test_an_image_that_changes_is_one_skipped_image(photos, weights, changing, caplog):
    with caplog.at_level(logging.WARNING, logger="wsl"):
        result = run_localize(config(photos, weights))
    assert (result.images, result.skipped) == (2, 2)
    lines = result.localizations.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["image"][-5:] for line in lines] == ["a.png", "d.png"]
    assert sorted(path.name[0] for path in (photos.parent / "found" / "heatmaps").iterdir()) == ["a", "d"]
    assert "b.png: no such file" in caplog.text
    assert "c.png: was replaced while it was localized" in caplog.text


def test_a_strict_run_stops_at_it(photos, weights, changing):
    with pytest.raises(BadImageError, match=r"b\.png: no such file"):
        run_localize(config(photos, weights, strict=True))
