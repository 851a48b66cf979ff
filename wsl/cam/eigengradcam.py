"""EigenGrad-CAM: the first principal component of gradients times activations."""

from __future__ import annotations

import torch

from wsl.cam.eigencam import eigencam
from wsl.cam.weighting import paired


def eigengradcam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Eigen-CAM (`wsl.cam.eigencam.eigencam`) of the gradient times the activation, so that it depends on the class.

    Shape:
        Activations (..., C, h, w) and gradients (..., C, h, w) to maps (..., h, w), in at least float32; the leading
        axes broadcast.

    Raises:
        UserError: activations and gradients are not of one layer.

    Source: the library pytorch-grad-cam, after Muhammad and Yeasin, Eigen-CAM, IJCNN 2020.

    >>> eigengradcam(torch.tensor([[[1.0, 2.0, 1.0]]]), torch.tensor([[[0.0, 3.0, 0.0]]])).round().tolist()
    [[-2.0, 4.0, -2.0]]
    """
    activations, gradients = paired(activations, gradients)
    return eigencam(gradients * activations)
