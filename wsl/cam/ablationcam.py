"""Ablation-CAM: channels weighted by the drop of the score when they are removed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from wsl.cam.weighting import exact, rectified, weighted_sum
from wsl.errors import UserError


def ablationcam(
    score_from: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    activations: torch.Tensor,
    classes: torch.Tensor,
    scores: torch.Tensor,
    *,
    batch_size: int = 32,
    relu: bool = True,
) -> torch.Tensor:
    """The sum of a layer's channels, each weighted by the drop of the class's score when the channel is set to zero.

    Unlike in the paper, the drop is not divided by the score. That factor is the same for all channels of a map: it
    leaves the normalised map of a positive score unchanged, inverts the map of a negative one, and is infinite at
    zero. Channels that are already zero are skipped; their weight is zero.

    The cost is one pass through the layers after this one for each remaining channel and image, in batches of
    `batch_size`, whatever the number of classes; only one batch is held in memory at a time.

    Shape:
        Activations (N, C, h, w), classes (N, J), integers, and scores (N, K) to maps (N, J, h, w), in at least
        float32. `score_from` maps changed activations (M, C, h, w), and the images (M,) that they come from, to scores
        (M, K).

    Raises:
        UserError: a tensor has another shape, or `batch_size` is below 1.

    Source: Desai and Ramaswamy, Ablation-CAM, WACV 2020.

    >>> activations = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> head = lambda changed, rows: changed.sum((2, 3)) @ torch.tensor([[3.0], [-1.0]])
    >>> ablationcam(head, activations, torch.tensor([[0]]), torch.tensor([[2.0]]), relu=False).tolist()
    [[[[3.0, -1.0]]]]
    """
    shapes = [tuple(each.shape) for each in (activations, classes, scores)]
    if [len(shape) for shape in shapes] != [4, 2, 2] or len({shape[0] for shape in shapes}) > 1:
        raise UserError(f"shapes are {shapes}, expected activations (N, C, h, w), classes (N, J) and scores (N, K)")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}, expected 1 or more")
    with torch.no_grad():
        rows, columns = (activations != 0).flatten(2).any(2).nonzero(as_tuple=True)
        before = exact(scores).gather(1, classes)
        weights = before.new_zeros(*classes.shape, activations.shape[1])
        for row, column in zip(torch.split(rows, batch_size), torch.split(columns, batch_size), strict=True):
            changed = activations[row]
            changed[torch.arange(len(row), device=row.device), column] = 0
            after = exact(score_from(changed, row)).gather(1, classes[row])
            weights[row, :, column] = before[row] - after
        return rectified(weighted_sum(weights, activations.unsqueeze(1)), relu)
