"""Refined maps from the command's own path: fuller boxes, the same scores, in whatever batches and threads."""

import numpy as np
import pytest
from torch import nn

import wsl
from wsl.config import DataConfig, EvaluateConfig, LocalizeConfig, PickConfig, Preprocessing
from wsl.config.shared import BOX_DEFAULTS
from wsl.errors import UserError
from wsl.formats import read_localizations
from wsl.inference import Predictor
from wsl.metrics.overlap import best_iou
from wsl.verbs.localize import run_localize

BOTH = PickConfig(top_k=None)


def refined(run, paths, *, batch_size=8, workers=0, **options):
    options = {"refine": "none", **options}
    model = wsl.load(run)
    predictor = Predictor(model, top_k=None, device="cpu", precision="fp32", batch_size=batch_size, **options)
    return list(predictor.stream(paths, workers=workers))


@pytest.fixture(scope="module")
def val(world):
    return wsl.data.read_voc(world, "val").samples


def test_boxes_fit_better_and_scores_are_the_same(run, val):
    paths = [sample.path for sample in val]
    plain = refined(run, paths)
    spread = refined(run, paths, refine="affinity", threshold=0.5)
    fits = []
    for before, after, sample in zip(plain, spread, val, strict=True):
        assert before.scores == after.scores
        assert before.points == after.points
        for label in sample.labels:
            truth = sample.boxes.of(label).xyxy
            fits.append([best_iou(one.boxes.of(label).xyxy, truth).max(initial=0) for one in (before, after)])
    before, after = np.mean(fits, axis=0)
    assert after > before + 0.1


@pytest.mark.parametrize(("workers", "batch_size"), [(3, 1), (3, 5), (0, 16)])
def test_workers_and_batches_change_nothing(run, val, workers, batch_size):
    """Each thread refines with the features of its own images."""
    paths = [sample.path for sample in val]
    one = refined(run, paths, refine="affinity", workers=workers, batch_size=batch_size)
    for mine, other in zip(one, refined(run, paths, refine="affinity"), strict=True):
        for label, score_map in other.maps.items():
            np.testing.assert_allclose(mine.maps[label], score_map, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("resize", "shape"), [("warp", (16, 16)), ("letterbox", (13, 16))])
def test_maps_cover_exactly_the_image(photos, resize, shape):
    """The halfway features of tinynet at 64 px have 16 cells; a letterboxed image of 80 x 64 fills 13 rows of them."""
    model = wsl.Localizer(
        "tinynet", classes=["x"], weights="none", preprocessing=Preprocessing(image_size=64, resize=resize)
    )
    predictor = Predictor(model, refine="affinity", device="cpu", precision="fp32")
    (found,) = predictor.stream([photos / "val00.png"])
    assert found.size == (80, 64)
    assert found.maps["x"].shape == shape


def test_an_image_of_no_class_has_no_map(run, val):
    predictor = Predictor(wsl.load(run), top_k=None, score_threshold=1.0, refine="affinity", device="cpu")
    (found,) = predictor.stream([val[0].path])
    assert found.maps == {}


@pytest.mark.parametrize(
    ("refine", "side"), [("affinity", 16), ("pamr", 64), ("crf", 48), ("guided", 64), ("grabcut", 64)]
)
def test_the_command_writes_refined_maps_and_says_so(run, photos, tmp_path, refine, side):
    config = LocalizeConfig(
        sources=(str(photos / "val00.png"),), weights=str(run), out=tmp_path, maps=True, refine=refine, pick=BOTH
    )
    result = run_localize(config)
    (found,) = read_localizations(tmp_path)
    assert {score_map.shape for score_map in found.maps.values()} == {(side, side)}
    assert f"threshold {BOX_DEFAULTS[refine].threshold:g} " in result.method
    assert result.method.endswith(f"maps refined by {refine}")


def test_what_cannot_be_refined_is_told(world, run, tmp_path):
    with pytest.raises(UserError, match="refine is 'sharpen', expected auto, none, affinity, decoder, pamr"):
        next(wsl.localize(wsl.load(run), world, refine="sharpen"))
    with pytest.raises(UserError, match="--refine needs --weights"):
        EvaluateConfig(data=DataConfig(data=world), out=tmp_path, predictions=tmp_path, refine="affinity")
    with pytest.raises(UserError, match="refine is 'affinity', but this model shows no intermediate features"):
        Predictor(wsl.Localizer(nn.Conv2d(3, 4, 8, 8), 2), refine="affinity")
