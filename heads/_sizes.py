"""Arithmetic of sizes that keeps the symbols of dynamic shapes."""

import torch


def least(one: int | torch.SymInt, other: int | torch.SymInt) -> int | torch.SymInt:
    """The smaller of two sizes.

    >>> least(3, 5)
    3
    """
    # The compilers of torch 2.9 and 2.11 cannot trace torch.sym_min of two plain numbers.
    return min(one, other) if isinstance(one, int) and isinstance(other, int) else torch.sym_min(one, other)


def most(one: int | torch.SymInt, other: int | torch.SymInt) -> int | torch.SymInt:
    """The larger of two sizes.

    >>> most(3, 5)
    5
    """
    return max(one, other) if isinstance(one, int) and isinstance(other, int) else torch.sym_max(one, other)
