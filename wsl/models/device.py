"""The device and precision of the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wsl.config import Precision
from wsl.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UserError: the device is not available.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} is not available: expected auto, cpu, cuda, cuda:N or mps") from error
    return device


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of the network; ``auto`` is bfloat16 if the device computes it natively, else float32.

    >>> choose_dtype("fp32", torch.device("cpu"))
    torch.float32
    """
    if precision == "auto":
        return torch.bfloat16 if _computes_bf16(device) else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 on the CPU is slower than fp32: expected bf16, fp32 or auto")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to a dtype: float32, or lower precision in operations for which torch considers it safe.

    >>> with autocast(torch.device("cpu"), torch.bfloat16):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.bfloat16
    """
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


@contextmanager
def repeatable() -> Iterator[None]:
    """Restrict cuDNN to deterministic algorithms, so that the same training gives the same weights.

    >>> with repeatable():
    ...     torch.backends.cudnn.deterministic
    True
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    # Older versions of torch have only this private function.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
