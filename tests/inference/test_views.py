"""Test-time augmentation: scores and maps averaged over mirrored views and several sizes."""

import numpy as np
import pytest
import torch

from wsl import Predictor, UserError
from wsl.images import place
from wsl.inference.views import View, views


def test_views_are_each_side_and_its_mirror_image():
    assert views(["flip", 64, "96"]) == (View(64, False), View(96, False), View(64, True), View(96, True))
    assert views([]) == (View(None, False),)


QUICK = {("tinynet", "warp", "affinity"), ("tinynet", "letterbox", "none"), ("resnet18", "letterbox", "none")}


@pytest.mark.parametrize("name", ["tinynet", "resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("resize", ["warp", "letterbox"])
@pytest.mark.parametrize("refine", ["none", "affinity"])
@pytest.mark.quick("name, resize, refine", QUICK)
def test_a_mirrored_image_has_the_mirrored_maps(new_model, photos, name, resize, refine):
    """Networks of padded kernels look elsewhere than the places of their cells say, and not symmetrically."""
    model = new_model(name, preprocessing={"resize": resize})
    # The first view's features steer the walk: with them nothing is symmetric, so only raw maps are compared.
    predictor = Predictor(model, refine=refine, tta=["flip"], device="cpu", precision="fp32", max_scores=None)
    for image in photos:
        x0, _, x1, _ = predictor.prepare(image).geometry.content
        if x0 + x1 != 64:  # an odd number of columns is padded more on one side
            continue
        found, mirrored = predictor([image, np.ascontiguousarray(image[:, ::-1])])
        for label in found.scores:
            assert abs(found.scores[label] - mirrored.scores[label]) < 1e-5
        if refine == "none" and found.maps.keys() == mirrored.maps.keys():
            for label, score_map in found.maps.items():
                np.testing.assert_allclose(mirrored.maps[label][:, ::-1], score_map, rtol=1e-3, atol=1e-4)


def test_the_mean_is_that_of_maps_before_they_are_normalised(new_model, photos):
    model = new_model("resnet18")
    settings = {"refine": "none", "device": "cpu", "precision": "fp32", "classes": ("cat",), "max_scores": None}
    plain, flipped = Predictor(model, **settings), Predictor(model, tta=["flip"], **settings)
    image = photos[0]
    one = plain(image).maps["cat"]
    other = plain(np.ascontiguousarray(image[:, ::-1])).maps["cat"][:, ::-1]
    np.testing.assert_allclose(flipped(image).maps["cat"], (one + other) / 2, rtol=1e-4, atol=1e-4)


def test_sizes_are_averaged_at_the_resolution_of_the_first(new_model, photos):
    model = new_model("tinynet")
    settings = {"refine": "none", "device": "cpu", "precision": "fp32", "classes": ("cat",)}
    found = Predictor(model, tta=[64, 96], **settings)(photos[0]).maps["cat"]
    small, large = (Predictor(model, image_size=side, **settings)(photos[0]).maps["cat"] for side in (64, 96))
    assert found.shape == small.shape != large.shape
    # The smaller view is made of the larger one's pixels.
    larger = torch.nn.functional.interpolate(torch.from_numpy(large.copy())[None, None], small.shape, mode="bilinear")
    assert np.corrcoef(found.ravel(), (small + larger.numpy()[0, 0]).ravel())[0, 1] > 0.98


def test_one_size_is_that_image_size(new_model, photos, assert_same):
    model = new_model("tinynet")
    one, other = Predictor(model, tta=["96"], device="cpu"), Predictor(model, image_size=96, device="cpu")
    for found, expected in zip(one(photos), other(photos), strict=True):
        assert_same(found, expected)


def test_a_mirrored_view_lies_mirrored_in_the_input():
    from wsl.config import Preprocessing

    geometry = place((50, 33), Preprocessing(image_size=64, resize="letterbox"))
    left, top, right, bottom = View(32, True).geometry(geometry).content
    before = geometry.content
    assert (left, right) == pytest.approx(((64 - before[2]) / 2, (64 - before[0]) / 2))
    assert (top, bottom) == pytest.approx((before[1] / 2, before[3] / 2))


@pytest.mark.parametrize("wrong", ["flop", "-3", "7", 9000])
def test_what_is_neither_flip_nor_a_size_is_refused(tinynet, wrong):
    with pytest.raises(UserError, match=r"tta is|image size is"):
        Predictor(tinynet, tta=[wrong])
