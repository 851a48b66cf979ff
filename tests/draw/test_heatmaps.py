"""All heatmaps of an image on one picture."""

import numpy as np
import pytest

from wsl.draw import draw_heatmaps, overlay
from wsl.draw.heatmaps import _columns
from wsl.errors import UserError

GREY = np.full((240, 320, 3), 128, np.uint8)
CORNER = np.float32([[1, 0], [0, 0]])


def test_the_best_class_comes_first_and_each_has_its_own_map():
    page = draw_heatmaps(GREY, {"cat": CORNER, "dog": CORNER[::-1]}, {"cat": 0.2, "dog": 0.7})
    dog, cat = overlay(GREY, CORNER[::-1]), overlay(GREY, CORNER)
    step = 320 + 14
    assert (page[14 : 14 + 240, 14 : 14 + 320] == dog).all()
    assert (page[14 : 14 + 240, 14 + step : 14 + step + 320] == cat).all()


def test_a_name_stands_below_its_map():
    named, other = (draw_heatmaps(GREY, {name: CORNER}) for name in ("pottedplant", "dog"))
    assert named.shape == other.shape
    assert (named[: 14 + 240] == other[: 14 + 240]).all()
    assert (named[14 + 240 :] != other[14 + 240 :]).any()


@pytest.mark.parametrize("size", [(20, 30), (40, 400), (4, 2000), (3000, 4000)])
def test_small_long_and_large_images_stay_legible_and_bounded(size):
    page = draw_heatmaps(np.zeros((*size, 3), np.uint8), {"dog": CORNER})
    assert 300 < max(page.shape) < 1800
    assert min(page.shape[:2]) > 30


def test_of_many_classes_the_best_are_drawn():
    maps = {f"class {number}": CORNER for number in range(60)}
    page = draw_heatmaps(GREY, maps, {name: number / 60 for number, name in enumerate(maps)})
    fewer = draw_heatmaps(GREY, dict(list(maps.items())[12:]))
    assert page.shape[1] == fewer.shape[1]
    assert page.shape[0] > fewer.shape[0]  # by a heading


def test_no_map_is_refused():
    with pytest.raises(UserError, match="no maps"):
        draw_heatmaps(GREY, {})


@pytest.mark.parametrize(
    ("count", "aspect", "columns"), [(1, 1.5, 1), (2, 0.7, 2), (2, 1.5, 2), (2, 4, 1), (4, 1.5, 2), (20, 1.5, 5)]
)
def test_pages_are_about_as_wide_as_paper_on_its_side(count, aspect, columns):
    assert _columns(count, aspect) == columns
