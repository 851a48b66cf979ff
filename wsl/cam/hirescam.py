"""HiResCAM: gradients times activations, location by location."""

from __future__ import annotations

import torch

from wsl.cam.weighting import paired, rectified


def hirescam(activations: torch.Tensor, gradients: torch.Tensor, *, relu: bool = True) -> torch.Tensor:
    """The sum over channels of the gradient times the activation, at each location.

    Grad-CAM averages the gradient over the locations first, and can therefore highlight locations that the score does
    not depend on. If a single linear layer follows the activations, the cells of this map (with `relu` false) sum to
    the score without its bias.

    Shape:
        Activations (..., C, h, w) and gradients (..., C, h, w) to maps (..., h, w), in at least float32; the leading
        axes broadcast.

    Raises:
        UserError: activations and gradients are not of one layer.

    Source: Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks, arXiv 2011.08891.

    >>> hirescam(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])).tolist()  # Grad-CAM gives [[1.0, 1.0]]
    [[0.0, 2.0]]
    """
    activations, gradients = paired(activations, gradients)
    return rectified((gradients * activations).sum(-3), relu)
