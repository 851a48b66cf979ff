"""Eigen-CAM: the first principal component of a layer's activations."""

from __future__ import annotations

import torch

from wsl.cam.weighting import exact


def eigencam(activations: torch.Tensor) -> torch.Tensor:
    """The projection of each location's activations on their first principal component.

    The mean of each channel over the locations is subtracted first. The map does not depend on the class. The sign of a
    principal component is arbitrary; it is chosen so that the map's cell of largest magnitude is positive, which suits
    small objects on a large background. Negative values are kept.

    Shape:
        (..., C, h, w) to maps (..., h, w), in at least float32. An image with a NaN or an infinity gives a map of NaN.

    Source: Muhammad and Yeasin, Eigen-CAM, IJCNN 2020; the rule for the sign is that of Chung and Ying, Seg-Eigen-CAM,
    Applied Sciences 2025, equation 13.

    >>> eigencam(torch.tensor([[[0.0, 0.0, 3.0]], [[0.0, 0.0, 4.0]]])).mul(3).round().tolist()  # along (3, 4) / 5
    [[-5.0, -5.0, 10.0]]
    """
    values = exact(activations).flatten(-2)
    finite = values.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    values = torch.where(finite, values, 0)
    # A constant channel minus its first cell is exactly zero; minus its mean, rounding errors would be left.
    values = values - values[..., :1]
    values = values - values.mean(-1, keepdim=True)
    _, strengths, vectors = torch.linalg.svd(values, full_matrices=False)
    maps = strengths[..., :1] * vectors[..., 0, :]
    maps = torch.where(maps.amax(-1, keepdim=True) >= -maps.amin(-1, keepdim=True), maps, -maps)
    return torch.where(finite[..., 0], maps, torch.nan).reshape(*activations.shape[:-3], *activations.shape[-2:])
