"""Run lengths against pycocotools, and what a file may not say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from wsl import run_lengths
from wsl.errors import UserError

masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(masks)
def test_a_mask_comes_back_and_is_pycocotools_own(mask):
    size = mask.shape[::-1]
    runs = run_lengths.encode(mask)
    np.testing.assert_array_equal(run_lengths.decode(runs, size), mask)
    there = run_lengths.to_annotation(runs, size)
    assert there["area"] == mask.sum()
    plain = [len(run) for run in np.split(mask.T.ravel(), np.flatnonzero(np.diff(mask.T.ravel())) + 1)]
    plain = [0, *plain] if mask[0, 0] else plain
    for counts in (plain, runs.decode("ascii")):
        record = {"size": list(mask.shape), "counts": counts}
        np.testing.assert_array_equal(run_lengths.decode(run_lengths.from_segmentation(record, size), size), mask)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.floats(-5, 35), st.floats(-5, 25)), min_size=3, max_size=8), min_size=1, max_size=3)
)
def test_polygons_are_filled_as_pycocotools_does(polygons):
    flat = [[number for point in polygon for number in point] for polygon in polygons]
    runs = run_lengths.from_segmentation(flat, (30, 20))
    merged = coco.merge(coco.frPyObjects(flat, 20, 30))
    assert runs == merged["counts"]
    assert run_lengths.decode(runs, (30, 20)).sum() == coco.area(merged)


def test_a_rectangle_covers_what_it_touches():
    mask = run_lengths.decode(run_lengths.from_rectangle((0.5, 1, 2.5, 9), (4, 3)), (4, 3))
    assert mask.tolist() == [[False] * 4, [True, True, True, False], [True, True, True, False]]


@pytest.mark.parametrize("nothing", [None, [], {}, ""])
def test_nothing_is_no_outline(nothing):
    assert run_lengths.from_segmentation(nothing, (4, 3)) is None


@pytest.mark.parametrize(
    "segmentation",
    [
        [[0, 0, 1, 1, 2]],
        [[0, 0, 1, 1, 2, 2, 3]],
        [[0, 0, 1, "1", 2, 2]],
        [[0, 0, 1, True, 2, 2]],
        [[0, 0, 1, float("nan"), 2, 2]],
        [[0, 0, 1e9, 0, 2, 2]],
        [0, 0, 1, 1, 2, 2],
        "0 0 1 1",
        7,
        {"size": [3, 4], "counts": [5]},
        {"size": [3, 4], "counts": [5, 8]},
        {"size": [3, 4], "counts": [5, 10**30]},
        {"size": [3, 4], "counts": [13, -1]},
        {"size": [3, 4], "counts": [12.0]},
        {"size": [4, 3], "counts": [12]},
        {"size": None, "counts": [12]},
        {"counts": [12]},
        {"size": [3, 4]},
        {"size": [3, 4], "counts": "o" * 100},
        {"size": [3, 4], "counts": "é"},
        {"size": [3, 4], "counts": "1 2"},
    ],
)
def test_what_does_not_fit_the_image_is_refused_in_a_line(segmentation):
    with pytest.raises(UserError, match="expected") as caught:
        run_lengths.from_segmentation(segmentation, (4, 3))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=30), st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_any_bytes_are_a_mask_of_that_size_or_refused(text, size):
    try:
        mask = run_lengths.decode(text, size)
    except UserError:
        return
    assert mask.shape == size[::-1]
