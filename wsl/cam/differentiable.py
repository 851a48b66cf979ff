"""Gradients in any autograd mode of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def differentiable(device: torch.device) -> Iterator[None]:
    """Record gradients, even if the caller is in inference mode, in no-grad mode or under autocast.

    Gradients cannot flow through tensors made in inference mode, but a clone made inside is an ordinary tensor. Nor can
    they flow through rounded weights that autocast cached in inference mode, so autocast rounds them again.

    >>> with torch.inference_mode():
    ...     image = torch.ones(1)
    ...     with differentiable(image.device):
    ...         leaf = image.clone().requires_grad_()
    ...         print(torch.autograd.grad(leaf**2, leaf))
    (tensor([2.]),)
    """
    kind = device.type
    uncached = torch.autocast(
        kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
    )
    with torch.inference_mode(False), torch.enable_grad(), uncached:
        yield


def ordinary(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or, inside `differentiable`, a clone of a tensor made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
