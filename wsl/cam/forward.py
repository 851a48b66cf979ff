"""A forward pass that keeps activations and their gradients, and can be repeated with changed activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from wsl.cam.differentiable import differentiable, ordinary
from wsl.cam.layouts import Layout, likely_layout, to_map
from wsl.cam.taps import LayerTaps
from wsl.errors import UserError

Score = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Activations:
    """Scores of a batch, and the outputs of some layers, with respect to which the scores can be differentiated.

    Shape:
        ``scores`` is (N, K); each of ``maps`` is (N, C, h, w), in the order of the layers.
    """

    scores: torch.Tensor
    maps: tuple[torch.Tensor, ...]
    images: torch.Tensor
    _network: Network
    _outputs: tuple[torch.Tensor, ...]
    _layouts: tuple[Layout, ...]
    _runs: tuple[int, ...]

    def gradients(self, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The gradients (J, N, C, h, w) of J targets per image, (N, J), with respect to each layer's map.

        Images of a batch are independent, so one backward pass serves one target of every image. All J passes run as
        one if the operations between the layers and the scores can be batched.

        Raises:
            UserError: the scores were computed without a graph.
        """
        if not targets.requires_grad:
            raise UserError(
                "the network computes its scores without gradients (torch.no_grad or detach in its forward): expected "
                "a method that needs none, such as eigencam, scorecam or ablationcam"
            )
        found = _batched(targets, self._outputs) or _one_by_one(targets, self._outputs)
        shape = (targets.shape[1],)
        return tuple(
            to_map(output.new_zeros(shape + output.shape) if gradient is None else gradient, layout)
            for output, layout, gradient in zip(self._outputs, self._layouts, found, strict=True)
        )

    def score_from(self, layer: int = 0) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A function from maps (M, C, h, w) of a layer, of the images ``rows`` (M,), to scores (M, K).

        The layers below are run on one image only, unless later layers also read outputs that bypass this layer.
        """
        network, images = self._network, self.images
        with torch.no_grad():
            again = network.rerun(layer, self._runs[layer], self._outputs[layer].detach(), images[:1])
            alone = again is not None and torch.allclose(again, self.scores, rtol=1e-3, atol=1e-4)

        @torch.no_grad()
        def score(maps: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            output = self._native(maps, rows, layer)
            scores = network.rerun(layer, self._runs[layer], output, images[:1] if alone else images[rows])
            assert scores is not None
            return scores

        return score

    def _native(self, maps: torch.Tensor, rows: torch.Tensor, layer: int) -> torch.Tensor:
        """Maps in the layout of the layer's output, with its own class and register tokens."""
        layout = self._layouts[layer]
        if layout.kind == "nchw":
            return maps
        if layout.kind == "nhwc":
            return maps.movedim(1, -1)
        before = self._outputs[layer].detach()[rows, : layout.prefix]
        return torch.cat([before, maps.flatten(2).mT], 1)


class Network:
    """A network that this object owns, with some of its layers.

    If a layer runs more than once, its last run on which the scores depend is used. `prefix` is the number of class and
    register tokens, if known.

    Raises:
        UserError: the network has no layer of that name.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> found = Network(net.requires_grad_(False), net, ["0"])(torch.randn(2, 3, 8, 8))
    >>> found.maps[0].shape, found.gradients(found.scores)[0].shape
    (torch.Size([2, 4, 6, 6]), torch.Size([2, 2, 4, 6, 6]))
    """

    def __init__(self, net: nn.Module, score: Score, layers: Sequence[str], *, prefix: int | None = None) -> None:
        self.score, self.layers = score, tuple(layers)
        self._taps = LayerTaps(net, layers)
        self._prefix = prefix

    def __call__(self, images: torch.Tensor) -> Activations:
        """Run the network, recording the graph from the lowest of the layers on.

        Raises:
            UserError: a layer did not run, or its output has no spatial extent.
        """
        with differentiable(images.device), self._taps.reading() as seen:
            images = ordinary(images)
            scores = self.score(images)
            runs = tuple(_last_run(seen.get(layer, []), scores) for layer in self.layers)
        outputs = tuple(_output(layer, seen, run) for layer, run in zip(self.layers, runs, strict=True))
        layouts = tuple(self._layout(layer, output, images) for layer, output in zip(self.layers, outputs, strict=True))
        maps = tuple(to_map(output.detach(), layout) for output, layout in zip(outputs, layouts, strict=True))
        return Activations(scores, maps, images, self, outputs, layouts, runs)

    def rerun(self, layer: int, run: int, output: torch.Tensor, images: torch.Tensor) -> torch.Tensor | None:
        """The scores with the output of a layer's run replaced; None if the rest does not accept that batch size."""
        with self._taps.replacing(self.layers[layer], output, run):
            try:
                scores = self.score(images)
            except RuntimeError:
                if len(images) == len(output):
                    raise
                return None
        return scores if len(scores) == len(output) else None

    def _layout(self, layer: str, output: torch.Tensor, images: torch.Tensor) -> Layout:
        height, width = images.shape[-2:]
        shape = output.shape
        layout = likely_layout(shape, (height, width), self._prefix)
        if layout is None or shape[0] != len(images):
            raise UserError(
                f"layer {layer!r} gives {tuple(shape)} for {len(images)} images of {height} x {width}: expected a map "
                "(N, C, h, w) or (N, h, w, C), or tokens (N, T, C)"
            )
        return layout


Gradients = tuple[torch.Tensor | None, ...]
"""The gradients (J, ...) with respect to each output; None for an output on which no target depends."""


def _batched(targets: torch.Tensor, outputs: Sequence[torch.Tensor]) -> Gradients | None:
    """The gradients of J targets (N, J) in one backward pass; None if an operation cannot be batched."""
    count = targets.shape[1]
    if count < 2:
        return None
    each = torch.eye(count, dtype=targets.dtype, device=targets.device)[:, None].expand(-1, len(targets), -1)
    try:
        return torch.autograd.grad(targets, outputs, each, retain_graph=True, allow_unused=True, is_grads_batched=True)
    except RuntimeError:  # a custom autograd function, or too little memory for all at once
        return None


def _one_by_one(targets: torch.Tensor, outputs: Sequence[torch.Tensor]) -> Gradients:
    """The gradients of J targets (N, J) in one backward pass per target."""
    found = [
        torch.autograd.grad(column.sum(), outputs, retain_graph=True, allow_unused=True) for column in targets.unbind(1)
    ]
    return tuple(
        None if of_output[0] is None else torch.stack([one for one in of_output if one is not None])
        for of_output in zip(*found, strict=True)
    )


def _last_run(outputs: Sequence[torch.Tensor], scores: torch.Tensor) -> int:
    """The last run of a layer on which the scores depend, or the last run if that is not known."""
    if len(outputs) > 1 and scores.requires_grad:
        gradients = torch.autograd.grad(scores.sum(), outputs, retain_graph=True, allow_unused=True)
        used = [run for run, gradient in enumerate(gradients) if gradient is not None]
        if used:
            return used[-1]
    return len(outputs) - 1


def _output(layer: str, seen: dict[str, list[torch.Tensor]], run: int) -> torch.Tensor:
    if layer not in seen:
        raise UserError(f"layer {layer!r} did not run: expected one that every image goes through")
    return seen[layer][run]
