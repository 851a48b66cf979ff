"""Weights of locations: by a softmax, and for poolings that select locations."""

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_number
from heads.pooling._selection import Rounding, Selection, count_locations

# Beyond these a softmax equals its limit to the last digit of any map.
FLATTEST, SHARPEST = 1e-12, 1e30


def check_sharpness(value: object, name: str) -> float:
    """Accept a sharpness from 0 (equal weights) to infinity (only the highest location).

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is NaN or negative.

    >>> check_sharpness(-1, "beta")
    Traceback (most recent call last):
    ValueError: beta is -1.0, expected a sharpness of 0 or more: try beta=1
    """
    number = check_number(value, name)
    if number < 0:
        raise ValueError(f"{name} is {number}, expected a sharpness of 0 or more: try {name}=1")
    return number


def softmax_weights(logits: Tensor, sharpness: float = 1.0) -> Tensor:
    """The softmax over the locations of each map, in `accumulation_dtype`.

    Shape:
        (..., H, W) -> (..., H, W).

    >>> softmax_weights(torch.tensor([[[1.0, 1.0], [1.0, -9e9]]]))
    tensor([[[0.3333, 0.3333],
             [0.3333, 0.0000]]])
    """
    return sharp_softmax(logits.flatten(-2).to(accumulation_dtype(logits)), sharpness).reshape(logits.shape)


def sharp_softmax(values: Tensor, sharpness: float) -> Tensor:
    """The softmax of ``sharpness * values`` over the last dimension.

    >>> sharp_softmax(torch.tensor([0.0, 1e38]), sharpness=9.0)
    tensor([0., 1.])
    """
    if sharpness != 1:
        # Relative to the peak, because a product with the value itself could leave the range of floats.
        values = sharpness * (values - values.detach().amax(-1, keepdim=True))
    return values.softmax(-1)


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """The sum over locations of weight times value, in the dtype of the weights.

    Shape:
        (..., H, W) and weights that broadcast to it -> (...).

    >>> weighted_sum(torch.ones(2, 1, 2), torch.tensor([[[0.5, 0.25]]]))
    tensor([0.7500, 0.7500])
    """
    return (weights * maps.to(weights.dtype)).sum((-2, -1))


def mean_weights(maps: Tensor) -> Tensor:
    """One over the number of locations, everywhere.

    >>> mean_weights(torch.zeros(1, 2, 2)).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return torch.full_like(maps, 1 / (maps.shape[-2] * maps.shape[-1]))


def selected_weights(maps: Tensor, k: Selection, *, largest: bool = True, rounding: Rounding = "floor") -> Tensor:
    """1/k at the k highest (``largest``) or lowest locations of each map, 0 elsewhere: the gradient of `selected_mean`.

    Ties are resolved as in ``torch.topk``, or for a single location as in ``torch.max``, also on CUDA. ``k`` comes from
    `check_k` and is not 0.

    Shape:
        (..., H, W) -> (..., H, W).

    >>> selected_weights(torch.tensor([[[1.0, 2.0, 4.0]]]), 2)
    tensor([[[0.0000, 0.5000, 0.5000]]])
    """
    if isinstance(k, str):
        return mean_weights(maps)
    values = maps.detach().flatten(-2)
    count = count_locations(k, values.shape[-1], rounding)
    if isinstance(k, int) and k == 1:
        index = (values.max(-1, keepdim=True) if largest else values.min(-1, keepdim=True)).indices
    else:
        index = values.topk(count, largest=largest, sorted=False).indices
    return torch.zeros_like(values).scatter(-1, index, 1 / count).reshape(maps.shape)
