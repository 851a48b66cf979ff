"""Positions in the image of the cells of a feature map."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

from heads.downsampling import Downsampling
from wsl.cam.layouts import Kind, Layout, find_layout, to_map
from wsl.models.position_tracer import PositionTracer
from wsl.models.positions import Positions, line, plane


class Grid(NamedTuple):
    """Centres of the receptive fields of a map's cells, in pixels of the network's input: ``start + i * stride``.

    Resizing a map as if its cells were equal parts of the image places them at ``stride / 2 + i * stride``. In networks
    with padded odd kernels (ResNet, MobileNet, …) they are at ``0.5 + i * stride`` instead, almost half a cell further
    left and up. With patches, or even kernels without padding (ViT, ConvNeXt, VGG), they coincide with equal parts.
    """

    stride: float
    start: float


class Placement(NamedTuple):
    """How a layer's output is read as a map, and where the cells of the map lie.

    Without a layout there is no map. Without a grid, the cells are treated as equal parts of the image.
    """

    layout: Layout | None
    grid: Grid | None


def trace(net: nn.Module, images: torch.Tensor, layers: Iterable[str], *, call: Any = None) -> dict[str, Placement]:
    """Layouts and grids of the outputs of named layers, for images of this size, by one forward pass without gradients.

    If a layer runs several times, the last run counts; if it gives several tensors, the first. A layer that does not
    run is left out. `call` runs the network on the images if ``net(images)`` does not.

    Shape:
        `images` is (N, 3, H, W); one image is enough.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1))
    >>> trace(net, torch.zeros(1, 3, 32, 32), ["0", "1"])["1"].grid
    Grid(stride=4.0, start=0.5)
    """
    found: dict[str, Placement] = {}
    with torch.inference_mode(False):
        images = images.clone()  # for tensors of inference mode, other operations would be dispatched
    tracer = PositionTracer(images)

    def see(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        if tensors:
            found[name] = place(tracer, tensors[0], images)

    with ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, Downsampling):
                stack.callback(module.register_forward_hook(partial(follow, tracer)).remove)
        for name in layers:
            hook = net.get_submodule(name).register_forward_hook(partial(see, name))
            stack.callback(hook.remove)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(tracer)
        (call or net)(images)
    return found


def follow(tracer: PositionTracer, layer: Downsampling, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    """A forward hook for the poolings of `heads.downsampling`, whose kernels hide the operations from the tracer."""
    tracer.follow_window(inputs[0], output, layer.kernel_size, layer.stride, layer.padding, layer.dilation)


def place(tracer: PositionTracer, tensor: torch.Tensor, images: torch.Tensor) -> Placement:
    """The layout and grid of a tensor that was computed from the images under the tracer."""
    if tensor.ndim == 0 or len(tensor) != len(images):
        return Placement(None, None)  # parts of images, such as windows
    positions = tracer.positions(tensor)
    layout = None if positions is None else _layout(positions)
    if positions is None or layout is None:
        return Placement(find_layout(tensor.shape, (images.shape[-2], images.shape[-1])), None)
    return Placement(layout, _grid(plane(positions.map(partial(to_map, layout=layout)))))


def _layout(positions: Positions) -> Layout | None:
    """The axes along which the coordinates change."""
    if positions.y.ndim == 4:
        down, across = (_longest(one) for one in positions)
        kinds: dict[tuple[int, int], Kind] = {(2, 3): "nchw", (1, 2): "nhwc"}
        shape = positions.y.shape
        kind = kinds.get((down, across))
        return Layout(kind, (shape[down], shape[across])) if kind else None
    if positions.y.ndim != 3:
        return None
    y, x = (one[0].nanmean(1) for one in positions)
    known = ~(y.isnan() | x.isnan())
    if not known.any():
        return None
    prefix = int(known.nonzero()[0])
    width = int((y[prefix:] == y[prefix]).sum())
    count = len(y) - prefix
    return Layout("tokens", (count // width, width), prefix) if count % width == 0 and count > width else None


def _longest(coordinates: torch.Tensor) -> int:
    """The axis along which the coordinates change most, over all channels; 0 where they do not change."""
    extents = [0.0]
    for axis in range(1, coordinates.ndim):
        if coordinates.stride(axis) == 0:
            extents.append(0.0)
            continue
        high, low = (coordinates.nan_to_num(nan=fill) for fill in (-torch.inf, torch.inf))
        extents.append(float((high.amax(axis) - low.amin(axis)).max()))
    return max(range(len(extents)), key=extents.__getitem__)


def _grid(found: Positions) -> Grid | None:
    down, across = line(found.y.T), line(found.x)
    if down is None or across is None or abs(down.stride - across.stride) > 1e-3 * down.stride:
        return None
    return Grid(across.stride, across.start) if abs(down.start - across.start) <= 1e-3 * down.stride else None
