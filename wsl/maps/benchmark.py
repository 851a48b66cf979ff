"""Score maps and boxes exactly as in the WSOL benchmark of Choe et al. (CVPR 2020), quirks included.

=====================  ========================================  =================================================
\\                      protocol ``default``                      protocol ``wsolevaluation``
=====================  ========================================  =================================================
resizing               bilinear, to the image's aspect           bicubic, to 224x224
normalising            minimum to 0, maximum to 1                the same
levels                 the float values                          ``u = uint8(map * 255)``: at most 256
foreground at t        above t                                   above ``int(t * max(u))``
candidates ``largest``  the component with the most pixels       the contour of largest ``contourArea``
candidates ``all``     8-connected components                    these, and the outlines of the holes in them
box                    half-open                                 far corner inclusive, one pixel outside the
                                                                 component except at the map's border
no foreground          no box, IoU 0                             the box (0, 0, 0, 0), which covers one pixel
IoU                    areas                                     sides one longer: ``x1 - x0 + 1``
=====================  ========================================  =================================================
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.maps.scale import as_size
from wsl.maps.sweep import Candidates, Doubles, as_ground_truth
from wsl.stopwatch import stage

Floats = npt.NDArray[np.floating[Any]]


def benchmark_map(score_map: npt.ArrayLike, size: tuple[int, int] = (224, 224)) -> Floats:
    """A class map as the benchmark evaluates it: resized bicubically, then stretched to [0, 1].

    A map that is constant or holds a NaN or an infinity becomes all zeros. Everything is computed in float64, as in the
    benchmark, because its 8-bit levels depend on the precision.

    Shape:
        ``score_map`` is (h, w), ``size`` (width, height); the result is (height, width).

    Raises:
        UserError: the map is not (h, w), or the size is not positive.

    >>> benchmark_map([[0.0, 4.0]], (2, 1)).tolist()
    [[0.0, 1.0]]
    """
    values = _as_floats(score_map).astype(np.float64)
    width, height = as_size(size)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return np.zeros((height, width), values.dtype)
    with stage("upsampling"):
        resized = cv2.resize(np.ascontiguousarray(values), (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = resized.min(), resized.max()
    with np.errstate(over="ignore"):
        span = high - low
    if not 0 < span < np.inf:
        return np.zeros((height, width), values.dtype)
    return np.asarray((resized - low) / span)


def benchmark_boxes(xyxy: npt.ArrayLike, size: tuple[int, int], to: tuple[int, int] = (224, 224)) -> Doubles:
    """Ground-truth boxes as the benchmark compares them: inclusive far corners, scaled to its maps, truncated.

    Shape:
        ``xyxy`` is (n, 4), half-open, in pixels of an image of ``size`` (width, height); the result is (n, 4), in
        cells of a map of size ``to``.

    Raises:
        UserError: a box is inverted or not finite, or a size is not positive.

    >>> benchmark_boxes([[10, 20, 101, 51]], (448, 112)).tolist()
    [[5.0, 40.0, 50.0, 100.0]]
    """
    boxes = as_ground_truth(xyxy)
    near, far = boxes[:, :2], np.maximum(boxes[:, 2:] - 1, boxes[:, :2])
    return np.asarray(np.trunc(np.hstack([near, far]) * np.tile(as_size(to), 2) / np.tile(as_size(size), 2)))


def benchmark_overlaps(
    score_map: npt.ArrayLike, ground_truth: Doubles, thresholds: Doubles, candidates: Candidates
) -> Doubles:
    """The highest IoU of a candidate with any ground-truth box at each threshold, as the benchmark computes it.

    Shape:
        ``score_map`` is (h, w) in [0, 1], ``ground_truth`` (n, 4) xyxy in its cells with inclusive far corners,
        ``thresholds`` (T,); the result is (T,).

    Raises:
        UserError: the map is not (h, w) with values in [0, 1], or a box has a negative corner.

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, and its code.

    >>> score_map = np.array([[0, 0, 0, 0], [0, 1, 0.5, 0]])
    >>> benchmark_overlaps(score_map, np.array([[1.0, 1, 2, 1]]), np.array([0.2, 0.8]), "largest").round(3).tolist()
    [0.667, 1.0]
    """
    from wsl.maps.tree.overlap import raise_to_best_iou

    negative = (ground_truth < 0).any(axis=1)
    if negative.any():
        raise UserError(f"box {ground_truth[negative][0].tolist()} starts below 0: clip it to the map")
    levels, highest = _eight_bits(score_map)
    best = np.zeros(highest + 1)
    with stage("sweep"):
        (_raise_by_largest if candidates == "largest" else _raise_by_all)(best, levels, ground_truth)
    # Nothing exceeds the highest level, and in a map of zeros nothing exceeds any level.
    none = np.array([highest], np.int64)
    raise_to_best_iou(best, np.zeros((1, 4)), none, none + 1, ground_truth, 1.0)
    return np.asarray(best[(thresholds * highest).astype(np.int64)])


def _raise_by_all(best: Doubles, levels: npt.NDArray[np.uint8], ground_truth: Doubles) -> None:
    """Raise ``best`` to the overlaps of the boxes of all components and holes."""
    from wsl.maps.tree.components import component_records, hole_records
    from wsl.maps.tree.neighbourhoods import neighbourhoods_of, outer_neighbourhoods_of
    from wsl.maps.tree.ordering import order_of_shaping_pixels
    from wsl.maps.tree.overlap import raise_by_records
    from wsl.maps.tree.records import stride_of

    (height, width), stride = levels.shape, stride_of(levels)
    neighbourhoods = neighbourhoods_of(levels, stride)
    order, offsets, other, other_offsets = order_of_shaping_pixels(
        levels, neighbourhoods, outer_neighbourhoods_of(levels, stride), len(best), stride
    )
    components, _ = component_records(order, offsets, neighbourhoods, stride, False, False)
    raise_by_records(best, components, stride, width, height, ground_truth, 0)
    # A hole's outline runs on the foreground around it.
    holes = hole_records(other, other_offsets, neighbourhoods, width, stride)
    raise_by_records(best, holes, stride, width, height, ground_truth, 1)


def _raise_by_largest(best: Doubles, levels: npt.NDArray[np.uint8], ground_truth: Doubles) -> None:
    """Raise ``best`` to the overlap of the component with the largest outline at each threshold."""
    from wsl.maps.tree.components import SINCE, UNTIL, component_records
    from wsl.maps.tree.neighbourhoods import neighbourhoods_of
    from wsl.maps.tree.ordering import order_by_level
    from wsl.maps.tree.outlines import largest_outlines
    from wsl.maps.tree.overlap import raise_by_records
    from wsl.maps.tree.records import Components, stride_of

    (height, width), stride = levels.shape, stride_of(levels)
    order, offsets = order_by_level(levels, len(best), stride)
    records, _ = component_records(order, offsets, neighbourhoods_of(levels, stride), stride, False, True)
    of = Components(records, stride, width)
    largest = largest_outlines(levels, of.xyxy, of.firsts, of.blocks, of.holes, of.since, of.until, len(best) - 1)
    chosen = records[largest]
    chosen[:, UNTIL] = np.arange(len(chosen))
    chosen[:, SINCE] = chosen[:, UNTIL] + 1
    raise_by_records(best, chosen, stride, width, height, ground_truth, 0)


def _eight_bits(score_map: npt.ArrayLike) -> tuple[npt.NDArray[np.uint8], int]:
    """The benchmark's 8-bit levels, rounded in the map's own precision, and the highest of them."""
    from wsl.maps.tree.ordering import eight_bits

    values = np.ascontiguousarray(_as_floats(score_map))
    levels, highest, valid = eight_bits(values, values.dtype.type(255))
    if not valid:
        raise UserError(
            f"a score map's values run from {values.min()} to {values.max()}, expected finite numbers in [0, 1]: "
            "normalise it with wsl.maps.benchmark_map"
        )
    return levels, int(highest)


def _as_floats(score_map: npt.ArrayLike) -> Floats:
    values = as_numbers(score_map, "the values of a map", None)
    # Half precision and integers are exact in double precision.
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    if values.ndim != 2 or values.size == 0:
        raise UserError(f"a map has shape {values.shape}, expected (h, w) with at least one cell: pass one class's map")
    return values
