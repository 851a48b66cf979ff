"""Views of a window's places: one strided slice of the padded map for each place in the window."""

import functools
import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heads.downsampling._window import Window

# Below all values that occur, and finite: its exponential is 0, and 0 times it is 0 rather than NaN.
LOWEST = torch.finfo(torch.float32).min / 4


def place_views(maps: Tensor, window: Window, outside: float, padding: float | None = None) -> list[Tensor]:
    """The values at each place of all windows, (N, C, *output_size) each, from the first place to the last.

    ``padding`` is the value of the padding and ``outside`` that of the area added by ``ceil_mode``; without
    ``padding``, ``outside`` is used for both.

    >>> first, second = place_views(torch.arange(4.0).reshape(1, 4), Window.of(1, kernel_size=2), outside=0)
    >>> first, second
    (tensor([[0., 2.]]), tensor([[1., 3.]]))
    """
    sizes = maps.shape[-len(window.kernel) :]
    padded = maps
    if any(window.padding):
        around = [added for added in reversed(window.padding) for _ in range(2)]
        padded = F.pad(padded, around, value=outside if padding is None else padding)
    if window.ceil_mode:
        after = [added for extra in reversed(window.overhang(sizes)) for added in (0, extra)]
        padded = F.pad(padded, after, value=outside)
    places = window.output_size(sizes)
    take = _gathered if torch.compiler.is_exporting() else _sliced
    views = []
    for place in itertools.product(*map(range, window.kernel)):
        starts = [index * step for index, step in zip(place, window.dilation, strict=True)]
        views.append(take(padded, starts, places, window.stride))
    return views


def _sliced(padded: Tensor, starts: list[int], places: list[int], strides: tuple[int, ...]) -> Tensor:
    spans = zip(starts, places, strides, strict=True)
    index: tuple[Any, ...] = (..., *(slice(start, start + (n - 1) * step + 1, step) for start, n, step in spans))
    view: Tensor = padded[index]
    return view


def _gathered(padded: Tensor, starts: list[int], places: list[int], strides: tuple[int, ...]) -> Tensor:
    """The same by index, for exporters, which cannot compare slices and strides with dynamic sizes."""
    for axis, (start, count, step) in enumerate(zip(starts, places, strides, strict=True), -len(starts)):
        padded = padded.index_select(axis, torch.arange(count, device=padded.device) * step + start)
    return padded


def place_counts(maps: Tensor, window: Window, count_include_pad: bool) -> list[Tensor] | None:
    """1 for each place of a window that counts, 0 outside the map; None if all of them count.

    Shape:
        (1, *output_size) each.
    """
    if window.stays_inside():
        return None
    ones = maps.new_ones((1, *maps.shape[-len(window.kernel) :]))
    return place_views(ones, window, outside=0.0, padding=float(count_include_pad))


def mean_of(views: list[Tensor], counts: list[Tensor] | None) -> Tensor:
    """The mean over the places that count.

    >>> mean_of([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 9.0])], counts=None)
    tensor([2.0000, 5.5000])
    """
    if counts is None:
        return functools.reduce(torch.add, views) / len(views)
    total = functools.reduce(torch.add, (view * count for view, count in zip(views, counts, strict=True)))
    return total / functools.reduce(torch.add, counts)


def peak_of(views: list[Tensor]) -> Tensor:
    """The highest value of each window, as a constant: no gradient flows to it."""
    return functools.reduce(torch.maximum, (view.detach() for view in views))
