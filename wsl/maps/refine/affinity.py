"""Class maps spread over similar cells: from the discriminative part to the whole object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.maps.refine.working_grid import check_maps, resized
from wsl.resampling import shrunk

CELLS = 24


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
    """Apply `random_walk` with its defaults; the image is not used.

    >>> refine(torch.ones(1, 1, 2, 2), None, [torch.ones(1, 3, 2, 2)]).shape
    torch.Size([1, 1, 2, 2])
    """
    return random_walk(maps, features)


def random_walk(
    maps: Tensor, features: Sequence[Tensor], *, power: int = 2, steps: int = 3, cells: int = CELLS
) -> Tensor:
    """Spread class maps over cells with similar features by a random walk over each image's own affinities.

    The similarity of two cells is the cosine of their features after subtracting the image's mean, averaged over the
    layers in ``features``. Their affinity is the similarity raised to ``power`` if it is positive, else 0. Each of
    ``steps`` replaces a cell's value by the mean of all cells' values, weighted by their affinities to the cell. A
    larger power restricts the walk to more similar cells; more steps carry it further. Values stay within each map's
    own range, so boxes need a higher threshold than without refinement (0.5 instead of 0.2).

    Computed in float32 on the device of the maps, without gradients, also under autocast.

    Shape:
        ``maps`` (N, J, h, w) and each of ``features`` (N, C, h', w') cover exactly the images. The result is
        (N, J, n, m): the grid of the finest features, reduced to ``cells`` on the longer side if it is larger.

    Raises:
        UserError: a tensor has another shape, or a setting is out of range.

    Source: Ahn & Kwak, Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
    Semantic Segmentation, CVPR 2018, "Revising CAMs Using AffinityNet", with the backbone's own features instead of
    the trained AffinityNet.

    >>> bright_and_dark = torch.tensor([[[[1.0, 1, -1, -1], [1, 1, -1, -1]]]])
    >>> random_walk(torch.tensor([[[[0.0, 8, 0, 0], [0, 0, 0, 2]]]]), [bright_and_dark]).tolist()
    [[[[2.0, 2.0, 0.5, 0.5], [2.0, 2.0, 0.5, 0.5]]]]
    """
    _check(maps, features, power, steps, cells)
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        height, width = _grid(features, cells)
        # bmm of channels-last tensors would run channel by channel.
        layers = [layer.to(torch.float32, memory_format=torch.contiguous_format) for layer in features]
        affinities = _affinities(layers, (height, width), power)
        totals = affinities.sum(1, keepdim=True)
        lowest = maps.float().amin((2, 3), keepdim=True)
        # Relative to the lowest value, so that a constant map stays exactly constant.
        values = resized(maps.float() - lowest, (height, width), area=False).flatten(2)
        for _ in range(steps):
            # No transpose is needed: affinities are symmetric.
            values = torch.bmm(values, affinities) / totals
        return values.view(*maps.shape[:2], height, width) + lowest


def _check(maps: Tensor, features: Sequence[Tensor], power: int, steps: int, cells: int) -> None:
    if power < 1 or steps < 0 or cells < 1:
        raise UserError(f"power {power}, steps {steps}, cells {cells}: expected at least 1, 0 and 1 of them")
    check_maps(maps)
    if not features:
        raise UserError("no features, expected those of at least one layer")
    for layer in features:
        if layer.ndim != 4 or 0 in layer.shape[1:] or len(layer) != len(maps):
            raise UserError(f"features have shape {tuple(layer.shape)}, expected ({len(maps)}, channels, h, w) a layer")


def _grid(features: Sequence[Tensor], cells: int) -> tuple[int, int]:
    """Height and width of the finest layer, reduced to at most ``cells`` on the longer side."""
    height, width = max((layer.shape[2:] for layer in features), key=max)
    return shrunk(height, width, cells)


def _affinities(layers: Sequence[Tensor], size: tuple[int, int], power: int) -> Tensor:
    """Affinities (N, n, n) of the n cells of a grid of this size; 1 for a cell and itself."""
    directions = torch.cat([_directions(layer, size) for layer in layers], 1)
    similarities = torch.bmm(directions.mT, directions).div_(len(layers))
    affinities = similarities.clamp_(min=0).pow_(power)
    # Including cells that equal the mean, whose direction is zero.
    affinities.diagonal(dim1=1, dim2=2).fill_(1)
    return affinities


def _directions(layer: Tensor, size: tuple[int, int]) -> Tensor:
    """Unit vectors (N, C, n) from the mean of a layer's cells to each cell; 0 if they differ by rounding only."""
    height, width = layer.shape[2:]
    cells = resized(layer, size, area=height >= size[0] and width >= size[1]).flatten(2)
    highest = cells.abs().amax((1, 2), keepdim=True)
    cells -= cells.mean(2, keepdim=True)
    # torch.linalg.vector_norm takes ten times as long.
    lengths = cells.square().sum(1, keepdim=True).sqrt_()
    return cells.mul_((lengths > 1e-5 * highest) / lengths.clamp(min=torch.finfo(torch.float32).tiny))
