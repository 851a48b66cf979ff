"""The common base of kernels that select values: the ends of a row, and a linear gradient."""

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from heads.kernels.function import Kernel, Plain


class End(NamedTuple):
    """The ``k`` highest or lowest values of a row, whose mean is multiplied by ``weight``.

    >>> End(10, largest=True).share
    0.1
    """

    k: int
    largest: bool
    weight: float = 1.0

    @property
    def share(self) -> float:
        """The weight of each of the values."""
        return self.weight / self.k


Ends: TypeAlias = tuple[End, ...]


class Selecting(Kernel):
    """A kernel ``(values, ends) -> scores`` that keeps which values were selected, not the values themselves."""

    keeps_values = False

    def differentiable_backward(
        self, plain: Plain, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """The product of each row's gradient with constants."""
        ones = torch.ones(gradient.shape, dtype=gradient.dtype, device=gradient.device)
        with torch.no_grad():
            weights, _ = self.backward(ones, values, kept, *settings)
        return gradient.unsqueeze(-1) * weights, None
