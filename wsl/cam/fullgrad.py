"""FullGrad: gradients of the input and of every bias, which together make up the score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from wsl.cam.biases import BiasCall, BiasCalls
from wsl.cam.differentiable import differentiable
from wsl.cam.weighting import exact
from wsl.errors import UserError

Network = Callable[[torch.Tensor], torch.Tensor]
ToMap = Callable[[torch.Tensor], torch.Tensor | None]


class Completeness(NamedTuple):
    """Scores (N, J), and what the input and the biases contribute to them, (N, J) each."""

    scores: torch.Tensor
    inputs: torch.Tensor
    biases: torch.Tensor


def fullgrad(net: Network, images: torch.Tensor, classes: torch.Tensor, *, to_map: ToMap | None = None) -> torch.Tensor:
    """The sum over layers of the magnitudes of gradients times biases, and of the gradient times the input.

    The terms of a layer, and those of the input, are normalised to [0, 1] over all channels and locations of an image
    together, summed over the channels and resized to the image (bilinear, half-pixel centres). Layers are
    convolutions, linear layers, group and layer normalisation with a bias, and batch normalisation, whose bias
    includes its running mean. They are found as they are called: a layer that runs twice counts twice. Layers without
    spatial extent are left out.

    The cost is one forward pass, and one backward pass for each of J classes; the activations of all layers are held.
    `net` is any callable; its modules, their modes and their parameters' gradients are left as they are.

    Shape:
        Images (N, 3, H, W) and classes (N, J), integers, to maps (N, J, H, W) that are not negative, in at least
        float32. `net` maps images to scores (N, K), each image independently. `to_map` rearranges terms of tokens
        (N, T, C) to (N, C, h, w), or returns None to leave them out; without it, tokens are left out.

    Raises:
        UserError: a tensor has another shape, the network is TorchScript, or batch normalisation is in training mode.

    Source: Srinivas and Fleuret, Full-gradient representation for neural network visualization, NeurIPS 2019,
    with the normalisation of the authors' code.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, 2))
    >>> fullgrad(net, torch.rand(1, 3, 5, 5), torch.tensor([[0, 1]])).shape
    torch.Size([1, 2, 5, 5])
    """
    maps = []
    for full in _full_gradients(net, images, classes):
        total = _magnitude(full.image)
        for term, axis in full.biases:
            grid = _grid(term, axis, images, to_map)
            if grid is not None:
                small = _magnitude(grid).unsqueeze(1)
                total += F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
        maps.append(total)
    return torch.stack(maps, 1) if maps else exact(images).new_empty(len(images), 0, *images.shape[-2:])


def completeness(net: Network, images: torch.Tensor, classes: torch.Tensor) -> Completeness:
    """The parts of the scores that FullGrad attributes to the input and to the biases of all layers.

    In networks of linear layers, batch normalisation in evaluation mode, ReLU, maxima and means, the two parts add up
    to the score, so the explanation is complete. Functions with an offset of their own leave a remainder: a saturated
    ReLU6, other activations, layer normalisation.

    Shape:
        As for `fullgrad`, to scores and parts (N, J).

    Raises:
        UserError: as for `fullgrad`.

    Source: Srinivas and Fleuret, NeurIPS 2019, on ReLU networks with biases.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    >>> scores, inputs, biases = completeness(net, torch.rand(1, 3, 2, 2), torch.tensor([[0, 1]]))
    >>> torch.allclose(scores, inputs + biases, atol=1e-5)
    True
    """
    scores, inputs, biases = [], [], []
    for full in _full_gradients(net, images, classes):
        scores.append(full.scores)
        inputs.append(full.image.flatten(1).sum(1))
        biases.append(sum((term.reshape(len(images), -1).sum(1) for term, _ in full.biases), inputs[-1] * 0))
    return Completeness(torch.stack(scores, 1), torch.stack(inputs, 1), torch.stack(biases, 1))


class _FullGradients(NamedTuple):
    """For one class per image: scores (N,), the input's terms, and each layer's terms with their channel axis."""

    scores: torch.Tensor
    image: torch.Tensor
    biases: Iterator[tuple[torch.Tensor, int]]


def _full_gradients(net: Network, images: torch.Tensor, classes: torch.Tensor) -> Iterator[_FullGradients]:
    if images.ndim != 4 or classes.ndim != 2 or len(images) != len(classes):
        shapes = f"{tuple(images.shape)} and {tuple(classes.shape)}"
        raise UserError(f"images and classes have shapes {shapes}, expected (N, 3, H, W) and (N, J)")
    if isinstance(net, torch.jit.ScriptModule):
        raise UserError("net is TorchScript, whose layers cannot be seen: pass the network that it was made from")
    with differentiable(images.device):
        leaf = images.detach().clone().requires_grad_()
        with BiasCalls() as recorded:
            scores = net(leaf)
        # Autograd cannot save an index that was made in inference mode; it can save a clone.
        chosen = [scores.gather(1, index.unsqueeze(1)).squeeze(1) for index in classes.clone().unbind(1)]
    inputs = [leaf, *(call.edge for call in recorded.calls)]
    for values in chosen:
        with differentiable(images.device):
            first, *rest = torch.autograd.grad(values.sum(), inputs, retain_graph=True, allow_unused=True)
        image = exact(leaf.detach()) * (0 if first is None else exact(first))
        yield _FullGradients(exact(values.detach()), image, _bias_terms(recorded.calls, rest))


def _bias_terms(
    calls: Sequence[BiasCall], gradients: Sequence[torch.Tensor | None]
) -> Iterator[tuple[torch.Tensor, int]]:
    """The terms of one layer after another, so that they do not double the memory of the gradients."""
    for call, gradient in zip(calls, gradients, strict=True):
        if gradient is not None:
            yield exact(call.bias) * exact(gradient), call.axis


def _grid(term: torch.Tensor, axis: int, images: torch.Tensor, to_map: ToMap | None) -> torch.Tensor | None:
    """A layer's terms as (N, C, h, w), or None if they have no positions in the image."""
    if term.ndim == 3 and axis == -1 and len(term) == len(images):
        return None if to_map is None else to_map(term)
    if term.ndim != 4 or len(term) != len(images):
        return None
    if axis == -1:
        term = term.movedim(-1, 1)
        (h, w), (height, width) = term.shape[-2:], images.shape[-2:]
        # Queries and keys (N, heads, T, C) also have four axes.
        if abs(h * width - w * height) >= max(height, width):
            return None
    return term if term.shape[-2] * term.shape[-1] > 1 else None


def _magnitude(terms: torch.Tensor) -> torch.Tensor:
    """Magnitudes (N, C, h, w) normalised in each image as a whole, summed over the channels."""
    values = terms.abs()
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return ((values - low) / (high - low).clamp(min=torch.finfo(values.dtype).tiny)).sum(1)
