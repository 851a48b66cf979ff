"""Means of the highest and lowest values of rows in Triton: bisection instead of sorting.

The bits of floats, mapped to integers of the same order, are bisected until exactly k values of a row are at or above
the bound. If ties prevent this, the bound is the k-th value, and of the values equal to it the first in row-major order
complete the k.
"""

# Triton does not support annotations.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,import-untyped,import-not-found"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from heads.kernels.selecting import End, Ends, Selecting
from heads.kernels.triton_launch import TritonRows, load_row, row_shape


@triton.jit
def _keys(x):
    """Integers in the order of the values; 0 and -0 are equal, and NaN is the highest, as in torch.topk."""
    bits = tl.where(x == 0, 0.0, x).to(tl.int32, bitcast=True)
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(x == x, keys, 0x7FC00000)


@triton.jit
def _highest(keys, inside, k):
    """A mask of the k highest keys of a row."""
    keys = tl.where(inside, keys, -2147483648)
    low = tl.min(tl.where(inside, keys, 2147483647), 0)
    high = tl.max(keys, 0)
    count = tl.sum(inside.to(tl.int32), 0)
    # The bound is in [low, high]; `count` keys are at least low, and count >= k.
    while (low < high) & (count != k):
        middle = (low | high) - ((low ^ high) >> 1)  # the mean, rounded up, without overflow
        above = tl.sum((keys >= middle).to(tl.int32), 0)
        enough = above >= k
        low = tl.where(enough, middle, low)
        count = tl.where(enough, above, count)
        high = tl.where(enough, high, middle - 1)
    more = keys > low
    ties = (keys == low).to(tl.int32)
    wanted = k - tl.sum(more.to(tl.int32), 0)
    return more | ((ties > 0) & (tl.cumsum(ties, 0) <= wanted))


@triton.jit(do_not_specialize=["k_high", "k_low"])
def _select_forward(
    values,
    scores,
    marks,
    n,
    k_high,
    share_high,
    k_low,
    share_low,
    HIGH: tl.constexpr,
    LOW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    x, inside, places = load_row(values, n, 0.0, BLOCK)
    keys = _keys(x)
    score = 0.0
    mark = tl.zeros([BLOCK], tl.int32)
    if HIGH:
        top = _highest(keys, inside, k_high)
        score += tl.sum(tl.where(top, x * share_high, 0.0), 0)
        mark += top.to(tl.int32)
    if LOW:
        bottom = _highest(~keys, inside, k_low)
        score += tl.sum(tl.where(bottom, x * share_low, 0.0), 0)
        mark += 2 * bottom.to(tl.int32)
    tl.store(scores + tl.program_id(0), score)
    tl.store(marks + places, mark.to(tl.int8), mask=inside)


@triton.jit
def _select_backward(weights, marks, of_values, n, share_high, share_low, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    inside = columns < n
    places = tl.program_id(0).to(tl.int64) * n + columns
    mark = tl.load(marks + places, mask=inside, other=0).to(tl.int32)
    weight = tl.load(weights + tl.program_id(0)).to(tl.float32)
    slopes = tl.where((mark & 1) != 0, weight * share_high, 0.0) + tl.where((mark & 2) != 0, weight * share_low, 0.0)
    tl.store(of_values + places, slopes, mask=inside)


class SelectedMean(Selecting, TritonRows):
    """The weighted sum of the means of a row's ends; keeps one byte per location: bit 0 highest, bit 1 lowest."""

    example = ((End(2, largest=True), End(2, largest=False)),)

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores of rows, and the marks."""
        (high, low), n = _two(*settings), values.shape[-1]
        scores = torch.empty(values.shape[:-1], dtype=torch.float32, device=values.device)
        marks = torch.empty(values.shape, dtype=torch.int8, device=values.device)
        with torch.cuda.device_of(values):
            _select_forward[(scores.numel(),)](
                values,
                scores,
                marks,
                n,
                high.k,
                high.share,
                low.k,
                low.share,
                HIGH=high.weight != 0,
                LOW=low.weight != 0,
                **row_shape(n),
            )
        return scores, (marks, values.new_empty(0))  # the empty tensor carries the gradient's dtype

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """At each location, its row's gradient times the weights marked there."""
        (marks, like), (high, low), n = kept, _two(*settings), kept[0].shape[-1]
        weights = gradient.contiguous()
        of_values = like.new_empty(marks.shape)
        _select_backward[(weights.numel(),)](weights, marks, of_values, n, high.share, low.share, **row_shape(n))
        return of_values, None


def _two(ends: Ends) -> tuple[End, End]:
    """The highest and the lowest end; one of them may have weight 0."""
    high = next((end for end in ends if end.largest), End(1, largest=True, weight=0.0))
    low = next((end for end in ends if not end.largest), End(1, largest=False, weight=0.0))
    return high, low
