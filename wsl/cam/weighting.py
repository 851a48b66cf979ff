"""Weighted sums of a layer's channels, in at least single precision."""

from __future__ import annotations

import torch

from wsl.errors import UserError


def exact(values: torch.Tensor) -> torch.Tensor:
    """Values in float32, or in float64 if they already are.

    >>> exact(torch.ones(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def paired(activations: torch.Tensor, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations and gradients of one layer, both `exact`.

    Shape:
        (..., C, h, w) each; the leading axes broadcast, so that the gradients of J classes (J, N, C, h, w) share the
        activations (N, C, h, w).

    Raises:
        UserError: the last three axes differ.

    >>> activations, gradients = paired(torch.ones(2, 3, 4, 5).half(), torch.ones(7, 2, 3, 4, 5).half())
    >>> activations.dtype, gradients.shape
    (torch.float32, torch.Size([7, 2, 3, 4, 5]))
    """
    if activations.ndim < 3 or activations.shape[-3:] != gradients.shape[-3:]:
        shapes = f"{tuple(activations.shape)} and {tuple(gradients.shape)}"
        raise UserError(f"activations and gradients have shapes {shapes}, expected (..., C, h, w) of one layer")
    return exact(activations), exact(gradients)


def weighted_sum(weights: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the channels.

    Shape:
        Weights (..., C) and activations (..., C, h, w) to (..., h, w); the leading axes broadcast.

    >>> weighted_sum(torch.tensor([2.0, -1.0]), torch.tensor([[[1.0, 2.0]], [[0.0, 3.0]]])).tolist()
    [[2.0, 1.0]]
    """
    # An elementwise product would take J times the memory of the activations. Autocast would round the result.
    with torch.autocast(activations.device.type, enabled=False):
        return torch.einsum("...c,...chw->...hw", exact(weights), exact(activations))


def rectified(maps: torch.Tensor, relu: bool) -> torch.Tensor:
    """Maps with negative cells set to zero if `relu` is true.

    >>> rectified(torch.tensor([[1.0, -1.0]]), relu=True).tolist()
    [[1.0, 0.0]]
    """
    return maps.relu() if relu else maps
