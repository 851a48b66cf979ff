"""The number of locations that k stands for, and the mean of the highest or lowest k locations.

Every pooling that selects locations follows one rule:

- k >= 1 is a count, clamped to the number of locations n;
- 0 < k < 1 is a proportion: floor(k * n), or with ``rounding="round"`` Python's round (halves to even), and
  at least one location. It is stored as the nearest `Fraction` with a denominator up to a million: 5/9 of 9
  locations are 5 and 0.29 of 100 are 29, despite the rounding of binary floats;
- "all" is every location, and the meaning of k <= 0 depends on the pooling.
"""

import math
import numbers
import warnings
from fractions import Fraction
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_choice
from heads._sizes import least, most
from heads.kernels import dispatch
from heads.kernels.selecting import End, Ends

K: TypeAlias = int | float | Fraction | str
Selection: TypeAlias = int | Fraction | Literal["all"]
Rounding: TypeAlias = Literal["floor", "round"]

_FINEST = 1_000_000


def check_k(k: object, name: str = "k") -> Selection:
    """``k`` as an int count, a Fraction in (0, 1), "all", or 0 for 0 and below.

    A Fraction is exact, and compilers treat the floats of a module as symbols.

    Warns:
        UserWarning: ``k`` is the float 1.0, which is one location here and all of them in other libraries.

    Raises:
        TypeError: ``k`` is neither a number nor "all".
        ValueError: ``k`` is NaN, infinite, above 1 and not whole, or a word other than "all".

    >>> check_k(10.0), check_k(0.2), check_k("all"), check_k(-1)
    (10, Fraction(1, 5), 'all', 0)
    """
    if isinstance(k, str):
        if k != "all":
            raise ValueError(f'{name} is {k!r}, expected a number or "all": try {name}=0.2')
        return "all"
    if isinstance(k, Fraction) and 0 < k.numerator < k.denominator <= _FINEST:
        return k
    if isinstance(k, bool) or not isinstance(k, numbers.Real):
        raise TypeError(f'{name} is {k!r}, expected a count, a proportion or "all": try {name}=0.2')
    if isinstance(k, numbers.Integral):
        return max(int(k), 0)
    number = float(k)
    if not abs(number) < math.inf or (number > 1 and not number.is_integer()):
        raise ValueError(f'{name} is {number}, expected a count such as 10, a proportion in (0, 1) or "all"')
    if number == 1:
        warnings.warn(f'{name}=1.0 is one location; write {name}=1 for one, {name}="all" for all of them', stacklevel=3)
    if not 0 < number < 1:
        return max(int(number), 0)
    inside = min(max(number, 1 / _FINEST), 1 - 1 / _FINEST)
    return Fraction(inside).limit_denominator(_FINEST)


def count_locations(k: Selection, n: int, rounding: Rounding = "floor") -> int | torch.SymInt:
    """The number of the ``n`` locations that a ``k`` from `check_k` selects.

    It uses integer arithmetic and does not branch on ``n``, which may be the symbol of a dynamic shape.

    >>> fifth = Fraction(1, 5)
    >>> count_locations(Fraction(3, 9), 9), count_locations(fifth, 49), count_locations(fifth, 49, "round")
    (3, 9, 10)
    """
    if isinstance(k, str):
        return n
    if isinstance(k, int):
        return least(k, n)
    top, bottom = k.numerator * n, k.denominator
    if rounding == "floor":
        return most(1, top // bottom)
    half_down = (2 * top + bottom - 1) // (2 * bottom)
    half_up = (2 * top + bottom) // (2 * bottom)
    return most(1, half_down + (half_up - half_down) * (half_down % 2))


def selected_mean(maps: Tensor, k: Selection, *, largest: bool, rounding: Rounding) -> Tensor:
    """The mean of the k highest (``largest``) or lowest values of each map, in `accumulation_dtype`.

    Ties never change the number of selected locations: on CUDA the first in row-major order are selected, elsewhere
    those that ``torch.topk`` picks. ``k`` comes from `check_k` and is not 0.

    Shape:
        (..., H, W) -> (...).

    >>> selected_mean(torch.tensor([[[1.0, 2.0, 4.0]]]), 2, largest=True, rounding="floor")
    tensor([3.])
    """
    check_choice(rounding, "rounding", ("floor", "round"))
    values = maps.flatten(-2)
    if isinstance(k, str):
        return values.mean(-1, dtype=accumulation_dtype(maps))
    end = End(cast(int, count_locations(k, values.shape[-1], rounding)), largest)
    return dispatch("selected_mean", lambda values, ends: _mean_of_end(values, k, *ends), values, (end,))


def two_ended_mean(
    maps: Tensor, k_max: Selection, k_min: Selection, *, weights: tuple[float, float], rounding: Rounding
) -> Tensor:
    """The weighted sum of the mean of the k_max highest values of each map and the mean of its k_min lowest.

    Otherwise as `selected_mean`.

    Shape:
        (..., H, W) -> (...).

    >>> two_ended_mean(torch.tensor([[[1.0, 2.0, 4.0]]]), 2, 1, weights=(1, 0.5), rounding="floor")
    tensor([3.5000])
    """
    check_choice(rounding, "rounding", ("floor", "round"))
    values = maps.flatten(-2)
    highest, lowest = (cast(int, count_locations(k, values.shape[-1], rounding)) for k in (k_max, k_min))
    ends = End(highest, largest=True, weight=weights[0]), End(lowest, largest=False, weight=weights[1])

    def plain(values: Tensor, ends: Ends) -> Tensor:
        return _mean_of_end(values, k_max, ends[0]) + _mean_of_end(values, k_min, ends[1])

    return dispatch("selected_mean", plain, values, ends)


def _mean_of_end(values: Tensor, k: Selection, end: End) -> Tensor:
    dtype = accumulation_dtype(values)
    if isinstance(k, str):
        mean = values.mean(-1, dtype=dtype)
    elif isinstance(k, int) and k == 1:
        # Not amax, which distributes the gradient over ties, nor topk, which is slower.
        mean = (values.max(-1) if end.largest else values.min(-1)).values.to(dtype)
    elif isinstance(k, Fraction) and torch.compiler.is_compiling():
        mean = _masked_mean(values, end.k, largest=end.largest)
    else:
        mean = values.topk(end.k, largest=end.largest, sorted=False).values.mean(-1, dtype=dtype)
    return mean if end.weight == 1 else end.weight * mean


def _masked_mean(values: Tensor, count: int | torch.SymInt, *, largest: bool) -> Tensor:
    """The mean of topk(count) for a symbolic count, which requests one more value and leaves it out.

    For a dimension of symbolic size the tracer assumes that the size is not 1, and the exported program would refuse
    small maps; ``count + 1`` is never 1.
    """
    asked = least(count + 1, values.shape[-1])
    chosen = values.topk(asked, largest=largest).values.to(accumulation_dtype(values))
    kept = torch.arange(asked, device=values.device) < count
    return torch.where(kept, chosen, 0).sum(-1) / kept.sum()
