"""Gradient-weighted class activation maps, for heads without class maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from wsl.cam.differentiable import differentiable
from wsl.cam.gradcam import gradcam
from wsl.cam.xgradcam import xgradcam
from wsl.errors import UserError

Method = Literal["xgradcam", "gradcam"]


class GradientMaps(NamedTuple):
    """Scores (N, K) and the maps (N, J, h, w) of J classes per image, both detached."""

    scores: torch.Tensor
    maps: torch.Tensor


def gradient_maps(
    head: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    classes: torch.Tensor | None = None,
    *,
    method: Method = "xgradcam",
) -> GradientMaps:
    """Sum the channels of the features, each weighted by the gradient of a class's score.

    `head` maps features to class scores, each image independently. `classes` are the classes to map in each image; None
    maps all of them. The cost is one forward pass through the head and one backward pass for each of J classes; the
    network below is not run. It also works in inference mode.

    A channel's weight is the mean of its gradient over the locations. ``gradcam`` weights all locations equally,
    ``xgradcam`` by the magnitude of the feature, so that the gradient counts where the channel is active. If they
    differ, prefer ``xgradcam``: the gradient of a signed square root is largest in inactive channels. For global
    average pooling and a linear layer, both equal the class activation map without its bias, divided by the number of
    locations. Negative values are kept, as in a class activation map; the papers rectify them (``maps.relu()``).

    Shape:
        `features` (N, C, h, w), `classes` (N, J) integers, to scores (N, K) and maps (N, J, h, w).

    Raises:
        UserError: `features` or `classes` have another shape, or the method is unknown.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2; Fu et al., Axiom-based Grad-CAM, BMVC 2020,
    equation 8, which is for features that are not negative.

    >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two channels, each at a place of its own
    >>> gradient_maps(lambda x: x.mean((2, 3)), features).maps.tolist()  # two classes, each a channel's mean
    [[[[0.5, 0.0]], [[0.0, 1.0]]]]
    """
    if features.ndim != 4 or (classes is not None and (classes.ndim != 2 or len(classes) != len(features))):
        shapes = [tuple(features.shape), None if classes is None else tuple(classes.shape)]
        raise UserError(f"features and classes have shapes {shapes}, expected (N, C, h, w) and (N, J)")
    if method not in ("xgradcam", "gradcam"):
        raise UserError(f"method is {method!r}, expected 'xgradcam' or 'gradcam'")
    weigh = gradcam if method == "gradcam" else xgradcam
    with differentiable(features.device):
        leaf = features.detach().clone().requires_grad_()
        scores = head(leaf)
        if classes is None:
            classes = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape)
        # The head does not mix images, so one backward pass serves one class of each image.
        totals = [scores.gather(1, chosen.unsqueeze(1)).sum() for chosen in classes.clone().unbind(1)]
        gradients = (torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in totals)
        with torch.no_grad():
            maps = [weigh(leaf, gradient, relu=False) for gradient in gradients]
    shape = (len(features), 0, *features.shape[2:])
    return GradientMaps(scores.detach(), torch.stack(maps, 1).to(features.dtype) if maps else features.new_empty(shape))
