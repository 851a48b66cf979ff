"""Windowed SoftPool in Triton: one program per tile of windows forward, one per tile of the map backward."""

# Triton does not support annotations.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,import-untyped,import-not-found"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from heads.kernels.cpu_blocks import layout
from heads.kernels.function import Kernel

_TILE = 256


@triton.jit
def _split(index, height, width, inner):
    """Plane, row, column and channel of an index into (planes, height, width, inner)."""
    rest = index // inner
    return rest // width // height, rest // width % height, rest % width, index % inner


@triton.jit
def _load(values, exists, plane, row, column, channel, height, width, inner):
    """Values at places that may be outside the map, where they are -inf, and a mask of those inside."""
    inside = exists & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = ((plane * height + row) * width + column) * inner + channel
    return tl.load(values + place, mask=inside, other=-float("inf")).to(tl.float32), inside


@triton.jit
def _forward(
    values,
    results,
    peaks,
    totals,
    means,
    count,
    height,
    width,
    out_height,
    out_width,
    inner,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    TILE: tl.constexpr,
):
    index = tl.program_id(0) * TILE + tl.arange(0, TILE)
    exists = index < count
    plane, out_row, out_column, channel = _split(index, out_height, out_width, inner)
    peak = tl.full([TILE], -float("inf"), tl.float32)
    for i in range(KH):
        for j in range(KW):
            row, column = out_row * SH - PH + i * DH, out_column * SW - PW + j * DW
            x, inside = _load(values, exists, plane, row, column, channel, height, width, inner)
            peak = tl.maximum(peak, x)
    total = tl.zeros([TILE], tl.float32)
    lowered = tl.zeros([TILE], tl.float32)
    for i in range(KH):
        for j in range(KW):
            row, column = out_row * SH - PH + i * DH, out_column * SW - PW + j * DW
            x, inside = _load(values, exists, plane, row, column, channel, height, width, inner)
            below = tl.where(inside, x - peak, 0.0)
            power = tl.where(inside, tl.exp(below), 0.0)
            total += power
            lowered += power * below
    mean = lowered / total
    tl.store(results + index, peak + mean, mask=exists)
    tl.store(peaks + index, peak, mask=exists)
    tl.store(totals + index, total, mask=exists)
    tl.store(means + index, mean, mask=exists)


@triton.jit
def _backward(
    values,
    weights,
    peaks,
    totals,
    means,
    of_values,
    count,
    height,
    width,
    out_height,
    out_width,
    inner,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    TILE: tl.constexpr,
):
    index = tl.program_id(0) * TILE + tl.arange(0, TILE)
    exists = index < count
    plane, row, column, channel = _split(index, height, width, inner)
    x = tl.load(values + index, mask=exists, other=0.0).to(tl.float32)
    slope = tl.zeros([TILE], tl.float32)
    for i in range(KH):
        for j in range(KW):
            # The window that has this as its place (i, j), if there is one.
            top, left = row + PH - i * DH, column + PW - j * DW
            out_row, out_column = top // SH, left // SW
            inside = exists & (top >= 0) & (top % SH == 0) & (out_row < out_height)
            inside = inside & (left >= 0) & (left % SW == 0) & (out_column < out_width)
            window = ((plane * out_height + out_row) * out_width + out_column) * inner + channel
            below = x - tl.load(peaks + window, mask=inside, other=0.0)
            share = tl.load(weights + window, mask=inside, other=0.0).to(tl.float32)
            share = share / tl.load(totals + window, mask=inside, other=1.0)
            mean = tl.load(means + window, mask=inside, other=0.0)
            slope += tl.where(inside, share * tl.exp(below) * (1 + below - mean), 0.0)
    tl.store(of_values + index, slope, mask=exists)


class WindowSoftPool(Kernel):
    """SoftPool of windows in one or two dimensions; keeps three numbers per window."""

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """Sequences and maps in single or half precision, with no more values than 32 bits can index."""
        (window,) = settings
        dtypes = (torch.float32, torch.float16, torch.bfloat16)
        return values.dtype in dtypes and len(window.kernel) <= 2 and values.numel() < 1 << 30

    def prepare(self, values: Tensor) -> Tensor:
        """The maps in contiguous memory, with channels first or last."""
        return values.contiguous(memory_format=layout(values, 2))

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The value of each window; keeps its maximum, the sum of its exponentials and the mean below the maximum."""
        (window,) = settings
        dims = len(window.kernel)
        shape = (*values.shape[:-dims], *window.output_size(values.shape[-dims:]))
        kept = tuple(
            torch.empty(shape, dtype=torch.float32, device=values.device, memory_format=layout(values, dims))
            for _ in range(3)
        )
        result = torch.empty_like(kept[0], dtype=values.dtype)
        sizes = _sizes(values, result, dims)
        grid = (triton.cdiv(result.numel(), _TILE),)
        with torch.cuda.device_of(values):
            _forward[grid](values, result, *kept, result.numel(), *sizes, **_arguments(window), TILE=_TILE)
        return result, kept

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """The gradient of the maps, summed over the windows that contain each value."""
        (window,) = settings
        dims = len(window.kernel)
        weights = gradient.contiguous(memory_format=layout(values, dims))
        of_values = torch.empty_like(values)
        sizes = _sizes(values, gradient, dims)
        grid = (triton.cdiv(values.numel(), _TILE),)
        _backward[grid](values, weights, *kept, of_values, values.numel(), *sizes, **_arguments(window), TILE=_TILE)
        return of_values, None

    def try_on(self, device: torch.device) -> None:
        """Run both passes on a map of one window."""
        from heads.downsampling._window import Window

        values, window = torch.ones(1, 1, 2, 2, device=device), Window.of(2, kernel_size=2)
        result, kept = self.forward(values, window)
        self.backward(result, values, kept, window)


def _sizes(maps: Tensor, windows: Tensor, dims: int) -> tuple[int, int, int, int, int]:
    """Height and width of the map and of its windows, and the number of channels that are adjacent in memory."""
    inner = maps.shape[1] if layout(maps, dims) == torch.channels_last else 1
    height, out_height = (maps.shape[-2], windows.shape[-2]) if dims == 2 else (1, 1)
    return height, maps.shape[-1], out_height, windows.shape[-1], inner


def _arguments(window: Any) -> dict[str, int]:
    """The window's numbers by the parameter names of the kernels; a sequence is a map of one row."""
    names = zip("KSPD", window[:4], (1, 1, 0, 1), strict=True)
    return {
        f"{letter}{axis}": size
        for letter, sizes, missing in names
        for axis, size in zip("HW", sizes if len(sizes) == 2 else (missing, *sizes), strict=True)
    }
