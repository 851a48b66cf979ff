"""The common base of the Triton kernels: one program per row, with the whole row in registers."""

# Triton does not support annotations.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,import-untyped,import-not-found"

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from heads.kernels.function import Kernel

# The largest number of values of a row that the registers of one program hold.
_WIDEST = 16384
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@triton.jit
def load_row(values, n, other, BLOCK: tl.constexpr):
    """The row of this program as float32, a mask of valid places, and their offsets."""
    columns = tl.arange(0, BLOCK)
    inside = columns < n
    places = tl.program_id(0).to(tl.int64) * n + columns
    return tl.load(values + places, mask=inside, other=other).to(tl.float32), inside, places


class TritonRows(Kernel):
    """A pooling of rows, values (..., n) to float32 scores (...).

    A forward pass selects the device of its values; for a backward pass autograd has already done so.
    """

    example: tuple[Any, ...]

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """Rows that fit the registers, in single or half precision, and settings on the same device."""
        return (
            values.dtype in _DTYPES
            and values.shape[-1] <= _WIDEST
            and all(setting.device == values.device for setting in settings if isinstance(setting, Tensor))
        )

    def prepare(self, values: Tensor) -> Tensor:
        """The rows in contiguous memory."""
        return values.contiguous()

    def try_on(self, device: torch.device) -> None:
        """Run both passes on a row."""
        values = torch.ones(1, 16, device=device)
        scores, kept = self.forward(values, *self.example)
        self.backward(scores, values, kept, *self.example)


@functools.cache
def row_shape(n: int) -> dict[str, int]:
    """The block size for a row of n values, and the number of warps: up to 16 values per thread, then up to 32."""
    block = triton.next_power_of_2(n)
    return {"BLOCK": block, "num_warps": max(1, min(16, block // 512))}
