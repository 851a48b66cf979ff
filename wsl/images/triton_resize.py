"""Resizing and normalisation of images of different sizes, by one Triton program per block of output pixels."""

# Triton does not support annotations.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,import-untyped,import-not-found"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

_BLOCK = 256


@triton.jit
def _weight(place, pixel, ratio, size):
    """The weight of an input pixel in an output pixel: its share of the area, or bilinear if the side grows."""
    covered = tl.minimum(pixel + 1.0, (place + 1.0) * ratio) - tl.maximum(pixel * 1.0, place * ratio)
    centre = tl.minimum(tl.maximum((place + 0.5) * ratio - 0.5, 0.0), size - 1.0)
    weight = tl.where(ratio >= 1.0, covered / ratio, 1.0 - tl.abs(centre - pixel))
    return tl.where(pixel < size, tl.maximum(weight, 0.0), 0.0)


@triton.jit
def _first(place, ratio, size):
    """The first input pixel with a weight in an output pixel."""
    centre = tl.minimum(tl.maximum((place + 0.5) * ratio - 0.5, 0.0), size - 1.0)
    return tl.where(ratio >= 1.0, place * ratio, centre).to(tl.int32)


@triton.jit
def _resize(addresses, sizes, mean, std, out, side, SIDE_BLOCK: tl.constexpr):
    image = tl.program_id(0)
    places = tl.program_id(1) * SIDE_BLOCK + tl.arange(0, SIDE_BLOCK)
    inside = places < side * side
    y, x = (places // side).to(tl.float32), (places % side).to(tl.float32)
    height, width = tl.load(sizes + 2 * image), tl.load(sizes + 2 * image + 1)
    high, wide = height.to(tl.float32), width.to(tl.float32)
    tall, broad = high / side, wide / side
    top, left = _first(y, tall, high), _first(x, broad, wide)
    rows = tl.where(tall >= 1.0, tl.ceil(tall) + 1, 2.0).to(tl.int32)
    columns = tl.where(broad >= 1.0, tl.ceil(broad) + 1, 2.0).to(tl.int32)
    pixels = tl.load(addresses + image).to(tl.pointer_type(tl.uint8))
    plane = height * width
    red = tl.zeros((SIDE_BLOCK,), tl.float32)
    green = tl.zeros((SIDE_BLOCK,), tl.float32)
    blue = tl.zeros((SIDE_BLOCK,), tl.float32)
    for i in range(rows):
        row = top + i
        down = _weight(y, row, tall, high)
        for j in range(columns):
            column = left + j
            weight = down * _weight(x, column, broad, wide)
            there = inside & (row < height) & (column < width)
            offset = row * width + column
            red += weight * tl.load(pixels + offset, mask=there, other=0).to(tl.float32)
            green += weight * tl.load(pixels + plane + offset, mask=there, other=0).to(tl.float32)
            blue += weight * tl.load(pixels + 2 * plane + offset, mask=there, other=0).to(tl.float32)
    target = out + (image.to(tl.int64) * side * side + places) * 3
    # Rounded to integer levels, as in an 8-bit image.
    tl.store(target, (tl.floor(red + 0.5) - tl.load(mean)) / tl.load(std), mask=inside)
    tl.store(target + 1, (tl.floor(green + 0.5) - tl.load(mean + 1)) / tl.load(std + 1), mask=inside)
    tl.store(target + 2, (tl.floor(blue + 0.5) - tl.load(mean + 2)) / tl.load(std + 2), mask=inside)


def resize_and_normalise(
    planes: Sequence[torch.Tensor], side: int, mean: torch.Tensor, std: torch.Tensor
) -> torch.Tensor:
    """As `wsl.images.cuda.resize_planes` followed by normalisation; `mean` and `std` (3,) are in levels of 255.

    The planes must stay in memory until the device has finished.

    Shape:
        (3, H, W) uint8 each to (N, 3, side, side) float32 in the channels-last memory format.
    """
    device = planes[0].device
    # One transfer for addresses and sizes, from pinned memory.
    places = [p.data_ptr() for p in planes], [p.shape[1] | (p.shape[2] << 32) for p in planes]
    table = torch.tensor(places, dtype=torch.int64)
    if device.type == "cuda":
        table = table.pin_memory().to(device, non_blocking=True)
    addresses, sizes = table[0], table[1].view(torch.int32)
    out = torch.empty((len(planes), side, side, 3), dtype=torch.float32, device=device)
    grid = (len(planes), triton.cdiv(side * side, _BLOCK))
    _resize[grid](addresses, sizes, mean, std, out, side, SIDE_BLOCK=_BLOCK)
    return out.permute(0, 3, 1, 2)
