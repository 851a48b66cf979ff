"""The interface of kernels, and the autograd function that runs them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# There is no public equivalent.
from torch._C._functorch import is_legacy_batchedtensor

Plain = Callable[..., Tensor]


class Kernel:
    """A forward and a backward pass of ``plain(values, *settings)``.

    The first setting may be a tensor, which then receives a gradient. ``keeps_values`` says whether the backward pass
    needs the values; `forward` returns what else it needs.
    """

    keeps_values = True

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """Whether the kernel supports these values and is faster than the plain expression."""
        raise NotImplementedError

    def prepare(self, values: Tensor) -> Tensor:
        """The values in the dtype and layout that `forward` and `backward` expect, differentiably."""
        return values

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The result, and what to keep for `backward`."""
        raise NotImplementedError

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of the values and, if it is a tensor, of the first setting."""
        raise NotImplementedError

    def differentiable_backward(
        self, plain: Plain, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The same with second derivatives, by the plain expression."""
        setting, *others = settings
        if isinstance(setting, Tensor):
            pull = torch.func.vjp(lambda values, setting: plain(values, setting, *others), values, setting)[1]
            of_values, of_setting = pull(gradient)
            return of_values, of_setting
        return torch.func.vjp(lambda values: plain(values, *settings), values)[1](gradient)[0], None

    def try_on(self, device: torch.device) -> None:
        """Run both passes on a few values.

        Raises:
            Exception: the kernel does not run there.
        """
        raise NotImplementedError


def apply(kernel: Kernel, plain: Plain, values: Tensor, *settings: Any) -> Tensor:
    """``plain(values, *settings)`` by the kernel."""
    result: Tensor = _Function.apply(kernel, plain, kernel.prepare(values), *settings)
    return result


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, plain: Plain, values: Tensor, *settings: Any) -> Tensor:
        result, kept = kernel.forward(values, *settings)
        ctx.kernel, ctx.plain = kernel, plain
        ctx.settings = [None if isinstance(setting, Tensor) else setting for setting in settings]
        learnt = settings[0] if isinstance(settings[0], Tensor) else None
        ctx.save_for_backward(values if kernel.keeps_values else None, learnt, *kept)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        values, learnt, *kept = ctx.saved_tensors
        settings = ctx.settings if learnt is None else [learnt, *ctx.settings[1:]]
        # torch.autograd.grad(is_grads_batched=True) passes a batched gradient that only torch's operations support.
        if torch.is_grad_enabled() or is_legacy_batchedtensor(gradient):
            pulled = ctx.kernel.differentiable_backward(ctx.plain, gradient, values, kept, *settings)
        else:
            pulled = ctx.kernel.backward(gradient, values, kept, *settings)
        return None, None, *pulled, *([None] * (len(settings) - 1))
