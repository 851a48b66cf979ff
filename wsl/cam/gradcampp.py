"""Grad-CAM++: channels weighted by the positive part of their gradient, small where the channel is large."""

from __future__ import annotations

import torch

from wsl.cam.weighting import paired, rectified, weighted_sum


def gradcampp(activations: torch.Tensor, gradients: torch.Tensor, *, relu: bool = True) -> torch.Tensor:
    """The sum of a layer's channels, weighted by a weighted sum of their positive gradients.

    The paper weights a location's gradient g by ``g^2 / (2 g^2 + T g^3)``, where T is the sum of the channel over the
    locations. Divided by g^2 this is ``1 / (2 + T g)``, which needs no epsilon in the denominator; g^2 can be as small
    as such an epsilon. T is the sum of magnitudes here: for non-negative activations, which the paper assumes, it is
    the same, and for others it keeps the denominator at 2 or more.

    Shape:
        Activations (..., C, h, w) and gradients (..., C, h, w) to maps (..., h, w), in at least float32; the leading
        axes broadcast.

    Raises:
        UserError: activations and gradients are not of one layer.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, equation 19, for the exponential of the score.

    >>> gradcampp(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[0.5, -1.0]]])).tolist()  # 0.5 / (2 + 4 * 0.5) = 1/8
    [[0.125, 0.375]]
    """
    activations, gradients = paired(activations, gradients)
    positive = gradients.relu()
    totals = activations.abs().sum((-2, -1), keepdim=True)
    weights = (positive / (2 + totals * positive)).sum((-2, -1))
    return rectified(weighted_sum(weights, activations), relu)
