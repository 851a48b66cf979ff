"""Class maps filtered with the image as guide, so that edges of the map follow those of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.maps.refine.working_grid import on_working_grid
from wsl.resampling import window

CELLS = 128
RADIUS = 16
EPS = 1e-3


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
    """Apply `guided_filter` with its defaults; the features are not used.

    >>> refine(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 32, 32), []).shape
    torch.Size([1, 1, 32, 32])
    """
    return guided_filter(maps, image)


def guided_filter(
    maps: Tensor, image: Tensor | None, *, radius: int = RADIUS, eps: float = EPS, cells: int = CELLS
) -> Tensor:
    """Fit each map in every window by a linear function of the image's colour, and average the fits of all windows.

    In the square window of side ``2 radius + 1`` around each cell, cut off at the border, the map is fitted by
    ``a · colour + b`` with the penalty ``eps |a|^2``. ``eps`` is a variance of colours in [0, 1]: where the image
    varies less, the result is a mean of the map; where it varies more, an edge of the image becomes an edge of the map.
    Where the image has a constant colour, the result is the map's mean over windows, taken twice.

    A fit can leave the map's range, so the result is clamped to it. Computed in float32 on the device of the maps,
    without gradients, also under autocast.

    Shape:
        ``maps`` (N, J, h, w) and ``image`` (N, 3, H, W), RGB in [0, 1], cover exactly the images. The result is
        (N, J, n, m): the grid of the image, reduced to ``cells`` on the longer side if it is larger.

    Raises:
        UserError: there is no image, a tensor has another shape, or a setting is out of range.

    Source: He, Sun & Tang, Guided Image Filtering, TPAMI 2013, equations 15 to 18 (a colour guide).

    >>> step = torch.tensor([0.0, 0, 1, 1]).expand(1, 3, 4, 4)
    >>> guided_filter(torch.tensor([[[[8.0, 8.0, 0.0, 0.0]]]]), step, radius=1).round()[0, 0, 0].tolist()
    [8.0, 8.0, 0.0, 0.0]
    """
    if radius < 0 or not eps > 0:
        raise UserError(f"radius {radius}, eps {eps}: expected at least 0 cells, and more than 0")
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        values, lowest, span, guide = on_working_grid(maps, image, cells)
        height, width = values.shape[2:]
        rows, columns = (window(side, radius).on(values.device) for side in (height, width))

        # At these sizes, products with banded matrices are faster than running sums, and round less.
        def mean(images: Tensor) -> Tensor:
            return rows @ (images @ columns.T)

        # Means of products lose fewer digits around 0.
        guide = guide - guide.mean((2, 3), keepdim=True)
        colour, value = mean(guide), mean(values)
        entries = [(i, j) for i in range(3) for j in range(i, 3)]
        first, second = ([entry[at] for entry in entries] for at in (0, 1))
        covariance = mean(guide[:, first] * guide[:, second]) - colour[:, first] * colour[:, second]
        products = mean(values[:, :, None] * guide[:, None]) - value[:, :, None] * colour[:, None]
        slopes = _solve(covariance, products, eps)
        offsets = value - (slopes * colour[:, None]).sum(2)
        fitted = (mean(slopes) * guide[:, None]).sum(2) + mean(offsets)
        return fitted.clamp_(min=0).minimum(span) + lowest


def _solve(covariance: Tensor, products: Tensor, eps: float) -> Tensor:
    """The slopes (N, J, 3, h, w) of a ridge regression of 3 colours.

    By elimination without pivots, which is stable for a positive definite matrix; for nearly grey images the cofactors
    of the inverse would lose all digits.

    Shape:
        ``covariance`` (N, 6, h, w), the upper triangle row by row, and ``products`` (N, J, 3, h, w).
    """
    rr, rg, rb, gg, gb, bb = covariance[:, :, None].unbind(1)
    # Rounding can make the variance of an area of constant colour negative.
    rr, gg, bb = (variance.clamp(min=0) + eps for variance in (rr, gg, bb))
    red, green, blue = products.unbind(2)
    by_red, from_red = rg / rr, rb / rr
    gg, gb = (gg - by_red * rg).clamp(min=eps), gb - by_red * rb
    green = green - by_red * red
    by_green = gb / gg
    bb = (bb - from_red * rb - by_green * gb).clamp(min=eps)
    blue = (blue - from_red * red - by_green * green) / bb
    green = (green - gb * blue) / gg
    red = (red - rg * green - rb * blue) / rr
    return torch.stack([red, green, blue], 2)
