"""The quick peak is the argmax of the resized map, without what only extends the cells at its border."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.images import Geometry
from wsl.maps import peak, peaks


def random_map(rng: np.random.Generator, kind: str) -> np.ndarray:
    score_map = rng.standard_normal(rng.integers(1, 20, 2)).astype(np.float32)
    if kind == "plateaus":
        return np.round(score_map * 2) / 2
    if kind == "smooth":
        return cv2.GaussianBlur(score_map, (0, 0), 1.5)
    if kind == "offset":
        return 1000 + score_map
    return score_map


@pytest.mark.parametrize("kind", ["noise", "plateaus", "smooth", "offset"])
@settings(max_examples=150)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(1, 500), st.integers(1, 500)))
def test_peak_is_the_argmax_of_the_resized_map(reference, kind, seed, size):
    score_map = random_map(np.random.default_rng(seed), kind)
    assert peak(score_map, size) == reference.boxes.peak(score_map, size)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4001), (1920, 1080)])
def test_peak_is_the_argmax_on_large_photographs(reference, size):
    rng = np.random.default_rng(7)
    for _ in range(4):
        score_map = rng.standard_normal((9, 9)).astype(np.float32)
        assert peak(score_map, size) == reference.boxes.peak(score_map, size)


@pytest.mark.parametrize("row", [0, 4, 8])
@pytest.mark.parametrize("column", [0, 5, 10])
def test_the_peak_lies_in_the_hottest_cell(row: int, column: int) -> None:
    score_map = np.zeros((9, 11), np.float32)
    score_map[row, column] = 1
    x, y = peak(score_map, (1100, 900))
    assert (int(x // 100), int(y // 100)) == (column, row)


def test_ties_go_to_the_first_in_reading_order() -> None:
    assert peak([[0, 1, 0, 1], [0, 1, 0, 1]], (4, 2)) == (1.0, 0.0)
    assert peak([[0, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], (3, 4)) == (1.0, 0.0)


def test_a_cell_at_the_border_has_its_peak_where_it_looks() -> None:
    corners = np.zeros((3, 5), np.float32)
    corners[0, 0] = 1
    # The centres of the outermost cells, of 20 pixels, lie at 9.5 and 89.5, 9.5 and 49.5.
    assert peak(corners, (100, 60)) == (9.0, 9.0)
    assert peak(corners[:, ::-1], (100, 60)) == (90.0, 9.0)
    assert peak(corners[::-1], (100, 60)) == (9.0, 50.0)
    assert peak(corners[::-1, ::-1], (100, 60)) == (90.0, 50.0)


def test_a_map_that_does_not_change_along_an_axis_has_its_peak_in_the_middle() -> None:
    assert peak([[1, 3, 2]], (129, 33)) == (64, 16)
    assert peak([[1, 3, 2]] * 4, (129, 33)) == (64, 16)
    assert peak([[1], [3], [2]], (33, 129)) == (16, 64)


def whole(width: int, height: int) -> Geometry:
    return Geometry(original=(width, height), canvas=(width, height), scale_x=1, scale_y=1)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    start=st.floats(0, 50).filter(lambda start: abs(start - 16) > 0.1),
    end=st.integers(33, 90),
)
def test_a_mirrored_map_has_the_mirrored_peak_wherever_its_cells_look(
    seed: int, cells: tuple[int, int], start: float, end: int
) -> None:
    """The cells of a network's map begin and end anywhere in its input: before half a cell of 32 pixels, or later."""
    behind = end - start
    assume(behind > 0)
    assume(cells != (1, 1))  # without contrast there is no peak
    assume(abs(behind - 16) > 0.1)  # cells in their place are not resampled, and the mirror image would be
    score_map = np.random.default_rng(seed).random(cells).astype(np.float32)
    score_map.flat[seed % score_map.size] = 2
    height, width = (end + (count - 1) * 32 for count in cells)
    image = whole(width, height)
    shown = image.crop_map(score_map, (32, start))
    other = image.crop_map(score_map[::-1, ::-1].copy(), (32, behind))
    assume(shown.shape == other.shape)  # half a sample may be rounded up here and down there
    x, y = peak(shown, (width, height))
    mirrored = peak(other, (width, height))
    # Of two equal pixels around the centre of a cell the first is taken.
    assert abs(width - 1 - x - mirrored[0]) <= 1
    assert abs(height - 1 - y - mirrored[1]) <= 1


def test_a_first_cell_that_looks_into_the_image_has_no_peak_at_its_edge() -> None:
    """A grid that begins at three quarters of a cell, as with TensorFlow's padding."""
    score_map = np.zeros((4, 4), np.float32)
    score_map[0, 1] = 1
    x, y = peak(whole(128, 128).crop_map(score_map, (32, 24)), (128, 128))
    assert abs(x - (24 + 32)) <= 8
    assert abs(y - 24) <= 8


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf])
def test_a_map_without_contrast_has_its_peak_at_the_origin(value: float) -> None:
    assert peak(np.full((3, 4), value), (100, 50)) == (0.0, 0.0)
    score_map = np.arange(12.0).reshape(3, 4)
    score_map[1, 1] = np.nan
    assert peak(score_map, (100, 50)) == (0.0, 0.0)


def test_a_peak_needs_a_map_and_a_size() -> None:
    with pytest.raises(UserError, match=r"expected \(h, w\)"):
        peak([1.0, 2.0], (4, 4))
    with pytest.raises(UserError, match="each 1 or more"):
        peak([[1.0]], (4, 0))


@given(seed=st.integers(0, 10**6))
def test_many_maps_in_one_call_have_the_peaks_of_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = np.round(rng.standard_normal((5, 4, 6)) * 2).astype(np.float32)
    sizes = [tuple(rng.integers(1, 60, 2).tolist()) for _ in maps]
    assert peaks(maps, sizes) == [peak(one, size) for one, size in zip(maps, sizes, strict=True)]
    assert peaks(maps[:0], []) == []
