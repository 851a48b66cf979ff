"""Scores of boxes by contrast, against means of a map that is enlarged so that boxes cover whole pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl import Predictor
from wsl.config import BoxConfig
from wsl.inference import boxes_of_maps
from wsl.maps import extract_many
from wsl.maps.kernels.contrast import contrasted
from wsl.models import Localizer

SIDE = 48  # pixels a side


def score(score_map, *boxes):
    """The scores of boxes of height 1 in an image of SIDE pixels, in the order given."""
    maps, xyxy = np.float32([score_map]), np.float32(boxes).reshape(-1, 4)
    found, scores = contrasted(
        maps, np.array([[SIDE, SIDE]]), xyxy, np.ones(len(xyxy), np.float32), np.array([len(xyxy)])
    )
    return [float(scores[(found == row).all(1)][0]) for row in xyxy]


def expected(score_map, x0, y0, x1, y1):
    """(1 + inside - around) / 2, with means over pixels."""
    pixels = np.kron(np.clip(score_map, 0, 1), np.ones((SIDE // score_map.shape[0], SIDE // score_map.shape[1])))
    reach_x, reach_y = (x1 - x0) // 4, (y1 - y0) // 4
    inside = np.zeros(pixels.shape, bool)
    inside[y0:y1, x0:x1] = True
    around = np.zeros(pixels.shape, bool)
    around[max(y0 - reach_y, 0) : y1 + reach_y, max(x0 - reach_x, 0) : x1 + reach_x] = True
    around &= ~inside
    return (1 + pixels[inside].mean() - (pixels[around].mean() if around.any() else 0)) / 2


sides = st.integers(0, 11).map(lambda place: 4 * place)


@given(seed=st.integers(0, 1000), x0=sides, y0=sides, width=st.integers(1, 12), height=st.integers(1, 12))
def test_scores_are_differences_of_means(seed, x0, y0, width, height):
    score_map = np.random.default_rng(seed).uniform(-0.5, 1.5, (6, 8)).astype(np.float32)
    box = x0, y0, min(x0 + 4 * width, SIDE), min(y0 + 4 * height, SIDE)
    assert score(score_map, box) == [pytest.approx(expected(score_map, *box), abs=1e-6)]


def test_a_box_that_fits_scores_more_than_one_around_two_objects():
    score_map = np.zeros((6, 8))
    score_map[2:4, 1:3] = score_map[2:4, 5:7] = 0.8
    one, both = score(score_map, (6, 16, 18, 32), (6, 16, 42, 32))
    assert one == pytest.approx(0.9)
    assert both == pytest.approx(expected(score_map, 6, 16, 42, 32))
    assert both < one


def test_the_best_box_of_each_map_comes_first():
    faint, clear = np.zeros((2, 6, 8), np.float32)
    faint[1:3, 1:3], faint[4, 4:8] = 0.6, 0.5
    clear[1:3, 1:3], clear[4, 4:8] = 0.5, 0.9
    found = extract_many(
        np.stack([faint, clear]), [(SIDE, SIDE)] * 2, threshold=0.3, rule="all", min_area=0, score="contrast"
    )
    for boxes, first_x0 in zip(found, (6, 24), strict=True):
        assert len(boxes.scores) == 2
        assert abs(boxes.xyxy[0, 0] - first_x0) < 4
        assert boxes.scores[0] > boxes.scores[1]


def test_without_boxes_there_are_no_scores():
    (found,) = extract_many(np.zeros((1, 6, 8), np.float32), [(SIDE, SIDE)], threshold=0.5, score="contrast")
    assert found.xyxy.shape == (0, 4)


def test_the_setting_reaches_boxes_and_is_the_default_of_decoders():
    score_map = np.zeros((6, 8), np.float32)
    score_map[2:4, 1:3] = 0.8
    height, contrast = (
        boxes_of_maps({"dog": score_map}, {"dog": 0.5}, (SIDE, SIDE), BoxConfig(box_score=how))
        for how in ("height", "contrast")
    )
    assert height.scores.tolist() == [0.5]
    assert 0.3 < contrast.scores[0] < 0.5
    np.testing.assert_array_equal(height.xyxy, contrast.xyxy)
    model = Localizer("tinynet", 2, weights="none")
    assert Predictor(model, device="cpu").boxes.box_score == "height"
    model.add_decoder()
    assert Predictor(model, device="cpu").boxes.box_score == "contrast"
