"""Gradient rollout: attention rollout with each head weighted by its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsl.cam.rollout import carried, chosen_blocks, first_query
from wsl.cam.weighting import exact
from wsl.errors import UserError


def gradient_rollout(
    attentions: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    *,
    start: int = 0,
    token: int | None = 0,
) -> torch.Tensor:
    """The relevance of each token for a class, from attention matrices and their gradients.

    In each block the positive part of gradient times attention is averaged over the heads to a matrix A, and the
    relevance R of tokens for tokens, initially the identity, becomes R + A R. The result is the row of R for the class
    token; `start` and `token` are as for `wsl.cam.rollout.rollout`. A token's relevance for itself includes the
    identity.

    Shape:
        Sequences over the blocks of attentions (..., heads, T, T), queries before keys, and of gradients of the class's
        score, to (..., T), in at least float32. The leading axes broadcast: attentions (N, heads, T, T) and gradients
        (J, N, heads, T, T) give (J, N, T).

    Raises:
        UserError: there is no block, the numbers of attentions and gradients differ, or a tensor has another shape.

    Source: Chefer et al., Generic attention-model explainability for interpreting bi-modal and encoder-decoder
    transformers, ICCV 2021, equations 5 and 6, for self-attention.

    >>> attention = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    >>> gradient_rollout([attention], [torch.tensor([[[-1.0, 2.0], [0.0, 0.0]]])]).tolist()
    [1.0, 1.0]
    """
    if len(attentions) != len(gradients):
        raise UserError(f"{len(attentions)} attentions and {len(gradients)} gradients, expected one of each per block")
    blocks, slopes = chosen_blocks(attentions, start), chosen_blocks(gradients, start)
    relevance = first_query(slopes[0][..., 0, :, :], token)
    for attention, gradient in zip(reversed(blocks), reversed(slopes), strict=True):
        relevance = relevance + carried(relevance, (exact(gradient) * exact(attention)).relu().mean(-3))
    return relevance
