"""Attention rollout: how much of each token reaches the class token."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsl.cam.weighting import exact
from wsl.errors import UserError


def rollout(attentions: Sequence[torch.Tensor], *, start: int = 0, token: int | None = 0) -> torch.Tensor:
    """The product of all blocks' attention matrices, each averaged with the identity of the residual connection.

    The attention of a block is the mean over its heads. Rows are normalised, so that the relevance of all tokens sums
    to 1. The result does not depend on a class. Blocks before `start` are left out. `token` is the query whose
    relevance is returned, by default the class token; None takes the mean over all queries, for networks that pool
    their tokens.

    Shape:
        A sequence over the blocks of attentions (..., heads, T, T), queries before keys, to (..., T), in at least
        float32.

    Raises:
        UserError: there is no block, or attentions have another shape.

    Source: Abnar and Zuidema, Quantifying attention flow in transformers, ACL 2020.

    >>> rollout([torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])] * 2).tolist()  # half stays at each of two blocks
    [0.25, 0.75]
    """
    blocks = chosen_blocks(attentions, start)
    relevance = first_query(blocks[0][..., 0, :, :], token)
    for attention in reversed(blocks):
        mixed = exact(attention).mean(-3)
        mixed = mixed + torch.eye(mixed.shape[-1], dtype=mixed.dtype, device=mixed.device)
        relevance = carried(relevance, mixed / mixed.sum(-1, keepdim=True))
    return relevance


def chosen_blocks(attentions: Sequence[torch.Tensor], start: int) -> Sequence[torch.Tensor]:
    """The attentions (..., heads, T, T) of the blocks from `start` on.

    Raises:
        UserError: there is none, or one has another shape.

    >>> len(chosen_blocks([torch.zeros(1, 3, 3)] * 4, start=1))
    3
    """
    blocks = attentions[start:]
    shapes = [tuple(block.shape) for block in blocks]
    if not blocks or any(len(shape) < 3 or shape[-1] != shape[-2] or shape[-1] != shapes[0][-1] for shape in shapes):
        raise UserError(
            f"{len(attentions)} blocks from {start} on have attentions {shapes}, "
            "expected one block or more of (..., heads, T, T)"
        )
    return blocks


def first_query(matrices: torch.Tensor, token: int | None) -> torch.Tensor:
    """The row of the identity matrix for a token, or the mean of all rows; (..., T) for matrices (..., T, T).

    >>> first_query(torch.zeros(2, 2), 1).tolist(), first_query(torch.zeros(2, 2), None).tolist()
    ([0.0, 1.0], [0.5, 0.5])
    """
    row = torch.zeros_like(exact(matrices[..., 0, :]))
    if token is None:
        return row + 1 / row.shape[-1]
    row[..., token] = 1
    return row


def carried(relevance: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Relevance (..., T) of a block's outputs propagated to its inputs by (..., T, T), queries before keys.

    >>> carried(torch.tensor([1.0, 0.0]), torch.tensor([[0.25, 0.75], [0.0, 1.0]])).tolist()
    [0.25, 0.75]
    """
    # One row times a matrix at each block is cheaper than a product of matrices. Autocast would round it.
    with torch.autocast(matrices.device.type, enabled=False):
        return torch.einsum("...q,...qk->...k", relevance, matrices)
