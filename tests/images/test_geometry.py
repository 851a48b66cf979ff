"""The way to the network's input and back loses nothing, and half a pixel least of all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images import Geometry, fit

sides = st.integers(1, 3000)
fractions = st.lists(st.floats(0, 1), min_size=4, max_size=4)


def fitted(width: int, height: int, resize: str, size: int) -> Geometry:
    """The geometry that `fit` gives an image of this size, without its pixels."""
    return fit(np.broadcast_to(np.uint8(0), (height, width, 3)), Preprocessing(image_size=size, resize=resize))[1]


geometries = st.builds(
    fitted, st.integers(1, 90), st.integers(1, 90), st.sampled_from(["warp", "letterbox"]), st.integers(16, 64)
)


def box_in(size: tuple[int, int], parts: list[float]) -> np.ndarray:
    (x0, x1), (y0, y1) = (sorted(pair) for pair in (parts[:2], parts[2:]))
    width, height = size
    return np.array([[x0 * width, y0 * height, x1 * width, y1 * height]])


@given(geometries, fractions)
def test_boxes_return_to_where_they_came_from(geometry, parts):
    box = box_in(geometry.original, parts)
    back = geometry.boxes_to_original(geometry.boxes_to_network(box))
    assert np.allclose(back, box, rtol=1e-5, atol=1e-3)


@given(geometries)
def test_the_whole_image_is_the_content(geometry):
    width, height = geometry.original
    assert np.allclose(geometry.boxes_to_network([[0, 0, width, height]]), [geometry.content], atol=1e-4)
    everything = geometry.boxes_to_original([[0, 0, *geometry.canvas]])
    assert np.allclose(everything, [[0, 0, width, height]], rtol=1e-6)


@given(geometries, fractions)
def test_points_return_and_always_name_a_pixel(geometry, parts):
    points = np.array(parts).reshape(2, 2) * geometry.canvas
    original = geometry.points_to_original(points)
    assert (original >= 0).all()
    assert (original.astype(int) < geometry.original).all()
    corners = np.concatenate([points, points], axis=1)
    assert np.allclose(original, geometry.boxes_to_original(corners)[:, :2], rtol=1e-5, atol=1e-3)


@given(geometries, st.integers(1, 9), st.integers(1, 9))
def test_a_cropped_map_of_positions_still_says_where_it_is(geometry, h, w):
    """Cells hold their own centre on the canvas; after the crop cell j must lie at the j-th part of the image."""
    centres_x = (np.arange(w) + 0.5) * geometry.canvas[0] / w
    centres_y = (np.arange(h) + 0.5) * geometry.canvas[1] / h
    grid = np.stack(np.broadcast_arrays(centres_x[None, :], centres_y[:, None])).astype(np.float64)
    cropped = geometry.crop_map(grid)
    x0, y0, x1, y1 = geometry.content
    rows, columns = cropped.shape[1:]
    expected_x = np.clip(x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns, centres_x[0], centres_x[-1])
    expected_y = np.clip(y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows, centres_y[0], centres_y[-1])
    assert np.allclose(cropped[0], expected_x[None, :], atol=0.02)
    assert np.allclose(cropped[1], expected_y[:, None], atol=0.02)
    assert rows == max(1, round((y1 - y0) * h / geometry.canvas[1]))
    assert columns == max(1, round((x1 - x0) * w / geometry.canvas[0]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_crop_map_is_a_slice_where_the_edges_meet(dtype):
    geometry = fitted(200, 100, "letterbox", 64)
    maps = np.random.default_rng(0).random((2, 3, 8, 8)).astype(dtype)
    cropped = geometry.crop_map(maps)
    assert cropped.dtype == dtype
    assert np.array_equal(cropped, maps[:, :, 2:6])


def test_crop_map_of_a_warped_image_is_the_map_itself():
    score_map = np.ones((7, 7), np.float32)
    assert fitted(333, 77, "warp", 224).crop_map(score_map) is score_map


@given(geometries)
def test_a_constant_map_stays_constant(geometry):
    assert np.allclose(geometry.crop_map(np.full((5, 7), 0.25, np.float32)), 0.25)


def test_no_boxes_are_no_boxes():
    geometry = fitted(10, 20, "warp", 32)
    assert geometry.boxes_to_original([]).shape == (0, 4)
    assert geometry.points_to_original(np.empty((0, 2))).shape == (0, 2)


def test_boxes_are_clipped_to_the_image():
    geometry = fitted(100, 50, "letterbox", 100)
    assert geometry.boxes_to_original([[-5, 0, 500, 30]]).tolist() == [[0, 0, 100, 5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.boxes_to_original([[1, 2, 3]]), r"boxes of shape \(1, 3\): expected \(\.\.\., 4\)"),
        (lambda g: g.points_to_original(np.zeros((2, 4))), r"points of shape \(2, 4\): expected \(\.\.\., 2\)"),
        (lambda g: g.crop_map(np.zeros(3)), r"a map of shape \(3,\) .* expected floats"),
        (lambda g: g.crop_map(np.zeros((3, 3), np.uint8)), "type uint8: expected floats"),
        (lambda g: Geometry(original=(0, 1), canvas=(1, 1), scale_x=1, scale_y=1), "sides of 1 or more"),
        (lambda g: Geometry(original=(9, 9), canvas=(4, 4), scale_x=1, scale_y=1), "expected a part of the canvas"),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call(fitted(10, 10, "warp", 16))
