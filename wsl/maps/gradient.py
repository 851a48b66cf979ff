"""Class maps of models that have none of their own: the gradient of a score says which features made it (Grad-CAM)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from wsl.errors import UserError


class GradientMaps(NamedTuple):
    """Scores (N, K) and the maps (N, J, h, w) of J classes an image, both without a gradient of their own."""

    scores: torch.Tensor
    maps: torch.Tensor


def gradient_maps(
    head: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    classes: torch.Tensor | None = None,
    *,
    rectified: bool = True,
) -> GradientMaps:
    """The features weighted by the mean gradient of a class's score in each channel, summed, and rectified.

    `head` makes class scores of feature maps, of each image by itself. `classes` are the classes to map in each
    image, all of them when None. It costs one pass through the head, and one back through it for each of J; the
    network below is not touched, and it works in inference mode too. For global average pooling and a linear layer
    the map is the class activation map over the number of locations, but for its bias and the rectification
    (Selvaraju et al., appendix A).

    Shape:
        `features` (N, C, h, w), `classes` (N, J) integers, to scores (N, K) and maps (N, J, h, w).

    Raises:
        UserError: `features` or `classes` of another shape.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2.

    >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two channels, each at a place of its own
    >>> gradient_maps(lambda x: x.mean((2, 3)), features).maps.tolist()  # two classes, each a channel's mean
    [[[[0.5, 0.0]], [[0.0, 1.0]]]]
    """
    if features.ndim != 4 or (classes is not None and (classes.ndim != 2 or len(classes) != len(features))):
        shapes = [tuple(features.shape), None if classes is None else tuple(classes.shape)]
        raise UserError(f"features and classes have shapes {shapes}, expected (N, C, h, w) and (N, J)")
    # Out of inference mode, whose tensors no gradient can pass: a clone made here is an ordinary one.
    with torch.inference_mode(False), torch.enable_grad():
        leaf = features.detach().clone().requires_grad_()
        scores = head(leaf)
        if classes is None:
            classes = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape)
        # Images do not mix, so that one pass back serves a class of each of them.
        totals = [scores.gather(1, chosen.unsqueeze(1)).sum() for chosen in classes.clone().unbind(1)]
        weights = [torch.autograd.grad(total, leaf, retain_graph=True)[0].mean((2, 3)) for total in totals]
    with torch.no_grad():
        stacked = torch.stack(weights, 1) if weights else features.new_zeros(len(features), 0, features.shape[1])
        maps = torch.einsum("njc,nchw->njhw", stacked, features)
        return GradientMaps(scores.detach(), maps.relu() if rectified else maps)
