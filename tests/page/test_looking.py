"""What the page computes is what the predictor says, drawn anew for each position of a slider."""

import numpy as np
import pytest

import wsl
from wsl.errors import UserError
from wsl.images import read_image
from wsl.models import CamLocalizer
from wsl.page.looking import draw, look, variant


def look_with(image, model, *, pooling="", method="auto", **settings):
    return look(image, variant(model, pooling=pooling, method=method), method=method, **settings)


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("rule", ["largest", "all"])
def test_boxes_are_those_of_a_predictor_with_that_threshold(small_model, photo, threshold, rule):
    settings = {"device": "cpu", "precision": "fp32"}
    found = wsl.Predictor(small_model, threshold=threshold, box_rule=rule, **settings)(photo)
    seen = look(read_image(photo), small_model)
    assert seen.label == next(iter(found.scores))
    boxes = seen.boxes_at(threshold, rule)
    np.testing.assert_array_equal(boxes.xyxy, found.boxes.xyxy)
    np.testing.assert_array_equal(boxes.scores, found.boxes.scores)


def test_without_a_threshold_it_is_that_of_the_refinement(small_model, photo):
    image = read_image(photo)
    assert look(image, small_model, refine="none").boxes.threshold == 0.2
    assert look(image, small_model, refine="pamr").boxes.threshold == 0.35


def test_another_pooling_pools_the_same_maps(small_model, photo):
    image = read_image(photo)
    own, again, top = (look_with(image, small_model, pooling=spec, label="dog") for spec in ("", "gap", "gmp"))
    assert own.found.scores == again.found.scores
    assert top.found.scores["dog"] > own.found.scores["dog"]
    assert own.boxes_at().xyxy.tolist() == top.boxes_at().xyxy.tolist()


@pytest.mark.parametrize("method", ["gradcam", "layercam", "fullgrad"])
def test_a_cam_method_takes_the_place_of_the_models_own_maps(small_model, photo, method):
    image = read_image(photo)
    own, other = (
        look(image, small_model, label="cat"),
        look(image, variant(small_model, method=method), label="cat", method=method),
    )
    assert other.found.scores == pytest.approx(own.found.scores, abs=1e-5)
    expected = wsl.Predictor(
        CamLocalizer.of(small_model, method=method), classes=["cat"], device="cpu", precision="fp32"
    )(image)
    np.testing.assert_array_equal(other.found.maps["cat"], expected.maps["cat"])


@pytest.mark.parametrize(("side", "drawn"), [((60, 90), (320, 480)), ((500, 600), (500, 600)), ((10, 2560), (5, 1280))])
def test_pictures_are_large_enough_for_letters_and_small_enough_for_a_browser(small_model, side, drawn):
    seen = look(np.zeros((*side, 3), np.uint8), small_model)
    assert draw(seen, seen.boxes_at()).shape == (*drawn, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "gnu"}, "knows no class 'gnu'"),
        ({"pooling": "gapp"}, "did you mean 'gap'"),
        ({"pooling": "attention(hidden=1000000000000, channels=3)"}, r"takes .* GB, expected 4.29 at most"),
        ({"method": "magic"}, "magic"),
        ({"refine": "decoder"}, "has no map decoder"),
    ],
)
def test_a_mistake_is_told(settings, message, small_model, photo):
    with pytest.raises(UserError, match=message):
        look_with(read_image(photo), small_model, **settings)
    with pytest.raises(UserError, match="threshold is 2"):
        look(read_image(photo), small_model).boxes_at(2)
