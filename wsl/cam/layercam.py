"""LayerCAM: positive gradients times activations, for shallow layers too."""

from __future__ import annotations

import torch

from wsl.cam.weighting import exact, paired


def layercam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """The sum over channels of the positive part of the gradient times the activation, at each location.

    Each location has its own weight, so maps of shallow layers, where a channel's mean gradient is uninformative, are
    usable. Maps of several layers are combined by `wsl.cam.fuse.fuse`, after `scale_shallow` for shallow layers. The
    map is negative only where activations are negative.

    Shape:
        Activations (..., C, h, w) and gradients (..., C, h, w) to maps (..., h, w), in at least float32; the leading
        axes broadcast.

    Raises:
        UserError: activations and gradients are not of one layer.

    Source: Jiang et al., LayerCAM: Exploring hierarchical class activation maps for localization, TIP 2021,
    equations 6 to 8.

    >>> layercam(torch.tensor([[[1.0, 1.0]], [[2.0, 2.0]]]), torch.tensor([[[3.0, -3.0]], [[-1.0, 1.0]]])).tolist()
    [[3.0, 2.0]]
    """
    activations, gradients = paired(activations, gradients)
    return (gradients.relu() * activations).sum(-3)


def scale_shallow(maps: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Raise the small values of a shallow layer's map, before it is fused with that of a deep layer.

    Maps become ``tanh(gamma * map / max)``, so that the maximum is ``tanh(gamma)`` at any scale. Negative cells, and
    maps without a positive cell, become zero.

    Shape:
        (..., h, w), each map on its own, to the same shape.

    Source: Jiang et al., LayerCAM, TIP 2021, equation 9.

    >>> scale_shallow(torch.tensor([[0.0, 0.5, 1.0]])).mul(100).round().tolist()
    [[0.0, 76.0, 96.0]]
    """
    positive = exact(maps).relu()
    highest = positive.amax((-2, -1), keepdim=True)
    return torch.tanh(gamma * positive / highest.clamp(min=torch.finfo(positive.dtype).tiny))
