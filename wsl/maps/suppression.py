"""Of boxes that overlap, only the best."""

from __future__ import annotations

import numpy as np

from wsl.boxes import Boxes
from wsl.errors import UserError


def non_max_suppression(boxes: Boxes, iou: float) -> Boxes:
    """Drop every box that overlaps a higher-scored one of its class by more than ``iou``; highest score first.

    Raises:
        UserError: ``iou`` is not in [0, 1].

    >>> boxes = Boxes(xyxy=[[0, 0, 9, 10], [0, 0, 10, 10]], labels=["dog", "dog"], scores=[0.6, 0.9])
    >>> non_max_suppression(boxes, 0.5).scores.tolist()
    [0.8999999761581421]
    """
    if not 0 <= iou <= 1:
        raise UserError(f"nms iou is {iou}, expected an overlap in [0, 1]: try 0.5")
    if len(boxes) == 0:
        return boxes
    # Loaded here: torch takes seconds, and whoever only reads or draws maps does without it.
    import torch
    from torchvision.ops import batched_nms

    numbers = {label: number for number, label in enumerate(dict.fromkeys(boxes.labels))}
    keep = batched_nms(
        # batched_nms moves the classes apart by the largest coordinate: doubles from 0 on keep that exact.
        torch.from_numpy((boxes.xyxy - boxes.xyxy.min()).astype(np.float64)),
        torch.from_numpy(boxes.scores.astype(np.float64)),
        torch.tensor([numbers[label] for label in boxes.labels]),
        iou_threshold=iou,
    )
    return boxes.select(keep.numpy())
