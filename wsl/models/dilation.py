"""Finer maps from the same weights: strides late in a backbone become dilations (à trous)."""

from __future__ import annotations

from torch import fx, nn

from heads.downsampling import Downsampling
from wsl.errors import UserError

_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, Downsampling)


def dilate(net: fx.GraphModule, output_stride: int, name: str) -> tuple[str, ...]:
    """Lower the stride of a cut network (a traced graph) in place, without changing its values at the old positions.

    A layer that would raise the stride above `output_stride` gets stride 1, and each later k x k layer is dilated by
    the factor that was saved, so that ``dilated(x)[..., ::2, ::2]`` equals ``original(x)`` (Holschneider et al. 1989;
    DeepLab, Chen et al. 2015), unless a layer in between pools the whole map. Returns the layers that no longer shrink
    the map, the first of each stage.

    Raises:
        UserError: a layer cannot be dilated (an even kernel, an average).
    """
    modules = dict(net.named_modules())
    strides: dict[fx.Node, int] = {}
    done: set[int] = set()
    stages: dict[int, str] = {}
    for node in net.graph.nodes:
        stride = max((strides[source] for source in node.all_input_nodes), default=1)
        strides[node] = stride
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(module, _WINDOWED):
            continue
        strides[node] = stride * _side(module.stride)
        if strides[node] > max(stride, output_stride):
            stages.setdefault(stride, str(node.target))
        if id(module) not in done:
            done.add(id(module))
            _dilate_layer(module, stride, output_stride, f"output stride {output_stride} of {name}: {node.target}")
    return tuple(stages.values())


def _dilate_layer(
    module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | Downsampling, stride: int, output_stride: int, where: str
) -> None:
    """Dilate one layer whose input has `stride` in the original network."""
    own = _side(module.stride)
    rate = max(1, stride // output_stride)
    if own > 1 and stride * own > output_stride:
        if stride < output_stride:
            raise UserError(f"{where} has stride {own}: expected an output stride that its strides can reach")
        if _side(module.kernel_size) % 2 == 0:
            raise UserError(f"{where} has an even kernel and cannot keep its place: take another backbone")
        module.stride = (1, 1)
    size = _side(module.kernel_size)
    if rate > 1 and size > 1:
        if isinstance(module, nn.AvgPool2d) or size % 2 == 0:
            raise UserError(f"{where} ({type(module).__name__}) cannot be dilated: take another backbone")
        dilation, padding = _side(module.dilation) * rate, _side(module.padding) * rate
        module.dilation, module.padding = (dilation, dilation), (padding, padding)
        if isinstance(module, nn.Conv2d):
            # Only padding modes other than zeros read this; it must stay consistent for them.
            module._reversed_padding_repeated_twice = [padding] * 4


def _side(value: object) -> int:
    """The side of a square setting."""
    return max(value) if isinstance(value, tuple) else int(str(value))
