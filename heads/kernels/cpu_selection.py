"""Means of selected values on the CPU: the same function as topk and mean, several times faster.

Boundaries (`find_boundaries`) replace topk, and one byte per location replaces its indices; everything runs in chunks
of rows that stay in the cache. Rows without a boundary, such as those with ties, go through topk.
"""

from typing import Any

import torch
from torch import Tensor

from heads.kernels.cpu_boundary import find_boundaries
from heads.kernels.cpu_rows import chunks
from heads.kernels.selecting import End, Ends, Selecting

# Floats per thread in a chunk, including buffers: they fit into the outer cache.
_CHUNK = 1 << 21
# With fewer values in total, the calls cost more than topk.
_WORTHWHILE = 1 << 17
# A gap at a boundary that a dozen guesses seldom find, times n and in standard deviations of the row.
_NARROW = 1 / 32


def select_rows(rows: Tensor, ends: Ends) -> tuple[Tensor, Tensor]:
    """The weighted sum of the means of each row's ends, and marks that count how often each value is in them.

    The marks are one tensor if every marked value has the same weight, otherwise one per end.

    Shape:
        (R, n) -> (R,), (1 or E, R, n) bytes.

    >>> scores, marks = select_rows(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), (End(2, largest=True), End(3, largest=False)))
    >>> scores, marks.tolist()
    (tensor([5.5000]), [[[0, 1, 0, 1]], [[1, 0, 1, 1]]])
    """
    shares = _shares(ends)
    marks = torch.empty((len(shares), *rows.shape), dtype=torch.int8)
    if any(is_search_hopeless(rows, end) for end in ends):
        return _select_by_topk(rows, ends, marks), marks
    sums = rows.new_empty((len(shares), len(rows)))
    cuts = chunks(rows, _CHUNK // (1 + len(ends)))
    buffer = rows.new_empty((len(ends) * len(rows[cuts[0]]), rows.shape[-1]))
    for cut in cuts:
        values = rows[cut]
        there = buffer[: len(ends) * len(values)].view(len(ends), *values.shape)
        missing = _mark_by_boundary(values, ends, there)
        for other in there[len(shares) :]:
            there[0].add_(other)
        there = there[: len(shares)]
        marks[:, cut] = there
        if len(missing):
            chosen = there.index_select(1, missing)
            # An infinity times 0 would be NaN. Summed in the same order as the other rows, for identical digits.
            apart = values.index_select(0, missing).mul(chosen).masked_fill_(chosen == 0, 0).sum(-1)
        torch.sum(there.mul_(values), -1, out=sums[:, cut])
        if len(missing):
            sums[:, cut].index_copy_(1, missing, apart)
    return torch.mv(sums.T, sums.new_tensor(shares)), marks


def _shares(ends: Ends) -> list[float]:
    """The weight of a marked value at each end; one number if it is the same at all ends."""
    shares = [end.share for end in ends]
    return shares[:1] if len(set(shares)) == 1 else shares


def _mark_by_boundary(rows: Tensor, ends: Ends, there: Tensor) -> Tensor:
    """Write ones to ``there`` at each end's values, zeros elsewhere; return which rows need topk."""
    n = rows.shape[-1]
    boundaries = find_boundaries(rows, [end.k if end.largest else n - end.k for end in ends], there)
    for end, boundary, marks in zip(ends, boundaries, there, strict=True):
        (torch.gt if end.largest else torch.le)(rows, boundary, out=marks)
    unknown = boundaries.isnan().squeeze(-1)
    missing = unknown.any(0).nonzero().view(-1)
    if len(missing):
        for end, marks, lost in zip(ends, there, unknown, strict=True):
            again = lost.nonzero().view(-1)
            values = rows.index_select(0, again)
            marks.index_copy_(0, again, torch.zeros_like(values).scatter_(-1, _top(values, end).indices, 1))
    return missing


def _select_by_topk(rows: Tensor, ends: Ends, marks: Tensor) -> Tensor:
    scores = rows.new_zeros(len(rows))
    marks.zero_()
    for number, end in enumerate(ends):
        top = _top(rows, end)
        scores.add_(top.values.mean(-1), alpha=end.weight)
        marks[min(number, len(marks) - 1)].scatter_add_(
            -1, top.indices, torch.ones((), dtype=torch.int8).expand(top.indices.shape)
        )
    return scores


def _top(rows: Tensor, end: End) -> torch.return_types.topk:
    return rows.topk(end.k, largest=end.largest, sorted=False)


def is_search_hopeless(rows: Tensor, end: End) -> bool:
    """Whether in more than a quarter of eight rows the values around the end's boundary are too close to separate.

    They are equal, or so close, compared with an extreme value elsewhere, that guesses would not get between them.
    """
    sample = rows[:: -(-len(rows) // 8)]
    top = sample.topk(end.k + 1, largest=end.largest).values
    gaps = (top[:, -1] - top[:, -2]).abs() * rows.shape[-1]
    # Normally distributed values are 2 / n standard deviations apart, and more towards the ends.
    return (gaps > sample.std(-1) * _NARROW).float().mean().item() < 0.75


class SelectedMean(Selecting):
    """The weighted sum of the means of a row's ends; keeps one byte per location.

    For large tensors of float32 or float64, because half precision has ties in most rows. Counts far below the length
    of the rows are left to topk, a single location to max.
    """

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """Whether the search for boundaries is worth its overhead."""
        (ends,) = settings
        n = values.shape[-1]
        worthwhile = values.dtype in (torch.float32, torch.float64) and values.numel() >= _WORTHWHILE
        return worthwhile and all(1 < end.k < n < 64 * end.k and n < 1 << 24 for end in ends)

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores (...) of values (..., n), and the marks of `select_rows`."""
        scores, marks = select_rows(values.reshape(-1, values.shape[-1]), *settings)
        return scores.view(values.shape[:-1]), (marks.view(-1, *values.shape),)

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """At each location, its row's gradient times the weights marked there."""
        (marks,), shares = kept, _shares(*settings)
        first, *others = marks.reshape(len(shares), -1, marks.shape[-1])
        columns = [gradient.reshape(-1, 1) * share for share in shares]
        spread = gradient.new_empty(first.shape)
        cuts = chunks(first, _CHUNK // (1 + len(shares)))
        buffer = gradient.new_empty(first[cuts[0]].shape if others else 0)
        for cut in cuts:
            there = spread[cut].copy_(first[cut]).mul_(columns[0][cut])
            for other, column in zip(others, columns[1:], strict=True):
                there.add_(buffer[: len(there)].copy_(other[cut]).mul_(column[cut]))
        return spread.view(marks.shape[1:]), None
