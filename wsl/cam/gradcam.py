"""Grad-CAM: channels weighted by the mean of their gradient."""

from __future__ import annotations

import torch

from wsl.cam.weighting import paired, rectified, weighted_sum


def gradcam(activations: torch.Tensor, gradients: torch.Tensor, *, relu: bool = True) -> torch.Tensor:
    """The sum of a layer's channels, each weighted by the mean of its gradient over the locations.

    With global average pooling and a linear layer behind the activations this is the class activation map divided by
    the number of locations, without the bias. With `relu` false the map keeps its sign, as a class activation map does.

    Shape:
        Activations (..., C, h, w) and gradients of the class's score (..., C, h, w) to maps (..., h, w), in at least
        float32. The leading axes broadcast: (N, C, h, w) and (J, N, C, h, w) give (J, N, h, w).

    Raises:
        UserError: activations and gradients are not of one layer.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2.

    >>> activations = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    >>> gradients = torch.tensor([[[1.0, 3.0]], [[-1.0, 0.0]]])
    >>> gradcam(activations, gradients).tolist(), gradcam(activations, gradients, relu=False).tolist()
    ([[2.0, 0.0]], [[2.0, -1.0]])
    """
    activations, gradients = paired(activations, gradients)
    return rectified(weighted_sum(gradients.mean((-2, -1)), activations), relu)
