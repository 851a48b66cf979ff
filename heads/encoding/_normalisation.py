"""Normalisation of vectors before a linear classifier: signed square root and L2 norm."""

import torch
from torch import Tensor

_SHORTEST = 1e-12


def unit_length(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors divided by their L2 norm; those shorter than 1e-12 become zero, with a gradient of zero.

    >>> unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    # Not F.normalize, whose slope at zero is 1e12 and overflows in half precision.
    return torch.where(length < _SHORTEST, 0, vectors / length.clamp(min=_SHORTEST))


def signed_sqrt(vectors: Tensor) -> Tensor:
    """sign(x) * sqrt(|x|), with a straight line through zero where the root's slope would grow without bound.

    The line replaces the root below eps times the largest |x| of the vector, where eps is the spacing of the dtype at
    1: values that small are rounding errors. There the slope is 1 / sqrt(eps * largest); the effect of the root on a
    vector's direction does not depend on the vector's length.

    >>> signed_sqrt(torch.tensor([4.0, -9.0, 0.0]))
    tensor([ 2., -3.,  0.])
    """
    size = vectors.abs()
    eps = torch.finfo(vectors.dtype).eps
    floor = (size.detach().amax(-1, keepdim=True) * eps).clamp(min=1e-20)
    # Both branches take the root of a quantity that is never below the floor, so their gradients are finite.
    root = torch.maximum(size, floor).sqrt()
    return torch.where(size < floor, vectors / floor.sqrt(), vectors.sign() * root)
