"""The graph of a classifier and where to cut it: the feature map before global pooling, and what follows it.

The classifiers of torchvision and most of timm's can be traced by torch.fx, so one walk over the graph works for every
family: from the output back along the single chain of operations to the first spatial pooling.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import fx, nn

from heads.downsampling import Downsampling
from wsl.errors import UserError

_POOL_MODULES = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d)
_POOL_FUNCTIONS = (F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.avg_pool2d)
_TRANSPARENT_MODULES = (nn.Flatten, nn.Dropout, nn.Identity)
_TRANSPARENT_CALLS = ("flatten", "dropout", "squeeze", "view", "reshape", "contiguous")


@dataclass(frozen=True, slots=True)
class Chain:
    """The operations between the last feature map and the output.

    ``features`` is pooled by ``pool``, and ``rest`` follows it, from first to last.
    """

    features: fx.Node
    pool: fx.Node
    rest: tuple[fx.Node, ...]
    modules: dict[str, nn.Module]

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls; None for functions and methods."""
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def describe(self) -> str:
        """The operations on the feature map, by their names in the model's code."""
        parts = []
        for node in (self.pool, *self.significant()):
            module = self.module(node)
            parts.append(f"{_name(node)}()" if module is None else f"{node.target}: {str(module).splitlines()[0]}")
        return " -> ".join(parts)

    @property
    def pools_globally(self) -> bool:
        """Whether the pooling is the mean over all locations, whatever the input's size."""
        module = self.module(self.pool)
        if module is not None:
            return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
        if self.pool.target in _POOL_FUNCTIONS:
            size = self.pool.args[1] if len(self.pool.args) > 1 else self.pool.kwargs.get("output_size")
            return self.pool.target is F.adaptive_avg_pool2d and size in (1, (1, 1), [1, 1])
        return True

    def significant(self) -> list[fx.Node]:
        """The operations after the pooling, without those that do not change values in evaluation."""
        return [node for node in self.rest if not self._is_transparent(node)]

    def _is_transparent(self, node: fx.Node) -> bool:
        module = self.module(node)
        return isinstance(module, _TRANSPARENT_MODULES) if module is not None else _name(node) in _TRANSPARENT_CALLS


@dataclass(frozen=True, slots=True)
class ConvClassifier:
    """A 1x1 convolution that makes the class maps directly before the pooling, as in SqueezeNet."""

    features: fx.Node
    conv: nn.Conv2d
    rectified: bool


def find_chain(model: nn.Module, name: str) -> Chain:
    """Trace a classifier and find its last spatial pooling.

    Raises:
        UserError: the model cannot be traced, or no pooling of a feature map leads to its output.
    """
    graph = _trace(model, name)
    modules = dict(model.named_modules())
    node = next(node for node in graph.nodes if node.op == "output")
    rest: list[fx.Node] = []
    no_map = f"{name} has no feature map that is pooled into its output"
    while True:
        inputs = _signals(node)
        if len(inputs) != 1:
            what = f"{_name(node)}() of {len(inputs)} tensors" if rest else f"{len(inputs)} outputs"
            raise UserError(f"{no_map}: found {what} on the way")
        node = inputs[0]
        if _is_token(node):
            raise UserError(f"{no_map}: found a class token (for a vision transformer take timm/NAME)")
        if node.op == "placeholder":
            raise UserError(f"{no_map}: found no spatial pooling")
        if _is_pool(node, modules):
            return Chain(features=_signals(node)[0], pool=node, rest=tuple(reversed(rest)), modules=modules)
        rest.append(node)


def conv_classifier(chain: Chain) -> ConvClassifier | None:
    """The form (dropout,) conv 1x1(, ReLU), pooling at the end of a classifier; None if it has another form."""
    node = chain.features
    rectified = isinstance(chain.module(node), nn.ReLU)
    if rectified:
        node = _signals(node)[0]
    conv = chain.module(node)
    if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1) or conv.groups != 1:
        return None
    node = _signals(node)[0]
    if isinstance(chain.module(node), nn.Dropout):
        node = _signals(node)[0]
    return ConvClassifier(features=node, conv=conv, rectified=rectified)


def cut(model: nn.Module, node: fx.Node) -> fx.GraphModule:
    """The part of the traced model up to `node`, sharing its parameters under their original names."""
    graph = node.graph
    for output in [n for n in graph.nodes if n.op == "output"]:
        graph.erase_node(output)
    graph.output(node)
    module = fx.GraphModule(model, graph, type(model).__name__)
    graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def trace_layer(model: nn.Module, layer: str) -> fx.GraphModule:
    """The traced network up to the last run of a named layer of any kind.

    Raises:
        UserError: the network cannot be traced, or the layer does not give a single tensor.

    >>> net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Flatten())
    >>> trace_layer(net, "0")(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 4, 6, 6])
    """
    tracer = _Tracer(layer)
    _trace(model, type(model).__name__, tracer)
    if not isinstance(tracer.seen, fx.Node):
        raise UserError(f"layer {layer!r} of {type(model).__name__} does not give a single tensor")
    return cut(model, tracer.seen)


class _Tracer(fx.Tracer):
    """Traces into everything except torch's and our own layers, and layers whose training mode must stay dynamic.

    ``seen`` is the node at the end of the layer named ``layer``.
    """

    def __init__(self, layer: str = "") -> None:
        # torch 2.14 annotates this as a tuple of one module, later releases as one of any number.
        wrapped: Any = (math, torchvision.ops)
        super().__init__(autowrap_modules=wrapped)
        self.layer = layer
        self.seen: Any = None

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if self.layer and self.path_of_module(m) == self.layer:
            self.seen = getattr(output, "node", None)
        return output

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, Downsampling):
            return True
        return type(m).__name__ in ("StochasticDepth", "DropPath") or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module, name: str, tracer: fx.Tracer | None = None) -> fx.Graph:
    was_training = model.training
    try:
        # In evaluation mode, to leave out auxiliary classifiers for training.
        return (tracer or _Tracer()).trace(model.eval())
    except Exception as error:  # torch.fx raises whatever the traced code raises
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise UserError(
            f"{name} cannot be traced ({type(error).__name__}: {reason}): expected a classifier whose forward has no "
            "branches that depend on the data"
        ) from error
    finally:
        model.train(was_training)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _signals(node: fx.Node) -> list[fx.Node]:
    """Inputs that depend on the image's content: neither parameters nor sizes (`x.view(x.size(0), -1)`)."""
    return [
        source
        for source in node.all_input_nodes
        if source.op != "get_attr" and (_is_token(source) or _name(source) not in ("size", "getattr", "getitem"))
    ]


def _is_token(node: fx.Node) -> bool:
    return node.target is operator.getitem and isinstance(node.args[1], tuple)


def _is_pool(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _POOL_MODULES)
    if node.target in _POOL_FUNCTIONS:
        return True
    if node.target not in (torch.mean, "mean"):
        return False
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return isinstance(dims, (list, tuple)) and sorted(dims) in ([2, 3], [-2, -1])
