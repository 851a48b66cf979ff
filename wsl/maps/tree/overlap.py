"""The best overlap of boxes with ground truth, at every threshold at which they are present."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled
from wsl.maps.tree.components import FIRST, LAST, SINCE, UNTIL, X0, X1, Records

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@compiled
def raise_to_best_iou(
    best: Doubles, boxes: Doubles, low: Integers, high: Integers, ground_truth: Doubles, extra: float
) -> None:
    """Raise ``best[low:high]`` of every box to its highest IoU with a ground-truth box.

    ``extra`` is added to each side: 0 for half-open boxes, 1 for inclusive far corners. Boxes without area overlap
    nothing.

    Shape:
        ``best`` is (T,), ``boxes`` (n, 4) with ``low`` and ``high`` (n,), ``ground_truth`` (m, 4).
    """
    for box in range(len(boxes)):
        if low[box] < high[box]:
            x0, y0, x1, y1 = boxes[box]
            highest = best_iou(x0, y0, x1, y1, ground_truth, extra)
            for i in range(low[box], high[box]):
                best[i] = max(best[i], highest)


@compiled
def raise_by_records(
    best: Doubles, records: Records, stride: int, width: int, height: int, ground_truth: Doubles, around: int
) -> None:
    """Raise ``best`` to the highest IoU of each recorded component, with boxes as in the benchmark.

    Boxes are ``around`` pixels wider on each side. A far corner is inclusive and lies one pixel outside the component,
    except at the map's border.

    Shape:
        ``best`` is (T,), ``records`` (n, 10), ``ground_truth`` (m, 4).
    """
    for row in records:
        x0, y0 = row[X0] - 1 - around, row[FIRST] // stride - 1 - around
        x1, y1 = min(row[X1] + around, width - 1), min(row[LAST] // stride + around, height - 1)
        highest = best_iou(float(x0), float(y0), float(x1), float(y1), ground_truth, 1.0)
        for i in range(min(row[SINCE], row[UNTIL]), max(row[SINCE], row[UNTIL])):
            best[i] = max(best[i], highest)


@compiled
def best_iou(x0: float, y0: float, x1: float, y1: float, ground_truth: Doubles, extra: float) -> float:
    """The highest IoU of a box with a ground-truth box."""
    area, highest = (x1 - x0 + extra) * (y1 - y0 + extra), 0.0
    for true in range(len(ground_truth)):
        near_x, near_y, far_x, far_y = ground_truth[true]
        across = max(0.0, min(x1, far_x) - max(x0, near_x) + extra)
        along = max(0.0, min(y1, far_y) - max(y0, near_y) + extra)
        both = across * along
        union = area + (far_x - near_x + extra) * (far_y - near_y + extra) - both
        if union > 0:
            highest = max(highest, both / union)
    return highest
