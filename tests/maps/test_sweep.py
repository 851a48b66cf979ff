"""The component tree against one threshold at a time: components, rules and the order of pixels."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.maps import boxes_from_map, largest_boxes, overlaps, threshold_sweep
from wsl.maps.tree.ordering import order_by_level, order_by_value, threshold_levels

RULES = ("largest", "peak", "all", "nested")
KINDS = ("blurred", "plateaus", "noisy_plateaus", "binary", "checkerboard", "rings", "single_pixels", "constant")


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_at_every_threshold_is_boxes_from_map(reference, kind):
    rng = np.random.default_rng([7, *kind.encode()])
    for _ in range(6):
        score_map = reference.score_maps.KINDS[kind](rng, 24).astype(np.float32)
        size = None if rng.random() < 0.5 else (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
        sweep = threshold_sweep(score_map, size=size, resolution=64)
        # Values of the map itself are where "above" and "from" part.
        for threshold in (0.0, 0.2, 0.55, 0.999, *rng.choice(sweep.values[sweep.values < 1], 3)):
            for rule in RULES:
                arguments = {"threshold": float(threshold), "rule": rule, "label": "dog", "min_area": 0.01}
                expected = boxes_from_map(score_map, size=size, resolution=64, **arguments)
                ours = sweep.boxes(**arguments)
                assert np.array_equal(ours.xyxy, expected.xyxy)
                assert np.array_equal(ours.scores, expected.scores)
                assert ours.labels == expected.labels


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    thresholds=st.lists(st.floats(0, 1), max_size=8),
)
def test_the_largest_of_the_tree_and_of_given_thresholds_agree(
    seed: int, size: tuple[int, int], thresholds: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    score_map = np.round(rng.random(rng.integers(1, 12, 2)) * rng.integers(1, 9)).astype(np.float32)
    sweep = threshold_sweep(score_map, size=size)
    assert np.array_equal(sweep.largest(thresholds), largest_boxes(score_map, thresholds, size=size))
    ground_truth = np.sort(rng.integers(0, 90, (2, 2, 2)), axis=1).reshape(2, 4)
    for candidates in ("largest", "all"):
        expected = overlaps(score_map, ground_truth, thresholds, candidates=candidates, size=size)
        assert np.array_equal(sweep.best_iou(ground_truth, thresholds, candidates), expected)


def test_every_pixel_its_own_level(reference):
    score_map = np.random.default_rng(1).permutation(40 * 50).reshape(40, 50).astype(np.float32)
    sweep = threshold_sweep(score_map)
    assert len(sweep.values) == 2000
    for threshold in np.linspace(0, 0.99, 12):
        expected = boxes_from_map(score_map, threshold=threshold, rule="all", min_area=0)
        assert np.array_equal(sweep.boxes(threshold, "all", min_area=0).xyxy, expected.xyxy)


def test_ties_of_components_with_equal_corners_go_to_the_first_in_reading_order():
    # A corner of nine pixels inside a stroke of nine; both boxes begin at (0, 0).
    score_map = np.zeros((9, 9))
    score_map[0, :4] = score_map[1, :3] = score_map[2, :2] = 1
    score_map[range(9), range(8, -1, -1)] = 1
    expected = [[0, 0, 4, 3]]
    assert boxes_from_map(score_map, threshold=0.5).xyxy.tolist() == expected
    assert largest_boxes(score_map, [0.5]).tolist() == expected
    assert threshold_sweep(score_map).boxes(0.5).xyxy.tolist() == expected


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_pixels_are_sorted_by_value_and_then_in_reading_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 20, 2))
    heat = (rng.random((height, width)) ** 8 if seed % 2 else rng.integers(0, 5, (height, width)) / 7).astype(
        np.float32
    )
    expected = np.argsort(heat, axis=None, kind="stable")
    order, offsets, values = order_by_value(heat, 32)
    assert np.array_equal((order // 32 - 1) * width + order % 32 - 1, expected)
    assert np.array_equal(values, np.unique(heat))
    assert np.array_equal(np.diff(offsets), np.unique(heat, return_counts=True)[1])
    levels = np.searchsorted(values, heat)
    for mine, theirs in zip(order_by_level(levels, len(values), 32), (order, offsets), strict=True):
        assert np.array_equal(mine, theirs)


@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    thresholds=st.lists(st.floats(0, 1, width=32), max_size=30),
)
@settings(max_examples=100)
def test_levels_count_the_thresholds_below(values: list[float], thresholds: list[float]) -> None:
    cuts = np.unique(np.float32([*thresholds, *values[:3]]))
    expected = [sum(cut < np.float32(value) for cut in cuts) for value in values]
    assert threshold_levels(np.float32([values]), cuts)[0].tolist() == expected


def test_a_map_without_contrast_has_no_components():
    for broken in (np.zeros((3, 4)), np.full((2, 2), np.nan), np.array([[0, np.inf]])):
        sweep = threshold_sweep(broken, size=(40, 30))
        assert all(len(sweep.boxes(0.0, rule)) == 0 for rule in RULES)
        assert not sweep.largest([0, 0.5, 1]).any()
        assert not sweep.best_iou([0, 0, 40, 30], [0, 0.5], "all").any()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda sweep: sweep.boxes(1.0), "threshold is 1.0"),
        (lambda sweep: sweep.boxes(0.5, "biggest"), "expected largest, peak, all, nested"),
        (lambda sweep: sweep.boxes(0.5, min_area=1), "min area"),
        (lambda sweep: sweep.largest([-0.1]), "fractions"),
        (lambda sweep: sweep.largest([np.nan]), "fractions"),
        (lambda sweep: sweep.best_iou([0, 0, 1, 1], [0.5], "some"), "expected largest or all"),
        (lambda sweep: sweep.best_iou([1, 0, 0, 1], [0.5]), "inverted"),
    ],
)
def test_what_cannot_be_used_is_said(call, said):
    with pytest.raises(UserError, match=said):
        call(threshold_sweep([[0, 1]]))


def test_numba_is_loaded_when_it_is_needed_and_not_before():
    code = "import sys, wsl, wsl.cli, wsl.maps; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
