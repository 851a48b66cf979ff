"""Class maps of models that have none of their own: the gradient of a score says which features made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from wsl.errors import UserError

Method = Literal["xgrad-cam", "grad-cam"]


class GradientMaps(NamedTuple):
    """Scores (N, K) and the maps (N, J, h, w) of J classes an image, both without a gradient of their own."""

    scores: torch.Tensor
    maps: torch.Tensor


def gradient_maps(
    head: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    classes: torch.Tensor | None = None,
    *,
    method: Method = "xgrad-cam",
) -> GradientMaps:
    """The features weighted in each channel by the gradient of a class's score, and summed over the channels.

    `head` makes class scores of feature maps, of each image by itself. `classes` are the classes to map in each
    image, all of them when None. It costs one pass through the head, and one back through it for each of J; the
    network below is not touched, and it works in inference mode too.

    A channel's weight is the mean of its gradient over the locations: ``grad-cam`` counts each alike, ``xgrad-cam``
    by the feature's magnitude there, so that the gradient counts where the channel fires. Where the two differ the
    second is the safer one: a signed square root is steepest in channels that are silent. For global average pooling
    and a linear layer both are the class activation map over the number of locations, but for its bias. As that one,
    maps keep their sign; the papers rectify them (``maps.relu()``).

    Shape:
        `features` (N, C, h, w), `classes` (N, J) integers, to scores (N, K) and maps (N, J, h, w).

    Raises:
        UserError: `features` or `classes` of another shape, or another method.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2; Fu et al., Axiom-based Grad-CAM, BMVC 2020,
    equation 8, which is for features that are not negative.

    >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two channels, each at a place of its own
    >>> gradient_maps(lambda x: x.mean((2, 3)), features).maps.tolist()  # two classes, each a channel's mean
    [[[[0.5, 0.0]], [[0.0, 1.0]]]]
    """
    if features.ndim != 4 or (classes is not None and (classes.ndim != 2 or len(classes) != len(features))):
        shapes = [tuple(features.shape), None if classes is None else tuple(classes.shape)]
        raise UserError(f"features and classes have shapes {shapes}, expected (N, C, h, w) and (N, J)")
    if method not in ("xgrad-cam", "grad-cam"):
        raise UserError(f"method is {method!r}, expected 'xgrad-cam' or 'grad-cam'")
    exact = torch.promote_types(features.dtype, torch.float32)
    # Out of inference mode, whose tensors no gradient can pass: a clone made here is an ordinary one. Nor can it pass
    # the rounded weights that autocast may have kept from there.
    kind = features.device.type
    uncached = torch.autocast(
        kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
    )
    with torch.inference_mode(False), torch.enable_grad(), uncached:
        leaf = features.detach().clone().requires_grad_()
        scores = head(leaf)
        if classes is None:
            classes = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape)
        # Images do not mix, so that one pass back serves a class of each of them.
        totals = [scores.gather(1, chosen.unsqueeze(1)).sum() for chosen in classes.clone().unbind(1)]
        gradients = (torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in totals)
        with torch.no_grad():
            maps = [_weighted(leaf.to(exact), gradient.to(exact), method) for gradient in gradients]
    shape = (len(features), 0, *features.shape[2:])
    return GradientMaps(scores.detach(), torch.stack(maps, 1).to(features.dtype) if maps else features.new_empty(shape))


def _weighted(features: torch.Tensor, gradient: torch.Tensor, method: Method) -> torch.Tensor:
    """One map an image, (N, h, w)."""
    if method == "grad-cam":
        weights = gradient.mean((2, 3), keepdim=True)
    else:
        magnitude = features.abs()
        total = magnitude.sum((2, 3), keepdim=True)
        weights = (gradient * magnitude).sum((2, 3), keepdim=True) / total.clamp(min=torch.finfo(total.dtype).tiny)
    return (weights * features).sum(1)
