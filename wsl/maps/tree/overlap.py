"""The best overlap of boxes with true boxes, at every threshold that they stand at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.maps.tree.compiled import compiled

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@compiled
def raise_to_best_iou(
    best: Doubles, boxes: Doubles, low: Integers, high: Integers, truths: Doubles, extra: float
) -> None:
    """Raise ``best[low:high]`` of every box to its highest IoU with a true one; sides are ``extra`` longer.

    ``extra`` is 0 for half-open boxes and 1 for inclusive far corners. Boxes without area overlap nothing.

    Shape:
        ``best`` is (T,), ``boxes`` (n, 4) with ``low`` and ``high`` (n,), ``truths`` (m, 4).
    """
    for box in range(len(boxes)):
        if low[box] >= high[box]:
            continue
        x0, y0, x1, y1 = boxes[box]
        area = (x1 - x0 + extra) * (y1 - y0 + extra)
        highest = 0.0
        for truth in range(len(truths)):
            near_x, near_y, far_x, far_y = truths[truth]
            across = max(0.0, min(x1, far_x) - max(x0, near_x) + extra)
            along = max(0.0, min(y1, far_y) - max(y0, near_y) + extra)
            both = across * along
            union = area + (far_x - near_x + extra) * (far_y - near_y + extra) - both
            if union > 0:
                highest = max(highest, both / union)
        for i in range(low[box], high[box]):
            best[i] = max(best[i], highest)
