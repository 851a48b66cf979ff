"""Where in the image the numbers inside a network come from: coordinates that go along with a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose results are some of their arguments' numbers, unchanged. Coordinates go through the same operation.
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
# Same shape, other order, or a choice that depends on the numbers: nothing is known afterwards.
_UNKNOWN = {"gather", "scatter", "sort", "topk", "argsort", "grid_sampler_2d", "cumsum", "col2im", "take", "as_strided"}

# Pixels; less is a rounding error.
_SAME = 1e-2


class Positions(NamedTuple):
    """Coordinates of a tensor's numbers in pixels of the image, along its height and its width.

    Shape:
        That of the tensor; NaN where a number has no place. Axes along which nothing changes are expanded.
    """

    y: torch.Tensor
    x: torch.Tensor

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Positions:
        """The same change of both."""
        return Positions(change(self.y), change(self.x))


class Line(NamedTuple):
    """Coordinates along an axis: the i-th is ``start + i * stride``."""

    start: float
    stride: float


class PositionTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every number of a batch of images through what is computed while the block runs.

    Convolutions and poolings put a number at the middle of its window, padding included. What is copied keeps its
    place, and a combination of several lies at their mean. Of anything else no place is known.

    >>> images = torch.zeros(1, 3, 32, 32)
    >>> with PositionTracer(images) as tracer:
    ...     output = torch.nn.functional.max_pool2d(images, 2).flatten(2)
    >>> tracer.positions(output).x[0, 0, :3].tolist()
    [1.0, 3.0, 5.0]
    """

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        height, width = images.shape[-2:]
        row, column = (torch.arange(side, device=images.device) + 0.5 for side in (height, width))
        self._seen = {_key(images): Positions(row[:, None].expand(images.shape), column.expand(images.shape))}

    def positions(self, tensor: torch.Tensor) -> Positions | None:
        """What is known of a tensor that was computed in the block and still exists."""
        return self._seen.get(_key(tensor))

    def follow_window(
        self, source: torch.Tensor, output: torch.Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any
    ) -> None:
        """Say that an output was computed window by window, where the operations themselves do not show it."""
        positions = self.positions(source)
        self._write(output, positions and _window(positions, output.shape, kernel, stride, padding, dilation))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # where operations arrive that are made of others
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        tensors = [leaf for leaf in pytree.arg_tree_leaves(*args, **kwargs) if isinstance(leaf, torch.Tensor)]
        results = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        known = {_key(t): self._seen.get(_key(t)) for t in tensors}
        placed: Sequence[Positions | None] = [None] * len(results)
        if any(known.values()):
            with contextlib.suppress(RuntimeError, IndexError, TypeError, ValueError):  # used as nobody does
                placed = _place(func, args, kwargs, results, lambda tensor: known.get(_key(tensor)))
        for result, positions in zip(results, placed, strict=True):
            self._write(result, positions)
        return output

    def _write(self, tensor: torch.Tensor, positions: Positions | None) -> None:
        if positions is None:
            self._seen.pop(_key(tensor), None)
        else:
            self._seen[_key(tensor)] = positions


def line(coordinates: torch.Tensor) -> Line | None:
    """The line on which the (..., L) coordinates lie along their last axis; None where they do not.

    Places without coordinates, as padding has, are no hindrance.

    >>> line(torch.tensor([[float("nan"), 1.0, 3.0], [-1.0, 1.0, 3.0]]))
    Line(start=-1.0, stride=2.0)
    """
    rows = compact(coordinates).reshape(-1, coordinates.shape[-1])
    mean = rows.nanmean(0)
    found = (~mean.isnan()).nonzero()[:, 0]
    if len(found) < 2:
        return None
    first, last = int(found[0]), int(found[-1])
    stride = float(mean[last] - mean[first]) / (last - first)
    start = float(mean[first]) - first * stride
    index = torch.arange(len(mean), device=mean.device)
    off = (rows - (start + index * stride)).abs()
    if stride <= 0 or bool((off[~off.isnan()] > 1e-3 * stride).any()):
        return None
    return Line(round(start, 4), round(stride, 4))


