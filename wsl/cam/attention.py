"""Attention probabilities, captured while a transformer of any library runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wsl.cam.taps import as_leaf

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)
_SOFTMAX = (torch.softmax, F.softmax, torch.Tensor.softmax)


class AttentionMode(TorchFunctionMode):
    """A mode in which attention is computed unfused and its probabilities (N, heads, T, T) are passed to a function.

    It intercepts every call of `torch.nn.functional.scaled_dot_product_attention`, which timm, torchvision and
    transformers use, and every softmax over attention logits in older code. `see` receives the probabilities, which are
    leaves of the graph or parts of it. The mode applies to the current thread.

    >>> shapes = []
    >>> query = torch.randn(1, 2, 5, 8)
    >>> with torch.enable_grad(), AttentionMode(lambda found: shapes.append(found.shape)):
    ...     attended = F.scaled_dot_product_attention(query, query, query)
    >>> shapes, torch.allclose(attended, F.scaled_dot_product_attention(query, query, query), atol=1e-6)
    ([torch.Size([1, 2, 5, 5])], True)
    """

    def __init__(self, see: Callable[[torch.Tensor], None]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace fused attention, inspect softmaxes, and leave all other functions unchanged."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            given = _MULTI_HEAD.bind(*args, **kwargs)
            given.apply_defaults()
            if _is_self_attention(given.arguments):
                return self._attend_to_itself(given.arguments), None
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.ndim == 4 and result.shape[-1] == result.shape[-2]:
            return self._hand_out(result)
        return result

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
        """Attention as the documentation of torch defines it, without dropout."""
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
        probabilities = attention_logits(query, key, attn_mask, is_causal, scale).softmax(-1).to(value.dtype)
        if probabilities.ndim == 4 and probabilities.shape[-1] == probabilities.shape[-2]:
            probabilities = self._hand_out(probabilities)
        return probabilities @ value

    def _attend_to_itself(self, given: dict[str, Any]) -> torch.Tensor:
        """Self-attention of `torch.nn.MultiheadAttention` on (T, N, C), inside which torch would not call the mode."""
        sequence, heads = given["query"], given["num_heads"]
        length, images, channels = sequence.shape
        projected = F.linear(sequence, given["in_proj_weight"], given["in_proj_bias"])
        split = projected.view(length, images, 3, heads, channels // heads).permute(2, 1, 3, 0, 4)
        dropout_p = given["dropout_p"] if given["training"] else 0.0
        attended = self._attend(split[0], split[1], split[2], given["attn_mask"], dropout_p)
        joined = attended.permute(2, 0, 1, 3).reshape(length, images, channels)
        return F.linear(joined, given["out_proj_weight"], given["out_proj_bias"])

    def _hand_out(self, probabilities: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            probabilities = as_leaf(probabilities)
        self._see(probabilities)
        return probabilities


def attention_logits(
    query: torch.Tensor, key: torch.Tensor, attn_mask: torch.Tensor | None, is_causal: bool, scale: float | None
) -> torch.Tensor:
    """The input (..., queries, keys) of the softmax in `torch.nn.functional.scaled_dot_product_attention`.

    >>> attention_logits(torch.ones(2, 4), torch.ones(2, 4), None, True, None).tolist()
    [[2.0, -inf], [2.0, 2.0]]
    """
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if attn_mask is None:
        return logits
    return logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask


def _is_self_attention(given: dict[str, Any]) -> bool:
    """Whether a multi-head attention has the form used in vision transformers, where the caller reads no weights."""
    plain = given["query"] is given["key"] and given["key"] is given["value"] and given["query"].ndim == 3
    unused = ("bias_k", "bias_v", "key_padding_mask", "q_proj_weight", "static_k", "static_v")
    extras = given["add_zero_attn"] or given["need_weights"] or given["is_causal"]
    return plain and not extras and all(given[name] is None for name in unused)
