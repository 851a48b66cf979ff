"""The value that parts the highest k of a row from the rest, without sorting.

A pass over rows that stay in the cache (compare, count) costs a hundredth of what sorting them costs and a
sixtieth of selecting in them, and a few passes are enough: the number of values above a guess tells where to
guess next.
"""

import math

import torch
from torch import Tensor

# Passes over the rows, after which the rows still open are left to the caller. Bell-shaped rows need 5, skewed ones 10.
_PASSES = 12
# Fewer open rows than this part of all are not worth another pass.
_FEW = 1 / 32
# What an end of the bracket weighs with each pass that does not move it.
_FADING = 0.7


def find_boundaries(rows: Tensor, above: int, scratch: Tensor) -> Tensor:
    """For each row a number with exactly ``above`` values above it; NaN where none was found.

    None is found in a row where the values on both sides of the boundary are equal, in one that is not finite,
    and in one whose values are spread too unevenly for a few guesses. ``scratch`` is overwritten.

    Shape:
        (R, n), scratch (R, n) -> (R, 1), for 0 < above < n < 2**24.

    >>> rows = torch.tensor([[1.0, 4.0, 2.0, 3.0], [1.0, 1.0, 1.0, 0.0]])
    >>> (rows > find_boundaries(rows, 2, torch.empty(2, 4))).sum(-1)
    tensor([2, 0])
    """
    few = int(len(rows) * _FEW)
    found = rows.new_full((len(rows), 1), math.nan)
    places = torch.arange(len(rows))
    bracket = _Bracket(rows, above, scratch)
    for turn in range(_PASSES):
        excess = torch.gt(rows, bracket.guess, out=scratch).sum(-1, keepdim=True).sub_(above)
        left = int(excess.count_nonzero())
        if left <= few or turn == _PASSES - 1:
            break
        if 2 * left <= len(rows):
            found[places] = bracket.guess.masked_fill(excess != 0, math.nan)
            keep = excess.view(-1).nonzero().view(-1)
            places, rows, excess = (tensor.index_select(0, keep) for tensor in (places, rows, excess))
            scratch = scratch[: len(keep)]
            bracket.keep(keep)
        bracket.tighten(excess)
    found[places] = bracket.guess.masked_fill(excess != 0, math.nan)
    return found


class _Bracket:
    """Each row's boundary lies between two ends, the first with too many values above it, the second with too few.

    The first guess takes the row for normally distributed. The others divide the bracket in the ratio of the
    ends' surpluses (regula falsi), where an end that stays counts less each time, so that it moves as well.
    """

    def __init__(self, rows: Tensor, above: int, scratch: Tensor) -> None:
        n = rows.shape[-1]
        share = above / n
        mean = rows.mean(-1, keepdim=True)
        deviation = torch.linalg.vector_norm(torch.sub(rows, mean, out=scratch), dim=-1, keepdim=True) / math.sqrt(n)
        # Cantelli's inequality: the boundary can be nowhere else.
        lowest, highest = -math.sqrt(share / (1 - share)), math.sqrt((1 - share) / share)
        quantile = math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 * share, dtype=torch.float64)).item()
        density = math.exp(-quantile * quantile / 2) / math.sqrt(2 * math.pi)
        self.ends = mean + deviation * rows.new_tensor([lowest, highest]).view(2, 1, 1)
        self.surplus = rows.new_tensor([quantile - lowest, highest - quantile]).mul_(n * density).view(2, 1, 1)
        self.guess = mean + deviation * quantile
        self.signs = rows.new_tensor([1.0, -1.0]).view(2, 1, 1)
        self.fading = 1.0

    def tighten(self, excess: Tensor) -> None:
        """Guess anew, each row's guess having had ``excess`` values too many above it; 0 lets it stand."""
        signed = excess * self.signs
        reached = signed >= 0
        self.ends = torch.where(reached, self.guess, self.ends)
        self.surplus = torch.where(reached, signed, self.surplus * self.fading)
        self.fading = _FADING
        # Both ends of a finished row are its guess, and no surplus is left: 0 / 0 must not become NaN.
        part = self.surplus[0] / self.surplus.sum(0).add_(1e-3)
        self.guess = torch.lerp(self.ends[0], self.ends[1], part.clamp_(0.02, 0.98))

    def keep(self, rows: Tensor) -> None:
        """Forget all other rows."""
        self.guess = self.guess.index_select(0, rows)
        self.ends = self.ends.index_select(1, rows)
        if self.surplus.shape[1] > 1:
            self.surplus = self.surplus.index_select(1, rows)
