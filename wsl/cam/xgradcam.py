"""XGrad-CAM: channels weighted by their gradient where they are active."""

from __future__ import annotations

import torch

from wsl.cam.weighting import paired, rectified, weighted_sum


def xgradcam(activations: torch.Tensor, gradients: torch.Tensor, *, relu: bool = True) -> torch.Tensor:
    """The sum of a layer's channels, each weighted by the mean of its gradient where the channel is active.

    The mean over the locations is weighted by the magnitude of the activation. The paper weights by the activation
    itself, assuming non-negative features; for signed features its normalising sum can be near zero, and one channel
    then dominates. A channel of zeros has weight zero.

    Shape:
        Activations (..., C, h, w) and gradients (..., C, h, w) to maps (..., h, w), in at least float32; the leading
        axes broadcast.

    Raises:
        UserError: activations and gradients are not of one layer.

    Source: Fu et al., Axiom-based Grad-CAM, BMVC 2020, equation 8.

    >>> xgradcam(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[4.0, 0.0]]])).tolist()  # (1 * 4 + 3 * 0) / 4 = 1
    [[1.0, 3.0]]
    """
    activations, gradients = paired(activations, gradients)
    magnitudes = activations.abs()
    totals = magnitudes.sum((-2, -1)).clamp(min=torch.finfo(magnitudes.dtype).tiny)
    return rectified(weighted_sum((gradients * magnitudes).sum((-2, -1)) / totals, activations), relu)
