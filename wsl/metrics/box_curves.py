"""Box accuracy at each map threshold; MaxBoxAcc and MaxBoxAccV2 take its maximum."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl import maps as class_maps
from wsl.errors import UserError
from wsl.maps.overlaps import Protocol, require_protocol
from wsl.maps.sweep import Candidates
from wsl.metrics.bootstrap import Doubles
from wsl.metrics.overlap import require_iou_threshold


class BoxAccuracy(NamedTuple):
    """Accuracy at one IoU level, and the map threshold that reaches it."""

    iou_threshold: float
    accuracy: float
    map_threshold: float


def max_box_acc(
    maps: Sequence[npt.ArrayLike],
    boxes: Sequence[npt.ArrayLike],
    iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    *,
    protocol: Protocol = "default",
    candidates: Candidates = "largest",
    sizes: Sequence[tuple[int, int]] | None = None,
    num_thresholds: int = 100,
) -> tuple[BoxAccuracy, ...]:
    """The fraction of images whose map gives a correct box, at the best map threshold of the data set.

    At each of ``num_thresholds`` evenly spaced thresholds from 0, a map's box, or with ``candidates="all"`` any of its
    boxes, is correct if its IoU with a box of the image reaches the level. Correct boxes are counted per threshold over
    all images, and one best threshold (ties go to the lowest) is chosen for the data set at each IoU level, not one per
    image. It is chosen on the same images, so the number is optimistic. `wsl.maps.overlaps` describes the maps and
    boxes of each ``protocol``; ``wsolevaluation`` takes maps from `wsl.maps.benchmark_map`, and boxes in their cells as
    integers with inclusive far corners.

    Shape:
        One (h, w) map, one (4,) or (n, 4) xyxy array and one (width, height) per image; without ``sizes``, boxes are
        in cells of their map.

    Raises:
        UserError: lengths differ or are 0, or a map, box, level or count is out of range.

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020: MaxBoxAcc.

    >>> max_box_acc([[[0, 2, 4, 1]]], [[1, 0, 3, 1]], iou_thresholds=[0.5])
    (BoxAccuracy(iou_threshold=0.5, accuracy=1.0, map_threshold=0.0),)
    """
    thresholds = map_thresholds(num_thresholds, protocol)
    levels = iou_levels(iou_thresholds)
    if sizes is not None and len(sizes) != len(maps):
        raise UserError(f"{len(maps)} maps with {len(sizes)} sizes, expected as many of each")
    if len(maps) != len(boxes) or not len(maps):
        raise UserError(f"{len(maps)} maps with boxes of {len(boxes)} images, expected as many, at least 1")
    items = zip(maps, boxes, strict=True) if sizes is None else zip(maps, boxes, sizes, strict=True)
    hits = np.zeros((len(levels), num_thresholds), np.int64)
    for best in class_maps.sweep_overlaps(items, thresholds, protocol=protocol, candidates=candidates):
        hits += best >= np.array(levels)[:, None]
    chosen = np.argmax(hits, axis=1)
    return tuple(
        BoxAccuracy(level, float(row[i] / len(maps)), float(thresholds[i]))
        for level, row, i in zip(levels, hits, chosen, strict=True)
    )


def max_box_acc_v2(
    maps: Sequence[npt.ArrayLike],
    boxes: Sequence[npt.ArrayLike],
    iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    *,
    protocol: Protocol = "default",
    sizes: Sequence[tuple[int, int]] | None = None,
    num_thresholds: int = 1000,
) -> float:
    """MaxBoxAccV2: `max_box_acc` with all boxes as candidates, averaged over the IoU levels.

    Shape:
        As for `max_box_acc`.

    Raises:
        UserError: as for `max_box_acc`.

    Source: Choe et al., Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets,
    TPAMI 2022, section 4.

    >>> max_box_acc_v2([[[0, 4, 0, 1]]], [[1, 0, 2, 1]], iou_thresholds=[0.5, 0.9])
    1.0
    """
    found = max_box_acc(
        maps, boxes, iou_thresholds, protocol=protocol, candidates="all", sizes=sizes, num_thresholds=num_thresholds
    )
    return fmean(level.accuracy for level in found)


def map_thresholds(count: int, protocol: str = "default") -> Doubles:
    """Evenly spaced thresholds from 0, rounded as in the protocol: the benchmark's are multiples of a step.

    Raises:
        UserError: the count is below 1 or above 10,000, or the protocol is unknown.

    >>> map_thresholds(4).tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    require_protocol(protocol)
    if not 1 <= count <= 10_000:
        raise UserError(f"number of thresholds is {count}, expected 1 to 10000: try 100")
    return np.asarray(np.arange(count) * (1 / count) if protocol == "wsolevaluation" else np.arange(count) / count)


def iou_levels(iou_thresholds: Sequence[float]) -> tuple[float, ...]:
    """Validated IoU levels, at least one.

    Raises:
        UserError: there is none, or one is not in (0, 1].

    >>> iou_levels([0.5])
    (0.5,)
    """
    for level in iou_thresholds:
        require_iou_threshold(level)
    if not len(iou_thresholds):
        raise UserError("no IoU thresholds, expected at least one: try (0.3, 0.5, 0.7)")
    return tuple(float(level) for level in iou_thresholds)
