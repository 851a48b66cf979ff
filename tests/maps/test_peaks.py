"""The quick peak is the argmax of the resized map, always."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.maps import normalise, peak, peaks, resize_map


def plain_peak(score_map: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """The definition: resize the whole map, take the first maximum."""
    if not normalise(score_map).any():
        return 0.0, 0.0
    resized = resize_map(score_map, size)
    y, x = divmod(int(resized.argmax()), size[0])
    return float(x), float(y)


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
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(1, 500), st.integers(1, 500)))
def test_peak_is_the_argmax_of_the_resized_map(kind: str, seed: int, size: tuple[int, int]) -> None:
    score_map = random_map(np.random.default_rng(seed), kind)
    assert peak(score_map, size) == plain_peak(score_map, size)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4001), (1920, 1080)])
def test_peak_is_the_argmax_on_large_photographs(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    for _ in range(4):
        score_map = rng.standard_normal((9, 9)).astype(np.float32)
        assert peak(score_map, size) == plain_peak(score_map, size)


@pytest.mark.parametrize("row", [0, 4, 8])
@pytest.mark.parametrize("column", [0, 5, 10])
def test_the_peak_lies_in_the_hottest_cell(row: int, column: int) -> None:
    score_map = np.zeros((9, 11), np.float32)
    score_map[row, column] = 1
    x, y = peak(score_map, (1100, 900))
    assert (int(x // 100), int(y // 100)) == (column, row)


def test_ties_go_to_the_first_in_reading_order() -> None:
    assert peak([[0, 1, 0, 1], [0, 1, 0, 1]], (4, 2)) == (1.0, 0.0)


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
