"""Faster implementations of the poolings' plain expressions, behind one dispatch.

A pooling calls ``dispatch(name, plain, values, *settings)``. The result is that of ``plain(values, *settings)``, which
is the definition and the reference. If a kernel of that name suits the device, dtype and size of the values, it
computes the same result: on the CPU in loops over blocks that stay in the cache (``cpu_*.py``), on CUDA in Triton
(``triton_*.py``, imported on first use). Compilers, exporters, function transforms, forward-mode and second derivatives
use the plain expression. Without this package the poolings give the same results, only slower: `dispatch` could be
``return plain(values, *settings)``.
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from heads.kernels.cpu_draw import Draw
from heads.kernels.cpu_rows import LSE, PowerMean, SoftPool
from heads.kernels.cpu_selection import SelectedMean
from heads.kernels.cpu_softpool import WindowSoftPool
from heads.kernels.function import Kernel, apply

_CPU: Mapping[str, Kernel] = {
    "lse": LSE(),
    "power_mean": PowerMean(),
    "selected_mean": SelectedMean(),
    "softpool": SoftPool(),
    "window_draw": Draw(),
    "window_softpool": WindowSoftPool(),
}


def dispatch(name: str, plain: Callable[..., Tensor], values: Tensor, *settings: Any) -> Tensor:
    """``plain(values, *settings)``, computed by the kernel of this name if one applies.

    >>> dispatch("lse", lambda values, beta: values.sum(-1), torch.ones(2, 3), 1.0)  # too few values for a kernel
    tensor([3., 3.])
    """
    kernel = find(name, values, *settings)
    return plain(values, *settings) if kernel is None else apply(kernel, plain, values, *settings)


def find(name: str, values: Tensor, *settings: Any) -> Kernel | None:
    """The kernel of this name for these values; None if the plain expression is to be used.

    >>> find("lse", torch.ones(2, 3), 1.0) is None
    True
    """
    if is_transformed(values, *settings) or values.numel() == 0:
        return None
    kernel: Kernel | None = None
    if values.device.type == "cpu":
        kernel = _CPU.get(name)
    elif values.device.type == "cuda":
        kernel = _triton_kernel(name, values.device)
    return kernel if kernel is not None and kernel.takes(values, *settings) else None


def is_transformed(*inputs: Any) -> bool:
    """Whether a compiler, an exporter, a function transform or forward-mode differentiation traces the computation.

    >>> is_transformed(torch.ones(3)), torch.func.vmap(lambda x: x + is_transformed(x))(torch.zeros(2)).tolist()
    (False, [1.0, 1.0])
    """
    return (
        torch.compiler.is_compiling()
        # These two have no public equivalent; torch.autograd.Function uses the second.
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or any(type(each) not in (Tensor, torch.nn.Parameter) for each in inputs if isinstance(each, Tensor))
        # Querying each tensor for its tangent takes as long as a kernel; this tells whether there can be any.
        or (
            forward_ad._current_level >= 0
            and any(
                forward_ad.unpack_dual(each).tangent is not None  # type: ignore[no-untyped-call]
                for each in inputs
                if isinstance(each, Tensor)
            )
        )
    )


@functools.cache
def _triton_kernels() -> Mapping[str, Kernel]:
    try:
        from heads.kernels import triton_rows, triton_selection, triton_windows
    except ImportError:  # builds for Windows, macOS and the CPU come without Triton
        return {}
    return {
        "lse": triton_rows.LSE(),
        "power_mean": triton_rows.PowerMean(),
        "selected_mean": triton_selection.SelectedMean(),
        "softpool": triton_rows.SoftPool(),
        "window_softpool": triton_windows.WindowSoftPool(),
    }


@functools.cache
def _triton_kernel(name: str, device: torch.device) -> Kernel | None:
    """The Triton kernel of this name, if it compiles and runs on the device."""
    kernel = _triton_kernels().get(name)
    if kernel is None:
        return None
    try:
        with torch.cuda.device(device):
            kernel.try_on(device)
    except Exception as error:  # whatever prevents Triton from compiling, such as a missing C compiler
        warnings.warn(f"the Triton kernel {name} does not run on {device}, the plain form does: {error}", stacklevel=4)
        return None
    return kernel


def working_triton_kernels(device: torch.device | str) -> list[str]:
    """The names of the Triton kernels that compile and run on a device, with a warning for each that does not.

    >>> working_triton_kernels("cpu")
    []
    """
    device = torch.device(device)
    return [name for name in _triton_kernels() if _triton_kernel(name, device)] if device.type == "cuda" else []
