"""Poolings with a hand-written forward and gradient on the CPU, the same functions as their plain expressions.

A plain expression writes and reads a whole tensor at each of its operations. Here the operations run on chunks of
rows that stay in the cache, in place, and the gradient recomputes what is cheaper to compute than to keep. Second
derivatives come from the plain expression; batches (vmap) are further rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor

# One number for all rows, or one for each.
Setting: TypeAlias = float | Tensor

# For powers of two, which torch computes three times faster than those of e.
LOG2_E = 1 / math.log(2)

# Values a thread takes at a time: a few such buffers fit the outer cache.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Kernel:
    """A pooling of rows, as an expression and by hand.

    Shape:
        ``plain``: values (..., n), setting a float or (...) -> scores (...), differentiable.
        ``forward``: rows (R, n), setting a float or (R, 1) -> scores (R, 1), and what to keep (R, n) or (R, 0).
        ``gradient``: weights (R, 1) of the scores, rows, setting, scores, kept -> of the rows (R, n), of the setting
        (R, 1) if that is a tensor.

    With fewer than ``worthwhile`` values a thread, the calls cost more than they save.
    """

    plain: Callable[[Tensor, Setting], Tensor]
    forward: Callable[[Tensor, Setting], tuple[Tensor, Tensor]]
    gradient: Callable[[Tensor, Tensor, Setting, Tensor, Tensor], tuple[Tensor, Tensor | None]]
    worthwhile: int = 1 << 15

    def __call__(self, values: Tensor, setting: Setting) -> Tensor:
        """Scores of (..., n); a setting that is a tensor broadcasts to (...) and receives its gradient."""
        if not self.takes(values):
            return self.plain(values, setting)
        if isinstance(setting, Tensor):
            setting = setting.expand(values.shape[:-1])
        scores: Tensor = _Fused.apply(self, values, setting)[0]
        return scores

    def takes(self, values: Tensor) -> bool:
        """Whether these are for the kernel, not for the plain expression."""
        return runs_eagerly_on_cpu(values) and values.numel() >= self.worthwhile * torch.get_num_threads()


def runs_eagerly_on_cpu(values: Tensor) -> bool:
    """Whether these are plain float32 or float64 tensors of the CPU, and no compiler traces.

    >>> runs_eagerly_on_cpu(torch.ones(3)), runs_eagerly_on_cpu(torch.ones(3, device="meta"))
    (True, False)
    """
    return (
        not torch.compiler.is_compiling()
        and type(values) is Tensor
        and values.device.type == "cpu"
        and values.dtype in (torch.float32, torch.float64)
    )


def chunks(rows: Tensor, values: int = _CHUNK) -> list[slice]:
    """Slices of rows, of so many values for each thread.

    >>> [part.start for part in chunks(torch.empty(4, 5), 10 // torch.get_num_threads())]
    [0, 2]
    """
    step = max(1, values * torch.get_num_threads() // rows.shape[-1])
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def _flat(tensor: Setting) -> Setting:
    return tensor.reshape(-1, 1) if isinstance(tensor, Tensor) else tensor


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(kernel: Kernel, values: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
        scores, kept = kernel.forward(values.reshape(-1, values.shape[-1]), _flat(setting))
        return scores.view(values.shape[:-1]), kept.view(*values.shape[:-1], -1) if kept.numel() else kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Kernel, Tensor, Setting], output: tuple[Tensor, Tensor]) -> None:
        _keep(ctx, inputs, output)
        ctx.mark_non_differentiable(output[1])
        # Or a tensor of zeros would come as the gradient of what is kept.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, weights: Tensor | None, _: None) -> tuple[None, Tensor | None, Tensor | None]:
        if weights is None:
            return None, None, None
        values, scores, kept, setting = _kept(ctx)
        # torch.autograd.grad(is_grads_batched=True) asks no function for its vmap.
        if is_legacy_batchedtensor(weights):
            return None, *_pull_plainly(ctx.kernel, weights, values, scores, kept, setting)
        # What nobody differentiates further need not pass through autograd again.
        plainly = not torch.is_grad_enabled() and not is_functorch_wrapped_tensor(weights)
        pull = _FusedGradient.forward if plainly else _FusedGradient.apply
        return None, *pull(ctx.kernel, weights, values, scores, kept, setting)

    @staticmethod
    def jvp(ctx: Any, _: None, along: Tensor | None, setting_along: Tensor | None) -> tuple[Tensor, None]:
        values, scores, kept, setting = _kept(ctx)
        of_values, of_setting = _FusedGradient.apply(ctx.kernel, torch.ones_like(scores), values, scores, kept, setting)
        tangent = torch.zeros_like(scores)
        if along is not None:
            tangent = tangent + (of_values * along).sum(-1)
        if setting_along is not None:
            tangent = tangent + of_setting * setting_along
        return tangent, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, values: Tensor, setting: Setting) -> Any:
        values, setting = _batched(info, in_dims[1:], values, setting)
        _, kept = output = _Fused.apply(kernel, values, setting)
        return output, (0, 0 if kept.numel() else None)


class _FusedGradient(torch.autograd.Function):
    """The gradient of `_Fused`, itself differentiable by way of the plain expression."""

    @staticmethod
    def forward(
        kernel: Kernel, weights: Tensor, values: Tensor, scores: Tensor, kept: Tensor, setting: Setting
    ) -> tuple[Tensor, Tensor | None]:
        rows = values.reshape(-1, values.shape[-1])
        kept = kept.reshape(len(rows), -1) if kept.numel() else kept
        columns = weights.reshape(-1, 1), rows, _flat(setting), scores.reshape(-1, 1), kept
        of_rows, of_setting = kernel.gradient(*columns)
        return of_rows.view(values.shape), None if of_setting is None else of_setting.view(scores.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        kernel, weights, values, scores, kept, setting = inputs
        _keep(ctx, (kernel, values, setting), (scores, kept), weights)

    @staticmethod
    def backward(ctx: Any, along: Tensor, setting_along: Tensor | None) -> tuple[Tensor | None, ...]:
        weights, values, setting = _kept_of_gradient(ctx)
        of_weights, of_values, of_setting = _second(ctx.kernel, weights, values, setting, along, setting_along)
        return None, of_weights, of_values, None, None, of_setting

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor | None]:
        weights, values, setting = _kept_of_gradient(ctx)
        _, weights_along, along, _, _, setting_along = tangents
        along = torch.zeros_like(values) if along is None else along
        # The matrix of second derivatives is symmetric: forward is backward.
        _, of_values, of_setting = _second(ctx.kernel, weights, values, setting, along, setting_along)
        if weights_along is not None:
            _, scores, kept, _ = _kept(ctx)
            more = _FusedGradient.apply(ctx.kernel, weights_along, values, scores, kept, setting)
            of_values = of_values + more[0]
            of_setting = None if of_setting is None else of_setting + more[1]
        return of_values, of_setting

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, *tensors: Any) -> Any:
        *others, kept, setting = tensors
        dims = in_dims[1:]
        weights, values, scores = _batched(info, dims[:3], *others)
        if kept.numel():
            (kept,) = _batched(info, dims[3:4], kept)
        (setting,) = _batched(info, dims[4:], setting)
        of_values, of_setting = _FusedGradient.apply(kernel, weights, values, scores, kept, setting)
        return (of_values, of_setting), (0, None if of_setting is None else 0)


def _pull_plainly(
    kernel: Kernel, weights: Tensor, values: Tensor, _scores: Tensor, _kept: Tensor, setting: Setting
) -> tuple[Tensor, Tensor | None]:
    if isinstance(setting, Tensor):
        of_values, of_setting = torch.func.vjp(kernel.plain, values, setting)[1](weights)
        return of_values, of_setting
    (of_values,) = torch.func.vjp(lambda values: kernel.plain(values, setting), values)[1](weights)
    return of_values, None


def _second(
    kernel: Kernel, weights: Tensor, values: Tensor, setting: Setting, along: Tensor, setting_along: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What pulls (along, setting_along) back through the gradient: of weights, values, setting."""

    def gradient(weights: Tensor, values: Tensor, setting: Setting) -> tuple[Tensor, ...]:
        of_values, of_setting = _pull_plainly(kernel, weights, values, values, values, setting)
        return (of_values,) if of_setting is None else (of_values, of_setting)

    if isinstance(setting, Tensor):
        pulled = torch.func.vjp(gradient, weights, values, setting)[1](
            (along, torch.zeros_like(setting) if setting_along is None else setting_along)
        )
        return pulled[0], pulled[1], pulled[2]
    pulled = torch.func.vjp(lambda weights, values: gradient(weights, values, setting), weights, values)[1]((along,))
    return pulled[0], pulled[1], None


def _keep(ctx: Any, inputs: tuple[Kernel, Tensor, Setting], output: tuple[Tensor, Tensor], *more: Tensor) -> None:
    ctx.kernel, values, setting = inputs
    ctx.setting = None if isinstance(setting, Tensor) else setting
    tensors = [values, *output, *more, *([setting] if isinstance(setting, Tensor) else [])]
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _kept(ctx: Any) -> tuple[Tensor, Tensor, Tensor, Setting]:
    values, scores, kept, *more = ctx.saved_tensors
    return values, scores, kept, more[-1] if ctx.setting is None else ctx.setting


def _kept_of_gradient(ctx: Any) -> tuple[Tensor, Tensor, Setting]:
    values, _, _, weights, *more = ctx.saved_tensors
    return weights, values, more[-1] if ctx.setting is None else ctx.setting


def _batched(info: Any, dims: Any, *tensors: Any) -> list[Any]:
    """Each tensor with the batch in front, repeated where it has none; floats as they are."""
    return [
        tensor
        if not isinstance(tensor, Tensor)
        else tensor.unsqueeze(0).expand(info.batch_size, *tensor.shape)
        if dim is None
        else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]
