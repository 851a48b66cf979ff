"""Rules for the effect of operations on positions: windows, moves, products, and elementwise combinations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from wsl.models.positions import Line, Positions, drawn, line, plane, varies

# Operations that only move the values of their arguments. The same operation is applied to coordinates.
_MOVES = {
    "alias",
    "cat",
    "channel_shuffle",
    "clone",
    "detach",
    "expand",
    "flip",
    "index",
    "index_select",
    "lift_fresh",
    "native_channel_shuffle",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "roll",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "unbind",
    "unfold",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
    "unsqueeze",
}
_VIEWS = {"view", "_unsafe_view", "_reshape_alias", "reshape"}
_REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "logsumexp", "nansum", "var", "std"}
_PADS = {"constant_pad_nd", "reflection_pad2d", "replication_pad2d"}
_PRODUCTS = {"mm": 0, "bmm": 0, "matmul": 0, "addmm": 1, "baddbmm": 1, "addbmm": 1}
# Operations that reorder or choose values by their content: positions are unknown afterwards.
_UNKNOWN = {"gather", "scatter", "sort", "topk", "argsort", "grid_sampler_2d", "cumsum", "col2im", "take", "as_strided"}

Read = Callable[[torch.Tensor], Positions | None]


def place_results(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[torch.Tensor], read: Read
) -> Sequence[Positions | None]:
    """The positions of each result of an operation."""
    name = func.overloadpacket.__name__.rstrip("_")
    unknown: list[Positions | None] = [None] * len(results)
    if name in _UNKNOWN:
        return unknown
    if name in _MOVES:
        moved = [pytree.tree_leaves(func(*_coordinates(args, read, axis), **kwargs)) for axis in (0, 1)]
        return [Positions(y, x) for y, x in zip(*moved, strict=True)]
    source = read(args[0]) if args and isinstance(args[0], torch.Tensor) else None
    shape = results[0].shape
    placed: Positions | None
    if name in _VIEWS:
        placed = source and source.map(lambda one: one.reshape(shape))
    elif name in _PADS:
        placed = source and _one_by_one(_pad, source, shape, list(args[1]))
    elif name in _WINDOWS:
        placed = source and _one_by_one(slide, source, shape, *_WINDOWS[name](func, args, kwargs))
    elif name.startswith(("upsample_", "_upsample_")):
        placed = source and _resize(source, shape, name, args)
    elif name in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
        placed = source and _adapt(source, shape)
    elif name in _REDUCTIONS and len(args) > 1 and source and not isinstance(args[1], torch.Tensor):
        axes = [args[1]] if isinstance(args[1], int) else list(args[1])
        placed = source.map(lambda one: _averaged(one, axes).reshape(shape))
    elif name in _PRODUCTS:
        one, other = args[_PRODUCTS[name] : _PRODUCTS[name] + 2]
        placed = _multiply(read(one), read(other), shape)
    elif "scaled_dot_product" in name:
        placed = source and source.map(lambda one: one[..., :1].expand(shape))
    else:
        tensors = [leaf for leaf in pytree.arg_tree_leaves(*args, **kwargs) if isinstance(leaf, torch.Tensor)]
        known = [found for tensor in tensors if (found := read(tensor)) is not None]
        return [_combine(known, result.shape) for result in results]
    return [placed, *unknown[1:]]


def _coordinates(args: tuple[Any, ...], read: Read, axis: int) -> tuple[Any, ...]:
    """The arguments with tensors replaced by their coordinates, or by NaN if they have none."""

    def one(tensor: torch.Tensor) -> torch.Tensor:
        found = read(tensor)
        if found is not None:
            return found[axis]
        if not tensor.is_floating_point():
            return tensor  # an index
        return torch.full((1,) * tensor.ndim, float("nan"), device=tensor.device).expand(tensor.shape)

    changed: tuple[Any, ...] = pytree.tree_map_only(torch.Tensor, one, args)
    return changed


def _one_by_one(
    change: Callable[..., Positions | None], source: Positions, shape: Sequence[int], *settings: Any
) -> Positions | None:
    """Apply a change to maps (N, C, h, w), one map at a time if they are windows of an image at different places."""
    if source.y.ndim != 4 or len(source.y) == 1 or len(source.y) != shape[0] or not any(varies(s, 0) for s in source):
        return change(source, shape, *settings)
    alone = (1, *shape[1:])
    parts = [change(Positions(y[None], x[None]), alone, *settings) for y, x in zip(*source, strict=True)]
    known = [part for part in parts if part is not None]
    return Positions(*map(torch.cat, zip(*known, strict=True))) if len(known) == len(parts) else None


def slide(
    source: Positions, shape: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any = 1
) -> Positions | None:
    """The centre of each window of a convolution or a pooling."""
    if source.y.ndim != 4:
        return None
    found = plane(source)
    lines = []
    for axis, one in enumerate((line(found.y.T), line(found.x))):
        if one is None:
            return None
        k, s, p, d = (_along(axis, setting) for setting in (kernel, stride, padding, dilation))
        lines.append(Line(one.start + ((k - 1) * d / 2 - p) * one.stride, one.stride * s))
    return drawn(lines, shape, source.y.device)


def _pad(source: Positions, shape: Sequence[int], amounts: list[int]) -> Positions:
    """Extrapolate coordinates to the padding of a map (N, C, h, w); other padding has no position."""
    padded = source.map(lambda one: torch.nn.functional.pad(one, amounts, value=float("nan")))
    if source.y.ndim != 4 or any(amounts[4:]):
        return padded
    found = plane(padded)
    down, across = line(found.y.T), line(found.x)
    return padded if down is None or across is None else drawn((down, across), shape, source.y.device)


def _resize(source: Positions, shape: Sequence[int], name: str, args: tuple[Any, ...]) -> Positions | None:
    if source.y.ndim != 4:
        return None
    found, lines = plane(source), []
    corners = "nearest" not in name and args[2] is True
    for one, before, after in zip((line(found.y.T), line(found.x)), source.y.shape[-2:], shape[-2:], strict=True):
        if one is None or (corners and after < 2):
            return None
        step = one.stride * ((before - 1) / (after - 1) if corners else before / after)
        lines.append(Line(one.start if corners else one.start + (step - one.stride) / 2, step))
    return drawn(lines, shape, source.y.device)


def _adapt(source: Positions, shape: Sequence[int]) -> Positions | None:
    """Windows that divide the map into equal parts."""
    before = source.y.shape[-2:]
    if any(side % cells for side, cells in zip(before, shape[-2:], strict=True)) or max(shape[-2:]) == 1:
        return None
    size = [side // cells for side, cells in zip(before, shape[-2:], strict=True)]
    return slide(source, shape, size, size, 0)


def _averaged(coordinates: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """The centre of the reduced values; NaN if everything is reduced, as in global pooling."""
    mean = coordinates.nanmean(axes, keepdim=True)
    return torch.full_like(mean, float("nan")) if varies(coordinates) and not varies(mean) else mean


def _multiply(one: Positions | None, other: Positions | None, shape: Sequence[int]) -> Positions | None:
    """The positions in a product of matrices: those of the rows of the first, else of the columns of the second.

    Multiplication by weights may merge features of several positions, as when patches are merged; products with
    attention or with other features do not.
    """
    if one is not None and (other is None or not any(varies(part, -1) for part in one)):
        return one.map(lambda part: _averaged(part, [-1]).expand(shape))
    if other is not None and (one is None or not any(varies(part, -2) for part in other)):
        return other.map(lambda part: _averaged(part, [-2]).expand(shape))
    return None


def _combine(known: Sequence[Positions], shape: torch.Size) -> Positions | None:
    """The elementwise mean of several positions; broadcast ones count only if nothing else is known."""
    whole = [one for one in known if one.y.shape == shape]
    if not whole:
        sides = list(zip(known[0].y.shape[::-1], shape[::-1], strict=False))
        fits = known[0].y.ndim <= len(shape) and all(side in (1, wanted) for side, wanted in sides)
        return known[0].map(lambda one: one.expand(shape)) if fits else None
    if all(one is whole[0] for one in whole):
        return whole[0]
    return Positions(*(_mean([one[axis] for one in whole]).expand(shape) for axis in (0, 1)))


def _mean(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    shared = [axis for axis in range(parts[0].ndim) if all(part.stride(axis) == 0 for part in parts)]
    for axis in shared:
        parts = [part.narrow(axis, 0, 1) for part in parts]
    return torch.stack(list(parts)).nanmean(0)


def _along(axis: int, setting: Any) -> int:
    return int(setting if isinstance(setting, int) else setting[axis] if len(setting) > 1 else setting[0])


def _named(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operation's arguments by the names in its schema, without those left at their defaults."""
    return dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs


def _convolution(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    given = _named(func, args, kwargs)
    if given.get("transposed"):
        raise ValueError("windows of a transposed convolution lie on its output")
    weight: torch.Tensor = given["weight"] if "weight" in given else given["W"]  # the latter is oneDNN's
    return weight.shape[2:], given.get("stride", 1), given.get("padding", 0), given.get("dilation", 1)


def _pooling(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    given = _named(func, args, kwargs)
    kernel = given["kernel_size"]
    return kernel, given.get("stride") or kernel, given.get("padding", 0), given.get("dilation", 1)


# Functions that return kernel, stride, padding and dilation of operations with a sliding window.
_WINDOWS = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "conv2d": _convolution,
    "_convolution_pointwise": _convolution,
    "max_pool2d_with_indices": _pooling,
    "max_pool2d": _pooling,
    "avg_pool2d": _pooling,
}
