"""The value that separates the highest k of a row from the rest, found without sorting.

A pass over rows that stay in the cache (compare, count) costs a hundredth of sorting them and a sixtieth of selecting
from them, and a few passes are enough: the number of values above a guess determines the next guess. Several
boundaries of the same rows are searched at once, as separate rows.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor

# Maximum number of passes; rows without a boundary are then left to the caller. Normal rows need 5, skewed ones 10.
_PASSES = 12
# If fewer than this fraction of the rows are left, another pass is not worthwhile.
_FEW = 1 / 64
# The weight of an end of the bracket is multiplied by this for each pass that does not move it.
_FADING = 0.7


def find_boundaries(rows: Tensor, above: Sequence[int], scratch: Tensor) -> Tensor:
    """For each row and each count, a number with exactly this many values above it; NaN if none was found.

    None is found if the values on both sides of the boundary are equal, if the row is not finite, or if its values are
    spread too unevenly for a few guesses. ``scratch`` is overwritten.

    Shape:
        (R, n), E counts, scratch (E, R, n) -> (E, R, 1), for 0 < count < n < 2**24.

    >>> rows = torch.tensor([[1.0, 4.0, 2.0, 3.0], [1.0, 1.0, 1.0, 0.0]])
    >>> (rows > find_boundaries(rows, (2, 3), torch.empty(2, 2, 4))).sum(-1)
    tensor([[2, 0],
            [3, 3]])
    """
    bracket = _Bracket(rows, above, scratch)
    found = rows.new_full((len(above) * len(rows),), math.nan)
    few = int(len(found) * _FEW)
    guess, places = bracket.guess.view(len(above), -1, 1), None
    for turn in range(_PASSES):
        excess = torch.gt(rows, guess, out=scratch).sum(-1).view(-1).sub_(bracket.above)
        left = int(excess.count_nonzero())
        if left <= few or turn == _PASSES - 1:
            break
        if 2 * left <= len(excess):
            _note(found, places, bracket.guess, excess)
            keep = excess.nonzero().view(-1)
            excess = excess.index_select(0, keep)
            rows = rows.index_select(0, keep.remainder(len(rows)) if places is None else keep)
            places = keep if places is None else places.index_select(0, keep)
            scratch = scratch.view(-1, rows.shape[-1])[: len(keep)]
            bracket.keep(keep)
        bracket.tighten(excess)
        guess = bracket.guess.view(guess.shape if places is None else (-1, 1))
    _note(found, places, bracket.guess, excess)
    return found.view(len(above), -1, 1)


def _note(found: Tensor, places: Tensor | None, guess: Tensor, excess: Tensor) -> None:
    guess = guess.masked_fill(excess != 0, math.nan)
    if places is None:
        found.copy_(guess)
    else:
        found[places] = guess


class _Bracket:
    """A bracket of each row's boundary: the first end has too many values above it, the second too few.

    The first guess assumes a normal distribution. The others divide the bracket in the ratio of the ends' surpluses
    (regula falsi); an end that stays counts less each time, so that it also moves.
    """

    def __init__(self, rows: Tensor, above: Sequence[int], scratch: Tensor) -> None:
        n = rows.shape[-1]
        mean = rows.mean(-1, keepdim=True)
        deviation = torch.linalg.vector_norm(torch.sub(rows, mean, out=scratch[0]), dim=-1).div_(math.sqrt(n))
        constants = []
        for count in above:
            share = count / n
            quantile = NormalDist().inv_cdf(1 - share)
            surplus_a_deviation = n * NormalDist().pdf(quantile)
            # By Cantelli's inequality the boundary lies between these.
            lowest, highest = -math.sqrt(share / (1 - share)), math.sqrt((1 - share) / share)
            too_many, too_few = (quantile - lowest) * surplus_a_deviation, (highest - quantile) * surplus_a_deviation
            constants.append((lowest, highest, quantile, too_many, too_few, count))
        columns = rows.new_tensor(constants).T.unsqueeze(-1)  # (6, E, 1)
        ends = mean.view(-1) + deviation * columns[:3]
        self.ends, self.guess = ends[:2].reshape(2, -1), ends[2].reshape(-1)
        surplus = columns[3:].expand(ends.shape).reshape(3, -1)
        self.surplus, self.above = surplus[:2], surplus[2]
        self.signs = rows.new_tensor([[1.0], [-1.0]])
        self.fading = 1.0

    def tighten(self, excess: Tensor) -> None:
        """Guess again, given that each row's guess had ``excess`` values too many above it; 0 keeps the guess."""
        signed = excess * self.signs
        reached = signed >= 0
        self.ends = torch.where(reached, self.guess, self.ends)
        self.surplus = torch.where(reached, signed, self.surplus * self.fading)
        self.fading = _FADING
        # Both ends of a finished row equal its guess, and no surplus is left: 0 / 0 must not become NaN.
        part = self.surplus[0] / self.surplus.sum(0).add_(1e-3)
        self.guess = torch.lerp(self.ends[0], self.ends[1], part.clamp_(0.02, 0.98))

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.guess, self.above = (numbers.index_select(0, rows) for numbers in (self.guess, self.above))
        self.ends, self.surplus = (numbers.index_select(1, rows) for numbers in (self.ends, self.surplus))
