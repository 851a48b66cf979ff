"""Score-CAM: channels weighted by the score of the image masked by them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from wsl.cam.minmax import minmax
from wsl.cam.weighting import exact, rectified, weighted_sum
from wsl.errors import UserError


def scorecam(
    score: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    activations: torch.Tensor,
    classes: torch.Tensor,
    *,
    channels: int | None = None,
    batch_size: int = 16,
    softmax: bool = True,
    relu: bool = True,
) -> torch.Tensor:
    """The sum of a layer's channels, each weighted by the class's probability in the image masked by that channel.

    Each channel, resized to the image and normalised to [0, 1], multiplies the image. The channel's weight is the
    probability of the class in the masked image: the softmax of the scores, or with `softmax` false the scores
    themselves (for sigmoids, or for a `score` that gives probabilities). Constant channels are skipped. `channels`
    keeps only that many channels of each image, those with the largest variance.

    The cost is one forward pass for each channel and image, in batches of `batch_size`, whatever the number of classes;
    only one batch is held in memory at a time. `score` must treat the images of a batch independently.

    Shape:
        Images (N, 3, H, W), activations (N, C, h, w) and classes (N, J), integers, to maps (N, J, h, w), in at least
        float32. `score` maps (M, 3, H, W) to (M, K).

    Raises:
        UserError: a tensor has another shape, or `channels` or `batch_size` is below 1.

    Source: Wang et al., Score-CAM, CVPR Workshops 2020, with the choices of the authors' code: masks are normalised
    after resizing, and weights are probabilities of classes, not a softmax over channels.

    >>> image = torch.tensor([[[[4.0, 0.0]]]]).expand(1, 3, 1, 2)
    >>> activations = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # one channel sees the left, one the right
    >>> brightness = lambda images: images.mean((1, 3))
    >>> scorecam(brightness, image, activations, torch.tensor([[0]]), softmax=False).tolist()
    [[[[2.0, 0.0]]]]
    """
    if images.ndim != 4 or activations.ndim != 4 or classes.ndim != 2 or not _as_many(images, activations, classes):
        shapes = [tuple(each.shape) for each in (images, activations, classes)]
        raise UserError(f"shapes are {shapes}, expected images (N, 3, H, W), activations (N, C, h, w), classes (N, J)")
    if batch_size < 1 or (channels is not None and channels < 1):
        raise UserError(f"batch_size is {batch_size} and channels {channels}, expected 1 or more")
    with torch.no_grad():
        values = exact(activations)
        rows, columns = _telling(values, channels).nonzero(as_tuple=True)
        weights = values.new_zeros(*classes.shape, values.shape[1])
        for row, column in zip(torch.split(rows, batch_size), torch.split(columns, batch_size), strict=True):
            scores = exact(score(images[row] * _masks(values[row, column], images)))
            probabilities = scores.softmax(1) if softmax else scores
            weights[row, :, column] = probabilities.gather(1, classes[row]).to(weights.dtype)
        return rectified(weighted_sum(weights, values.unsqueeze(1)), relu)


def _as_many(*tensors: torch.Tensor) -> bool:
    return len({len(tensor) for tensor in tensors}) == 1


def _telling(values: torch.Tensor, channels: int | None) -> torch.Tensor:
    """The channels (N, C) whose masks are tried."""
    telling = values.amax((-2, -1)) > values.amin((-2, -1))
    if channels is not None and channels < values.shape[1]:
        variances = values.var((-2, -1), correction=0)
        most = variances.topk(channels, dim=1).indices
        telling &= torch.zeros_like(telling).scatter_(1, most, True)
    return telling


def _masks(channels: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Channels (M, h, w) resized to the images and normalised to [0, 1], (M, 1, H, W)."""
    large = F.interpolate(channels.unsqueeze(1), images.shape[-2:], mode="bilinear", align_corners=False)
    return minmax(large).to(images.dtype)
