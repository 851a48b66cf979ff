"""Normalising and resizing: identities, torch as the outside reference, maps without contrast."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsl.errors import UserError
from wsl.maps import heatmap, normalise, resize_map

FINITE = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.floats(-1e3, 1e3, width=32),
)


@given(FINITE)
def test_normalised_maps_reach_exactly_0_and_1_or_are_all_zero(score_map: np.ndarray) -> None:
    scaled = normalise(score_map)
    assert scaled.dtype == np.float32
    assert scaled.shape == score_map.shape
    expected = (0.0, 0.0) if score_map.min() == score_map.max() else (0.0, 1.0)
    assert (scaled.min(), scaled.max()) == expected


@given(FINITE)
def test_normalising_keeps_the_order_of_the_cells_and_twice_is_once(score_map: np.ndarray) -> None:
    scaled = normalise(score_map)
    order = np.argsort(score_map, axis=None, kind="stable")
    assert (np.diff(scaled.ravel()[order]) >= 0).all()
    assert np.array_equal(normalise(scaled), scaled)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_cell_empties_its_own_map_and_no_other(bad: float) -> None:
    stack = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    stack[0, 1, 1] = bad
    scaled = normalise(stack)
    assert not scaled[0].any()
    assert np.array_equal(scaled[1], normalise(stack[1]))


def test_a_range_beyond_float32_is_no_contrast() -> None:
    assert not normalise(np.array([[-3e38, 3e38]], np.float32)).any()
    assert not normalise(np.array([[0.0, 1e300]])).any()


def test_the_callers_map_is_left_alone() -> None:
    score_map = np.array([[1, 2], [3, 4]], np.float32)
    normalise(score_map)
    assert score_map.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(9, 60), st.integers(9, 60)),
    seed=st.integers(0, 99),
)
def test_upsampling_is_torchs_interpolate(mode: str, shape: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    score_map = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(score_map)[None, None], (size[1], size[0]), mode=mode, align_corners=False
    )[0, 0].numpy()
    assert np.allclose(resize_map(score_map, size, mode), expected, atol=2e-4)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    score_map = np.random.default_rng(0).random((5, 7), np.float32)
    assert np.array_equal(resize_map(score_map, (7, 5)), score_map)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@settings(deadline=None)
@given(
    value=st.floats(-1e6, 1e6, width=32),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 99), st.integers(1, 99)),
)
def test_a_constant_map_stays_constant(mode: str, value: float, shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert (resize_map(np.full(shape, value), size, mode) == np.float32(value)).all()
    assert not heatmap(np.full(shape, value), size, mode).any()


@given(score_map=FINITE, size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(deadline=None)
def test_a_heatmap_is_the_resized_map_normalised(score_map: np.ndarray, size: tuple[int, int]) -> None:
    assert np.array_equal(heatmap(score_map, size), normalise(resize_map(score_map, size)))
    assert heatmap(score_map, size, "bicubic").shape == (size[1], size[0])


def test_a_heatmap_is_cut_off_where_bicubic_overshoots() -> None:
    step = np.repeat([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]], 6, axis=0)
    heat = heatmap(step, (60, 60), "bicubic")
    assert not heat[:, :20].any()
    assert heat[:, 40:].min() > 1 - 1e-6


def test_a_nan_is_not_stepped_over_when_the_map_shrinks() -> None:
    score_map = np.random.default_rng(0).random((9, 9), np.float32)
    score_map[1, 1] = np.nan
    assert not heatmap(score_map, (2, 2)).any()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: normalise([1.0, 2.0]), "expected .h, w. or"),
        (lambda: normalise(np.empty((0, 3))), "at least one cell"),
        (lambda: resize_map(np.zeros((2, 3, 4)), (5, 5)), "pass one class's map"),
        (lambda: resize_map(np.zeros((2, 3)), (0, 5)), "each 1 or more"),
        (lambda: resize_map(np.zeros((2, 3)), (5, 5), "cubic"), "expected bilinear or bicubic"),
    ],
)
def test_what_cannot_be_used_is_said(call: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call()


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_bilinear_is_its_definition_up_to_the_last_digits_and_keeps_plateaus_exactly(seed: int, size) -> None:
    rng = np.random.default_rng(seed)
    cells = np.round(rng.standard_normal(rng.integers(1, 12, 2)) * 2).astype(np.float32) + np.float32(0.1)
    weights, near = [], []
    for old, new in zip(cells.shape, size[::-1], strict=True):
        centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        distances = np.abs(centres[:, None] - np.arange(old))
        weights.append(np.clip(1 - distances, 0, None))
        near.append(distances < 1 + 1e-9)
    expected = weights[0] @ cells.astype(np.float64) @ weights[1].T
    resized = resize_map(cells, size)
    assert np.abs(resized - expected).max() <= 4e-7 * (np.abs(cells).max() + np.ptp(cells))
    # A pixel whose cells are all equal is equal to them.
    touched = [[cells[np.ix_(row, column)] for column in near[1]] for row in near[0]]
    for y, row in enumerate(touched):
        for x, window in enumerate(row):
            if window.min() == window.max():
                assert resized[y, x] == window.flat[0]
