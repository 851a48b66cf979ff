"""Every family of classifiers gives maps, its own scores, and cells that look where the gradient says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import wsl
from wsl.models import Localizer

_SPEC = importlib.util.spec_from_file_location("wsl_tests_families", Path(__file__).parent / "families.py")
families = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(families)

# Of each kind one that is not large.
FAST = [
    "mobilenet_v2",  # pooling and a linear layer
    "squeezenet1_1",  # a convolution that classifies
    "alexnet",  # fully connected layers
    "timm/edgenext_xx_small",  # a layer norm after the pooling
    "timm/mobilenetv3_small_050",  # two layers after the pooling
    "timm/dla46x_c",  # branches that look at different places
    "timm/resnet10t",  # a last block that ends with its shortcut
    "timm/efficientvit_m0",  # windows in the place of images
    "timm/deit_tiny_patch16_224",  # a class token
    "timm/pit_ti_224",  # a class token beside a map
    "timm/gmlp_ti16_224",  # tokens, and no attention
]
# Networks that the reference cannot make even.
NOT_MEASURED = {
    "timm/levit_128s",  # attention halves its maps
    "timm/cpubone_nano",  # 25 px apart: the reference leaves out attention, and convolutions of even size around it
}
SLOW = [name for name in families.list_names() if name not in FAST]


def check(name, reference):
    if name.startswith("timm"):
        timm = pytest.importorskip("timm")
        if not timm.is_model(name.removeprefix("timm/")):
            pytest.skip(f"this timm has no {name}")
    row = families.read_rows()[name]
    if row.method == "none":
        assert families.find_row(name) == row
        return
    opened = families.open_family(name)
    assert families.find_row(name, opened) == row
    check_maps(opened)
    check_prediction(opened)
    if opened.output.grid is not None and name not in NOT_MEASURED:
        found, expected, stride = families.measure_grid(opened, reference.gradient_centres.centre)
        assert abs(found - expected) <= max(2, stride / 2)


def check_maps(opened):
    scores, output = opened.scores, opened.output
    classes = scores.topk(2).indices
    maps, size = output.maps_of(classes), scores.abs().max()
    assert (scores[0] - scores[1]).abs().max() > 1e-3 * size  # so that the images count
    error = (output.scores - scores).abs().max()
    # With random weights, deep networks are that far from themselves in double precision.
    assert error < 1e-4 * size or error < 4 * opened.rounding()
    assert maps.isfinite().all()
    assert (maps.amax((2, 3)) > maps.amin((2, 3))).any()
    if isinstance(opened.model, Localizer):
        assert (maps.mean((2, 3)) - output.scores.gather(1, classes)).abs().max() < 1e-4 * size


def check_prediction(opened):
    predictor = wsl.Predictor(opened.model, device="cpu", precision="fp32", refine="none")
    found = predictor(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    (score_map,) = found.maps.values()
    assert np.isfinite(score_map).all()
    assert found.size == (80, 60)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.quick("name", ["squeezenet1_1", "timm/resnet10t"])
def test_one_of_each_kind_gives_maps(name, reference):
    check(name, reference)


@pytest.mark.families
@pytest.mark.parametrize("name", SLOW)
def test_every_family_gives_maps_or_says_why_not(name, reference):
    check(name, reference)


@pytest.mark.families
def test_the_page_has_a_row_of_every_name():
    pytest.importorskip("timm")
    assert set(families.read_rows()) == set(families.list_names())


@pytest.mark.families
def test_every_module_of_timm_is_there():
    timm = pytest.importorskip("timm")
    assert set(timm.list_modules()) <= set(families.SMALLEST)
