"""Non-maximum suppression: only the highest-scored of overlapping boxes is kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes, FloatArray
from wsl.errors import UserError


def non_max_suppression(boxes: Boxes, iou: float) -> Boxes:
    """Drop every box whose IoU with a higher-scored kept box of its class is above ``iou``; highest score first.

    Raises:
        UserError: ``iou`` is not in [0, 1].

    >>> boxes = Boxes(xyxy=[[0, 0, 9, 10], [0, 0, 10, 10]], labels=["dog", "dog"], scores=[0.6, 0.9])
    >>> non_max_suppression(boxes, 0.5).scores.tolist()
    [0.8999999761581421]
    """
    if not 0 <= iou <= 1:
        raise UserError(f"nms iou is {iou}, expected an overlap in [0, 1]: try 0.5")
    numbers = {label: number for number, label in enumerate(dict.fromkeys(boxes.labels))}
    classes = np.array([numbers[label] for label in boxes.labels], np.int64)
    return boxes.select(nms(boxes.xyxy, boxes.scores, iou, classes))


def nms(
    xyxy: FloatArray, scores: FloatArray, iou: float, classes: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.intp]:
    """Indices of the boxes that `non_max_suppression` keeps, highest score first, for valid plain arrays.

    Equal to ``torchvision.ops.batched_nms`` in double precision: a box is dropped when its IoU with a kept box of its
    class is above ``iou``, and ties of scores go to the first box.

    Shape:
        ``xyxy`` is (n, 4), ``scores`` (n,), ``classes`` (n,) integers, by default all the same.

    >>> nms(np.float32([[0, 0, 9, 10], [0, 0, 10, 10]]), np.float32([0.6, 0.9]), 0.5).tolist()
    [1]
    """
    # Imported here because numba takes half a second to load.
    from wsl.maps.kernels.suppression import kept

    return kept(
        np.ascontiguousarray(xyxy, np.float64),
        np.ascontiguousarray(scores),
        np.zeros(len(scores), np.int64) if classes is None else np.ascontiguousarray(classes, np.int64),
        float(iou),
    )
