"""Class maps averaged over neighbours of similar colour (PAMR)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsl.errors import UserError
from wsl.maps.refine.working_grid import on_working_grid

CELLS = 80
DILATIONS = (1, 2, 4, 8, 12, 24)

# The paper's code adds 1e-8 to a standard deviation. That is less than the rounding error of averages over an area of
# constant colour, which would then decide the weights there. This is a thousandth of a grey level.
_FLAT = 1e-3 / 255


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
    """Apply `pixel_adaptive` with its defaults; the features are not used.

    >>> refine(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 32, 32), []).shape
    torch.Size([1, 1, 32, 32])
    """
    return pixel_adaptive(maps, image)


def pixel_adaptive(
    maps: Tensor,
    image: Tensor | None,
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
    cells: int = CELLS,
) -> Tensor:
    """Pixel-adaptive mask refinement: replace each cell by a mean of its neighbours, weighted by colour similarity.

    The neighbours are the eight at each of the ``dilations``, with the border replicated. The weights are the softmax
    over all neighbours of the negative absolute difference between their colour and the cell's, in units of a tenth of
    the local standard deviation, averaged over the three channels. The cell itself has no weight. The standard
    deviation is that of the 3x3 cells at all dilations together.

    Each map is refined linearly and independently. The background channel that the paper adds to the maps of a softmax
    would change none of them, only which map is highest, and that is not used here. Values stay within each map's own
    range. Computed in float32 on the device of the maps, without gradients, also under autocast.

    Shape:
        ``maps`` (N, J, h, w) and ``image`` (N, 3, H, W), RGB in [0, 1], cover exactly the images. The result is
        (N, J, n, m): the grid of the image, reduced to ``cells`` on the longer side if it is larger.

    Raises:
        UserError: there is no image, a tensor has another shape, or a setting is out of range.

    Source: Araslanov & Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020, section 3.3, and its
    code, except for the resampling: here cells cover equal parts of the image, there the corners are aligned.

    >>> halves = torch.tensor([0.0, 0, 1, 1]).expand(1, 3, 1, 4)
    >>> corner = torch.tensor([[[[8.0, 0, 0, 0]]]])
    >>> pixel_adaptive(corner, halves, dilations=[1], iterations=9).round()[0, 0, 0].tolist()
    [5.0, 5.0, 0.0, 0.0]
    """
    if iterations < 0 or not dilations or min(dilations) < 1:
        raise UserError(f"iterations {iterations}, dilations {tuple(dilations)}: expected at least 0, and 1 of each")
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        working = on_working_grid(maps, image, cells)
        weights = _weights(working.guide, dilations)
        values = working.values
        for _ in range(iterations):
            neighbours = _neighbours(values, dilations)
            values = torch.zeros_like(values)
            for number, neighbour in enumerate(neighbours):
                values.addcmul_(neighbour, weights[:, number, None])
        return values + working.lowest


def _weights(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """The weights (N, 8 D, h, w) of each cell's neighbours at D dilations."""
    count = 9 * len(dilations)
    mean = len(dilations) * image
    for neighbour in _neighbours(image, dilations):
        mean += neighbour
    mean /= count
    # The cell itself counts once per dilation.
    squares = len(dilations) * (image - mean).square_()
    for neighbour in _neighbours(image, dilations):
        squares += (neighbour - mean).square_()
    scale = squares.div_(count - 1).sqrt_().mul_(0.1).add_(_FLAT)
    likeness = [-((neighbour - image).abs_() / scale).mean(1) for neighbour in _neighbours(image, dilations)]
    return torch.stack(likeness, 1).softmax(1)


def _neighbours(images: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Images (…, h, w) shifted to each of the eight neighbours at each dilation, as views of one padded copy."""
    height, width = images.shape[-2:]
    most = max(dilations)
    padded = (
        F.pad(images, (most,) * 4, mode="replicate")
        if images.numel()
        else images.new_zeros((*images.shape[:-2], height + 2 * most, width + 2 * most))
    )
    for dilation in dilations:
        for down in (-dilation, 0, dilation):
            for right in (-dilation, 0, dilation):
                if down or right:
                    top, left = most + down, most + right
                    yield padded[..., top : top + height, left : left + width]
