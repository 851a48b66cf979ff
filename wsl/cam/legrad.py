"""LeGrad: positive gradients of a class's score with respect to attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsl.cam.rollout import chosen_blocks
from wsl.cam.weighting import exact


def legrad(attention_gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The relevance of each token for a class: the sum over blocks of the positive gradients of its attention.

    The gradients are those of the block's own score (the classifier applied to the block's tokens) with respect to the
    block's attention. Their positive part is averaged over heads and queries.

    Shape:
        A sequence over the blocks of gradients (..., heads, T, T), queries before keys, to (..., T), in at least
        float32.

    Raises:
        UserError: there is no block, or gradients have another shape.

    Source: Bousselham et al., LeGrad: An explainability method for vision transformers via feature formation
    sensitivity, ICCV 2025. The authors take the last two blocks; TorchCAM divides by the number of blocks.

    >>> legrad([torch.tensor([[[1.0, -1.0], [3.0, 1.0]]]), torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])]).tolist()
    [2.0, 2.5]
    """
    blocks = [exact(gradient).relu().mean((-3, -2)) for gradient in chosen_blocks(attention_gradients, 0)]
    return torch.stack(blocks).sum(0)
