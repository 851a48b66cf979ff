"""Maps and the image on the grid that a refinement works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.resampling import average, interpolate, shrunk


class Working(NamedTuple):
    """Maps and their image on one grid, in float32.

    ``values`` are relative to each map's lowest value, so that a constant map is exactly 0, and stays constant when
    ``lowest`` is added back. ``span`` is each map's range.

    Shape:
        ``values`` (N, J, h, w), ``lowest`` and ``span`` (N, J, 1, 1), ``guide`` (N, 3, h, w).
    """

    values: Tensor
    lowest: Tensor
    span: Tensor
    guide: Tensor


def on_working_grid(maps: Tensor, image: Tensor | None, cells: int) -> Working:
    """Maps resampled bilinearly, and the image averaged, to a grid of the image's shape.

    Call it without gradients and outside of autocast.

    Shape:
        ``maps`` (N, J, h, w) and ``image`` (N, 3, H, W) cover exactly the images. The grid is that of the image's
        pixels, reduced to ``cells`` on the longer side if it is larger.

    Raises:
        UserError: there is no image, a tensor has another shape, or ``cells`` is less than 1.

    >>> on_working_grid(torch.ones(1, 2, 3, 4), torch.ones(1, 3, 30, 40), 16).values.shape
    torch.Size([1, 2, 12, 16])
    """
    check_maps(maps)
    if cells < 1:
        raise UserError(f"cells is {cells}, expected 1 or more on the longer side of the grid")
    if image is None:
        raise UserError("no image, expected one: this refinement reads it")
    if image.ndim != 4 or image.shape[:2] != (len(maps), 3) or 0 in image.shape[2:]:
        raise UserError(f"the image has shape {tuple(image.shape)}, expected ({len(maps)}, 3, H, W)")
    size = shrunk(image.shape[2], image.shape[3], cells)
    guide = resized(image.to(torch.float32, memory_format=torch.contiguous_format), size, area=True)
    values = maps.to(torch.float32, memory_format=torch.contiguous_format)
    lowest = values.amin((2, 3), keepdim=True)
    span = values.amax((2, 3), keepdim=True) - lowest
    return Working(resized(values - lowest, size), lowest, span, guide)


def check_maps(maps: Tensor) -> None:
    """Refuse maps whose shape is not (N, J, h, w), or which have no cell.

    Raises:
        UserError: the shape is another one.
    """
    if maps.ndim != 4 or 0 in maps.shape[2:]:
        raise UserError(f"maps have shape {tuple(maps.shape)}, expected (N, J, h, w) with at least one cell")


def resized(images: Tensor, size: Sequence[int], *, area: bool = False) -> Tensor:
    """Images (N, C, h, w) resampled to (height, width) as in OpenCV: by area averages, or else bilinearly.

    >>> resized(torch.tensor([[[[0.0, 4.0]]]]), (1, 4)).tolist()
    [[[[0.0, 1.0, 3.0, 4.0]]]]
    """
    rows, columns = (
        (average(old, new) if area else interpolate(old, 0, old, new)).on(images.device)
        for old, new in zip(images.shape[2:], size, strict=True)
    )
    return rows @ (images @ columns.T)
