"""Gradient checkpointing: a backbone in parts whose activations are recomputed in the backward pass."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from wsl.errors import UserError
from wsl.models.backbone import Backbone, evaluating, zeros

Forward = Callable[..., Any]


class Checkpointing:
    """Gradient checkpointing of a backbone: only the inputs of its parts are kept for the backward pass.

    A network that can be traced is cut at single tensors, into parts of about equal memory; their number minimises the
    peak memory. The parts of any other network are its blocks. Both runs of a part draw the same random numbers, and
    batch norm counts each batch once. Weights and statistics therefore equal those of a training without checkpointing,
    bit for bit if the operations are deterministic.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.

    Raises:
        UserError: the backbone has no parts to recompute.

    >>> from wsl.models import create_backbone
    >>> backbone = create_backbone("resnet18", "none")
    >>> with Checkpointing(backbone).applied():
    ...     backbone(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 512, 2, 2])
    """

    def __init__(self, backbone: Backbone) -> None:
        net = backbone.net
        self._norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
        blocks = [] if isinstance(net, fx.GraphModule) else find_blocks(net)
        parts = blocks or _parts(net, backbone)
        if not blocks and len(parts) < 2:
            name = backbone.name or type(net).__name__
            raise UserError(f"--checkpointing: {name} has no parts to recompute; leave the flag out")
        self.parts = len(parts)
        """Number of parts that are recomputed."""
        forwards = [self._again(part.forward) for part in parts]
        self._forwards = list(zip(blocks, forwards, strict=True)) if blocks else [(net, _chained(forwards))]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Run the backbone in parts inside the context; afterwards it is restored."""
        try:
            for module, forward in self._forwards:
                module.forward = forward
            yield
        finally:
            for module, _ in self._forwards:
                module.__dict__.pop("forward", None)

    def _again(self, forward: Forward) -> Forward:
        def run(*args: Any, **kwargs: Any) -> Any:
            contexts = (contextlib.nullcontext(), _uncounted(self._norms))
            return checkpoint(forward, *args, use_reentrant=False, context_fn=lambda: contexts, **kwargs)

        return run


def _chained(forwards: Sequence[Forward]) -> Forward:
    """The composition of the functions, called in order."""

    def run(images: Any) -> Any:
        for forward in forwards:
            images = forward(images)
        return images

    return run


@contextlib.contextmanager
def _uncounted(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Batch norm that normalises by the batch without updating its running statistics."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def find_blocks(net: nn.Module) -> list[nn.Module]:
    """The blocks of a network: the members of the innermost sequences whose members all have submodules.

    >>> block = lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    >>> stage = lambda: nn.Sequential(block(), block())
    >>> len(find_blocks(nn.Sequential(stage(), stage())))
    4
    """
    if _holds_blocks(net):
        return [
            block
            for child in net.children()
            for block in (find_blocks(child) if any(map(_holds_blocks, child.modules())) else [child])
        ]
    return [block for child in net.children() for block in find_blocks(child)]


def _holds_blocks(module: nn.Module) -> bool:
    members = list(module.children())
    sequence = isinstance(module, (nn.Sequential, nn.ModuleList)) and len(members) > 1
    return sequence and all(any(True for _ in member.children()) for member in members)


def _parts(net: nn.Module, backbone: Backbone) -> list[fx.GraphModule]:
    """A network as a chain of graph modules that share its submodules; empty if it cannot be traced."""
    try:
        traced = net if isinstance(net, fx.GraphModule) else fx.GraphModule(net, fx.Tracer().trace(net))
    except Exception:  # traced code may raise anything
        return []
    graph = fx.Graph()  # a copy, because a run leaves metadata on the nodes
    graph.output(graph.graph_copy(traced.graph, {}))
    sized = fx.GraphModule(traced, graph)
    with evaluating(traced), torch.no_grad():
        ShapeProp(sized).propagate(zeros(traced, (backbone.side, backbone.side)))
    nodes = [node for node in sized.graph.nodes if node.op != "output"]
    (output,) = (node for node in sized.graph.nodes if node.op == "output")
    return [_part(traced, part, output) for part in _cut_up(nodes, dict(traced.named_modules()))]


def _cut_up(nodes: Sequence[fx.Node], modules: dict[str, nn.Module]) -> list[list[fx.Node]]:
    """Nodes in the consecutive parts with the least peak memory; each part reads a single tensor of the one before."""
    place = {node: number for number, node in enumerate(nodes)}
    last = {node: max((place.get(user, len(nodes)) for user in node.users), default=-1) for node in nodes}
    alive: set[fx.Node] = set()
    ends: list[int] = []
    for number, node in enumerate(nodes[:-1]):
        alive = {one for one in (*alive, node) if last[one] > number}
        if node.op != "placeholder" and len(alive) == 1:
            (one,) = alive
            if not any(_in_place(user, one, modules) for user in one.users):
                ends.append(number)
    whole = sum(map(_numbers, nodes))
    choices = [_filled(nodes, ends, whole / parts) for parts in range(1, len(ends) + 2)]
    return min(choices, key=_held)


def _filled(nodes: Sequence[fx.Node], ends: Collection[int], budget: float) -> list[list[fx.Node]]:
    """Parts that end at the first allowed position where they hold `budget` numbers."""
    parts, part = [], []
    for number, node in enumerate(nodes):
        part.append(node)
        if number in ends and sum(map(_numbers, part)) >= budget:
            parts.append(part)
            part = []
    return [*parts, part]


def _held(parts: Sequence[Sequence[fx.Node]]) -> int:
    """The peak of numbers held at a time: the tensors between parts, and the largest part."""
    return sum(_numbers(part[-1]) for part in parts[:-1]) + max(sum(map(_numbers, part)) for part in parts)


def _numbers(node: fx.Node) -> int:
    """The number of elements in a node's output."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", ())
    return math.prod(shape) if shape else 0


def _in_place(user: fx.Node, value: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node modifies its input in place."""
    if not user.args or user.args[0] is not value:
        return False
    if user.op == "call_module":
        return bool(getattr(modules[str(user.target)], "inplace", False))
    name = user.target if isinstance(user.target, str) else getattr(user.target, "__name__", "")
    return bool(user.kwargs.get("inplace")) or name.endswith("_") or name in ("iadd", "isub", "imul", "itruediv")


def _part(net: nn.Module, nodes: Sequence[fx.Node], output: fx.Node) -> fx.GraphModule:
    """The graph module of some nodes, with their external inputs and the output that other nodes read."""
    graph, own = fx.Graph(), set(nodes)
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        for source in node.all_input_nodes:
            if source not in copies and source not in own:
                copies[source] = graph.placeholder(source.name)
        copies[node] = graph.node_copy(node, lambda one: copies[one])
    given = next((node for node in nodes if any(user not in own and user is not output for user in node.users)), None)
    if given is None:
        graph.output(fx.map_arg(output.args[0], lambda one: copies[one]))
    else:
        graph.output(copies[given])
    return fx.GraphModule(net, graph)
