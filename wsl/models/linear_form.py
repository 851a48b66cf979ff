"""Detection of classifiers whose scores are the mean of class maps, by running them on test inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from wsl.cam.forward import Network, Score
from wsl.cam.survey import Survey
from wsl.cam.taps import open_output

# For logits: the float32 rounding error of sums over some thousand channels.
_TOLERANCE = 1e-4
# Number of vectors per batch; each is a whole map.
_AT_ONCE = 128


class Norm(NamedTuple):
    """A layer norm over C channels."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float


class LinearForm(NamedTuple):
    """Scores are ``weight @ mean + bias``, where the mean is that of a layer's map, after ``norm`` if there is one.

    Shape:
        ``weight`` is (K, C) and ``bias`` (K,).
    """

    layer: str
    weight: torch.Tensor
    bias: torch.Tensor
    norm: Norm | None = None


@torch.no_grad()
def find_linear_form(net: nn.Module, score: Score, images: torch.Tensor, found: Survey) -> LinearForm | None:
    """The linear form of a network (which may be modified); None if scores are not linear in the mean of the last map.

    The layers after the last map, and after a layer norm of the mean if there is one, are run on unit vectors. This
    gives the equivalent linear layer of any combination of flattening, dropout, batch norms, 1x1 convolutions and
    linear layers, which is then verified on the scores of the images.

    >>> from wsl.cam.survey import survey
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> images = torch.randn(2, 3, 8, 8)
    >>> form = find_linear_form(net, net, images, survey(net, net, images))
    >>> form.layer, torch.allclose(form.weight, net[4].weight, atol=1e-5)
    ('1', True)
    """
    layer = found.last
    with _norms_behind(net, layer.name, layer.channels) as norms:
        activations = Network(net, score, [layer.name], prefix=found.prefix)(images)
    mean = activations.maps[0].mean((2, 3))
    rest = activations.score_from()
    size = layer.layout.size

    def of_means(vectors: torch.Tensor) -> torch.Tensor:
        return rest(vectors[:, :, None, None].expand(-1, -1, *size), torch.zeros(len(vectors), dtype=torch.long))

    plain = _affine(of_means, mean, activations.scores)
    if plain is not None:
        return LinearForm(layer.name, *plain)
    if len(norms) != 1:
        return None
    name, norm = norms[0]
    rerun = Network(net, score, [name], prefix=found.prefix)

    def of_normalised(vectors: torch.Tensor) -> torch.Tensor:
        like = vectors.view(len(vectors), *norm.shape[1:])
        scores = rerun.rerun(0, 0, like, images[:1])
        return vectors.new_empty(0, 0) if scores is None else scores

    normalised = F.layer_norm(mean, mean.shape[1:], norm.norm.weight, norm.norm.bias, norm.norm.eps)
    affine = _affine(of_normalised, normalised, activations.scores)
    return None if affine is None else LinearForm(layer.name, *affine, norm.norm)


def _affine(
    function: Callable[[torch.Tensor], torch.Tensor], vectors: torch.Tensor, scores: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Weight (K, C) and bias (K,) of a function of vectors (M, C), if it is affine and gives these scores of these."""
    channels, count = vectors.shape[1], scores.shape[1]
    generator = torch.Generator().manual_seed(0)
    # Vectors of several magnitudes, because every activation function is nearly linear close to zero.
    one, other = torch.randn((2, 4, channels), generator=generator) * torch.tensor([0.1, 1, 10, 100])[:, None]
    try:
        found = function(torch.cat([vectors, vectors.new_zeros(1, channels), one, other, one + other]))
        if found.shape != (len(vectors) + 13, count):
            return None
        own, bias, first, second, both = torch.split(found, [len(vectors), 1, 4, 4, 4])
        if not (_near(own, scores) and _near(first + second - bias, both)):
            return None
        units = torch.split(torch.eye(channels), _AT_ONCE)
        weight = torch.cat([function(some) - bias for some in units]).T.contiguous()
    except (RuntimeError, ValueError, AssertionError):  # the network's last layers do not accept the batch
        return None
    # Zero weights do not show which values they are multiplied with.
    known = bool(weight.any()) and _near(F.linear(vectors, weight, bias[0]), scores)
    return (weight, bias[0]) if known else None


def _near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether each row is as expected, up to the rounding error of its largest value."""
    return bool(((found - expected).abs() <= _TOLERANCE * expected.abs().amax(1, keepdim=True)).all())


class _Behind(NamedTuple):
    norm: Norm
    shape: torch.Size


@contextmanager
def _norms_behind(net: nn.Module, layer: str, channels: int) -> Iterator[list[tuple[str, _Behind]]]:
    """The layer norms that get a vector of ``channels`` channels per image after a layer has run."""
    behind: list[tuple[str, _Behind]] = []
    ran: list[bool] = []

    def see(name: str, module: nn.LayerNorm, output: Any) -> None:
        tensor, _ = open_output(output)
        if ran and tensor is not None and tensor[0].numel() == channels:
            weight = torch.ones(channels) if module.weight is None else module.weight.detach().clone()
            bias = torch.zeros(channels) if module.bias is None else module.bias.detach().clone()
            behind.append((name, _Behind(Norm(weight, bias, module.eps), tensor.shape)))

    hooks = [net.get_submodule(layer).register_forward_hook(lambda *_: ran.append(True))]
    for name, module in net.named_modules():
        if isinstance(module, nn.LayerNorm):
            hooks.append(module.register_forward_hook(lambda m, _, out, name=name: see(name, m, out)))
    try:
        yield behind
    finally:
        for hook in hooks:
            hook.remove()
