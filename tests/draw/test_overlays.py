"""Heatmaps: the hottest pixel gets the hottest colour, cold ones the photograph, and arithmetic never wraps."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.draw import overlay
from wsl.errors import UserError
from wsl.maps import heatmap

RANDOM = np.random.default_rng(0)
PHOTO = RANDOM.integers(0, 256, (60, 80, 3), dtype=np.uint8)
MAP = RANDOM.random((7, 9), np.float32)


@pytest.mark.parametrize("name", ["turbo", "viridis", "inferno", "jet"])
def test_the_hottest_pixel_gets_the_hottest_colour(name: str) -> None:
    heat = heatmap(MAP, (80, 60), "bicubic")
    hottest = np.unravel_index(heat.argmax(), heat.shape)
    expected = np.rint(255 * np.array(matplotlib.colormaps[name](1.0)[:3]))
    assert np.array_equal(overlay(PHOTO, MAP, color_map=name, opacity=1)[hottest], expected)


def test_the_coldest_pixel_keeps_the_photograph() -> None:
    heat = heatmap(MAP, (80, 60), "bicubic")
    coldest = np.unravel_index(heat.argmin(), heat.shape)
    assert np.array_equal(overlay(PHOTO, MAP, opacity=1)[coldest], PHOTO[coldest])


def test_on_a_grey_photograph_heat_is_red_and_never_turns_blue() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    red, _, blue = overlay(grey, ramp)[32].astype(int).T
    assert (red[45:] > blue[45:] + 30).all()
    assert (blue[5:15] > red[5:15]).all()


@given(opacity=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_opacity_goes_evenly_from_the_photograph_to_the_full_overlay(opacity: float, seed: int) -> None:
    score_map = np.random.default_rng(seed).random((5, 5), np.float32)
    photo, full = PHOTO.astype(float), overlay(PHOTO, score_map, opacity=1).astype(float)
    blend = overlay(PHOTO, score_map, opacity=opacity)
    assert np.abs(blend - (photo + opacity * (full - photo))).max() <= 1.01


def test_an_opaque_overlay_shows_the_more_colour_the_hotter() -> None:
    black, white = (overlay(np.full_like(PHOTO, v), MAP, opacity=1).astype(float) for v in (0, 255))
    photograph_left = (white - black).mean(axis=-1) / 255
    assert np.abs(photograph_left - (1 - np.sqrt(heatmap(MAP, (80, 60), "bicubic")))).max() < 0.01


@pytest.mark.parametrize("flat", [np.zeros((3, 3)), np.full((3, 3), 7.0), np.full((3, 3), np.nan)])
def test_no_opacity_and_no_contrast_leave_a_copy_of_the_photograph(flat: np.ndarray) -> None:
    for result in (overlay(PHOTO, flat), overlay(PHOTO, MAP, opacity=0)):
        assert np.array_equal(result, PHOTO)
        assert result is not PHOTO


def test_the_callers_arrays_stay_untouched() -> None:
    photo, score_map = PHOTO.copy(), MAP.copy()
    photo.flags.writeable = score_map.flags.writeable = False
    result = overlay(photo, score_map)
    assert result.dtype == np.uint8
    assert result.shape == photo.shape
    assert not np.shares_memory(result, photo)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"image": PHOTO.astype(np.float32)}, "expected RGB: uint8"),
        ({"image": PHOTO[..., 0]}, "expected RGB: uint8"),
        ({"opacity": 1.5}, "opacity is 1.5"),
        ({"color_map": "virids"}, "did you mean viridis"),
        ({"score_map": MAP[0]}, "one class's map"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        overlay(**({"image": PHOTO, "score_map": MAP} | arguments))
