"""The attention of a transformer's class token, read without changing the network's results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from wsl.cam.attention import AttentionMode, attention_logits
from wsl.cam.weighting import exact
from wsl.errors import UserError


class ClassAttentionMode(AttentionMode):
    """A mode that passes the probabilities (N, heads, T) of each attention's first query to a function.

    Fused attention stays fused: the one row is computed in addition, in float32 and at little cost, and the results of
    the network do not change. Gradients flow through both.

    >>> rows, query = [], torch.randn(1, 2, 5, 8)
    >>> with ClassAttentionMode(rows.append):
    ...     _ = F.scaled_dot_product_attention(query, query, query)
    >>> rows[0].shape, rows[0].sum(-1).round(decimals=3).tolist()
    (torch.Size([1, 2, 5]), [[1.0, 1.0]])
    """

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """Fused attention, which also reads the first query of self-attention."""
        if query.ndim == 4 and query.shape[-2] == key.shape[-2]:
            keys = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3) if enable_gqa else key
            first = attn_mask[..., :1, :] if attn_mask is not None and attn_mask.ndim > 1 else attn_mask
            with torch.autocast(query.device.type, enabled=False):
                logits = attention_logits(query[..., :1, :].float(), keys.float(), first, is_causal, scale)
                self._see(logits.softmax(-1).squeeze(-2))
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )

    def _hand_out(self, probabilities: torch.Tensor) -> torch.Tensor:
        self._see(probabilities[..., 0, :])
        return probabilities


def class_attention(rows: Sequence[torch.Tensor], prefix: int, size: tuple[int, int]) -> torch.Tensor:
    """The attention of the class token to each patch, averaged over heads and summed over blocks.

    `prefix` counts the class and register tokens, which are left out; `size` is the (h, w) of the patches.

    Shape:
        A sequence over the blocks of attention (N, heads, T) of the class token to all tokens, to (N, h, w), in at
        least float32.

    Raises:
        UserError: there is no block, or attention has another shape.

    Source: Gao et al., TS-CAM, ICCV 2021, equation 9, with the sum of the authors' code instead of the mean.

    >>> class_attention([torch.tensor([[[0.5, 0.1, 0.4], [0.5, 0.3, 0.2]]])] * 2, 1, (1, 2))
    tensor([[[0.4000, 0.6000]]])
    """
    tokens = prefix + size[0] * size[1]
    shapes = [tuple(row.shape) for row in rows]
    if not rows or any(len(shape) != 3 or shape[-1] != tokens for shape in shapes):
        raise UserError(f"the blocks have attention {shapes}, expected one block or more of (N, heads, {tokens})")
    summed = torch.stack([exact(row).mean(1) for row in rows]).sum(0)
    return summed[:, prefix:].reshape(-1, *size)
