"""Grad-CAM++: channels weighted by the positive part of their gradient, small where the channel is large."""

from __future__ import annotations

import torch

from wsl.cam.weighting import paired, rectified, weighted_sum


def gradcampp(activations: torch.Tensor, gradients: torch.Tensor, *, relu: bool = True) -> torch.Tensor:
    """The sum of a layer's channels, weighted by a weighted sum of their positive gradients.

    The paper weights a location's gradient g by ``g^2 / (2 g^2 + T g^3)``, where T is the sum of the channel over the
    locations. Divided by g^2 that is ``1 / (2 + T g)``, so that no small number has to protect the division, whose
    terms g^2 are of the size of such a number. T is the sum of the magnitudes: the same where activations are not
    negative, as the paper has them, and elsewhere the denominator stays 2 or more.

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
