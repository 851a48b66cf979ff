"""What is done to the outputs of any model, ours or an exported one."""

from __future__ import annotations

import torch

from wsl.models.gradient_head import Chosen


def choose_maps(maps: torch.Tensor, chosen: Chosen) -> list[torch.Tensor]:
    """Of maps (N, K, h, w) those of each image's chosen classes, (J, h, w).

    >>> [some.shape for some in choose_maps(torch.zeros(1, 5, 2, 2), [[3, 4]])]
    [torch.Size([2, 2, 2])]
    """
    return [some[list(classes)] for some, classes in zip(maps, chosen, strict=True)]


def to_probabilities(scores: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """Scores as probabilities in double precision, by a sigmoid each or by one softmax: (…, K) to (…, K).

    Single precision would make equals of all confident images and lose their ranking.

    >>> to_probabilities(torch.zeros(2), multi_label=False).tolist()
    [0.5, 0.5]
    """
    scores = scores.double()
    return scores.sigmoid() if multi_label else scores.softmax(-1)