def compact(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with axes along which it is expanded cut to one."""
    for axis in range(tensor.ndim - 1):
        if tensor.stride(axis) == 0:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def plane(positions: Positions) -> Positions:
    """Coordinates of maps (N, C, h, w), averaged over channels and images: (h, w)."""
    return positions.map(lambda one: compact(one).nanmean((0, 1)).expand(one.shape[-2:]))


def _key(tensor: torch.Tensor) -> tuple[object, ...]:
    # Not the object: autograd gives the same numbers in another tensor. Who holds the memory of one that is gone
    # writes an entry of its own.
    return tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride()


Read = Callable[[torch.Tensor], Positions | None]


def _place(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[torch.Tensor], read: Read
) -> Sequence[Positions | None]:
    """Positions of each tensor that an operation gave."""
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
        placed = source and _one_by_one(_window, source, shape, *_WINDOWS[name](func, args, kwargs))
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
    """The arguments with coordinates in the place of the tensors that have them, NaN in those that do not."""

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
    """A change of maps (N, C, h, w), one map at a time where they are windows of an image and lie at other places."""
    if source.y.ndim != 4 or len(source.y) == 1 or len(source.y) != shape[0] or not any(_varies(s, 0) for s in source):
        return change(source, shape, *settings)
    alone = (1, *shape[1:])
    parts = [change(Positions(y[None], x[None]), alone, *settings) for y, x in zip(*source, strict=True)]
    known = [part for part in parts if part is not None]
    return Positions(*map(torch.cat, zip(*known, strict=True))) if len(known) == len(parts) else None


def _window(
    source: Positions, shape: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any = 1
) -> Positions | None:
    """The middle of each window of a convolution or a pooling."""
    if source.y.ndim != 4:
        return None
    found = plane(source)
    lines = []
    for axis, one in enumerate((line(found.y.T), line(found.x))):
        if one is None:
            return None
        k, s, p, d = (_along(axis, setting) for setting in (kernel, stride or kernel, padding, dilation))
        lines.append(Line(one.start + ((k - 1) * d / 2 - p) * one.stride, one.stride * s))
    return _drawn(lines, shape, source.y.device)


def _pad(source: Positions, shape: Sequence[int], amounts: list[int]) -> Positions:
    """Padding goes on as the map does where that is one of (N, C, h, w), and else has no place."""
    padded = source.map(lambda one: torch.nn.functional.pad(one, amounts, value=float("nan")))
    if source.y.ndim != 4 or any(amounts[4:]):
        return padded
    found = plane(padded)
    down, across = line(found.y.T), line(found.x)
    return padded if down is None or across is None else _drawn((down, across), shape, source.y.device)


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
    return _drawn(lines, shape, source.y.device)


def _adapt(source: Positions, shape: Sequence[int]) -> Positions | None:
    """Windows that divide the map into equal parts."""
    before = source.y.shape[-2:]
    if any(side % cells for side, cells in zip(before, shape[-2:], strict=True)) or max(shape[-2:]) == 1:
        return None
    size = [side // cells for side, cells in zip(before, shape[-2:], strict=True)]
    return _window(source, shape, size, size, 0)


def _drawn(lines: Sequence[Line], shape: Sequence[int], device: torch.device) -> Positions:
    down, across = (
        one.start + one.stride * torch.arange(side, device=device) for one, side in zip(lines, shape[-2:], strict=True)
    )
    return Positions(down[:, None].expand(*shape), across.expand(*shape))


def _averaged(coordinates: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """The middle of what is reduced; nothing where it is all there was, as in global pooling."""
    mean = coordinates.nanmean(axes, keepdim=True)
    return torch.full_like(mean, float("nan")) if _varies(coordinates) and not _varies(mean) else mean


def _multiply(one: Positions | None, other: Positions | None, shape: Sequence[int]) -> Positions | None:
    """Of a product of matrices: the places of the rows of the first, else of the columns of the second.

    Features of several places become one where weights multiply them, as where patches are merged; products with
    attention or with other features do not.
    """
    if one is not None and (other is None or not any(_varies(part, -1) for part in one)):
        return one.map(lambda part: _averaged(part, [-1]).expand(shape))
    if other is not None and (one is None or not any(_varies(part, -2) for part in other)):
        return other.map(lambda part: _averaged(part, [-2]).expand(shape))
    return None


def _combine(known: Sequence[Positions], shape: torch.Size) -> Positions | None:
    """The mean of several, number by number; what was broadcast counts only where nothing else is known."""
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


def _varies(tensor: torch.Tensor, axis: int | None = None) -> bool:
    """Whether coordinates differ, along one axis or at all."""
    if axis is not None and tensor.stride(axis) == 0:
        return False
    low, high = (tensor.nan_to_num(nan=fill) for fill in (torch.inf, -torch.inf))
    if axis is None:
        return bool(high.max() > low.min() + _SAME)
    return bool((high.amax(axis) > low.amin(axis) + _SAME).any())


def _along(axis: int, setting: Any) -> int:
    return int(setting if isinstance(setting, int) else setting[axis] if len(setting) > 1 else setting[0])


def _convolution(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    if func.overloadpacket.__name__ == "_convolution_pointwise":
        _, weight, _, padding, stride, dilation = args[:6]
        transposed = False
    else:
        _, weight, _, stride, padding, dilation, transposed = args[:7]
    if transposed:
        raise ValueError("windows of a transposed convolution lie on its output")
    return weight.shape[2:], stride, padding, dilation


def _pooling(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """kernel, stride, padding and dilation, as torch's schema orders them."""
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    return (given["kernel_size"], given.get("stride"), given.get("padding", 0), given.get("dilation", 1))


_WINDOWS = {
    "convolution": _convolution,
    "_convolution_pointwise": _convolution,
    "max_pool2d_with_indices": _pooling,
    "max_pool2d": _pooling,
    "avg_pool2d": _pooling,
    "lp_pool2d": _pooling,
}
