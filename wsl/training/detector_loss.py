"""Loss of a box detector that learns from weighted boxes and image-level labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

from wsl.models import Dense

_GAMMA, _ALPHA = 2.0, 0.25


class GoalBatch(NamedTuple):
    """The `Goals` of N inputs as tensors, stacked along a leading axis N."""

    wanted: torch.Tensor
    counted: torch.Tensor
    sides: torch.Tensor
    positive: torch.Tensor


def detector_loss(found: Dense, goals: GoalBatch) -> torch.Tensor:
    """Sum of a focal loss of the classes, a generalised IoU loss of the boxes and a cross-entropy of the centredness.

    The class losses of each location are weighted by ``counted``, those of boxes and centredness by ``positive``; the
    sums are divided by the total weight of the positive locations. The loss of the sides is also weighted by the
    centredness of the location in its box.

    Source: Tian et al., FCOS, ICCV 2019; Rezatofighi et al., Generalized Intersection over Union, CVPR 2019.

    >>> sides, place = torch.ones(1, 1, 4), torch.zeros(1, 2)
    >>> nothing = Dense(torch.full((1, 1, 2), -9.0), torch.zeros(1, 1), sides, place, torch.ones(1))
    >>> goals = GoalBatch(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1, 4), torch.zeros(1, 1))
    >>> round(detector_loss(nothing, goals).item(), 6)
    0.0
    """
    where = goals.positive > 0
    weights = goals.positive[where]
    total = weights.sum().clamp(min=1)
    classes = (focal_loss(found.classes, goals.wanted) * goals.counted).sum() / total
    sides = goals.sides[where]
    middle = centredness(sides)
    central = weights * middle
    boxes = ((1 - generalised_iou(found.sides[where], sides)) * central).sum() / central.sum().clamp(min=1e-3)
    logits = found.centredness[where]
    centred = (F.binary_cross_entropy_with_logits(logits, middle, reduction="none") * weights).sum() / total
    return classes + boxes + centred


def focal_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy that gives a lower weight to well-classified entries.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.

    >>> focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0])).div(0.6931).tolist()
    [0.062..., 0.187...]
    """
    losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    wrong = torch.where(wanted > 0, 1 - probability, probability)
    return losses * wrong**_GAMMA * torch.where(wanted > 0, _ALPHA, 1 - _ALPHA)


def centredness(sides: torch.Tensor) -> torch.Tensor:
    """Centredness of locations in their boxes, 1 in the middle and 0 at an edge: sides (n, 4) to (n,).

    >>> centredness(torch.tensor([[1.0, 2, 1, 2], [1, 2, 4, 2]])).tolist()
    [1.0, 0.5]
    """
    across, down = sides[:, 0::2], sides[:, 1::2]
    return torch.sqrt(across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1)))


def generalised_iou(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Generalised IoU of pairs of boxes around the same location, given by their sides: two (n, 4) to (n,).

    >>> generalised_iou(torch.tensor([[1.0, 1, 1, 1]]), torch.tensor([[1.0, 1, 3, 1]])).tolist()
    [0.5]
    """

    def area(sides: torch.Tensor) -> torch.Tensor:
        return (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3])

    shared = area(torch.minimum(found, wanted))
    union = area(found) + area(wanted) - shared
    around = area(torch.maximum(found, wanted))
    return shared / union - (around - union) / around
