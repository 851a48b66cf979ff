"""Spatial calibration of class maps and attention against each other, for training a transformer."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, tanhshrink

from heads._checks import check_attention

# Newton-Schulz iterations of the blocks, and the factor of its start, as in the authors' code.
_ITERATIONS = (16, 4, 4, 4)
_ALPHA = 0.002


class SpatialCalibration(nn.Module):
    """Class maps weighted by attention that was spread to similar neighbours, for the scores of a training step.

    Four `CalibrationBlock` in sequence; the first gets the attention stretched to [0, 1]. They are used only in
    training, where their gradients train the transformer.

    The computation is in at least float32, also under autocast.

    Shape:
        maps (N, K, h, w) and attention (N, h, w) to maps (N, K, h, w), for any h and w.

    Raises:
        ValueError: the shape of the attention does not match that of the maps.

    Source: Bai et al., Weakly supervised object localization via transformer with implicit spatial calibration (SCM),
    ECCV 2022, and the authors' code, which has a fixed grid of 14 x 14 and divides by zero if attention is constant:
    here a constant map becomes zeros.

    >>> SpatialCalibration()(torch.randn(2, 5, 7, 9), torch.rand(2, 7, 9)).shape
    torch.Size([2, 5, 7, 9])
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CalibrationBlock(iterations) for iterations in _ITERATIONS)

    def forward(self, maps: Tensor, attention: Tensor) -> Tensor:
        """Calibrated maps."""
        check_attention(attention, maps)
        with torch.autocast(maps.device.type, enabled=False):
            kind = torch.promote_types(maps.dtype, torch.float32)
            maps, attention = maps.to(kind), stretch(attention.to(kind))
            for block in self.blocks:
                maps, attention = block(maps, attention)
        return maps


class CalibrationBlock(nn.Module):
    """One calibration step: attention spreads over the grid, low values shrink, and the maps are weighted by it.

    With maps S, attention F and the cosine similarities E of the locations' K values, the Laplacian of the grid becomes
    L = Laplacian * (``strength`` E - 1), and F' = stretch(tanhshrink(L^-1 F / (``threshold`` max F))). The block gives
    S + S F' and F + F'. ``strength`` and ``threshold`` are learnt. The inverse is an approximation (`inverse`).

    Shape:
        maps (N, K, h, w) and attention (N, h, w) to the same shapes.

    >>> maps, attention = CalibrationBlock(4)(torch.ones(1, 2, 3, 3), torch.zeros(1, 3, 3))
    >>> maps.unique().tolist(), attention.unique().tolist()
    ([1.0], [0.0])
    """

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.strength = nn.Parameter(torch.ones(1))
        self.threshold = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, maps: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """The maps and the attention for the next block."""
        tokens = normalize(maps.flatten(2).mT, dim=-1)
        graph = laplacian(maps.shape[-2], maps.shape[-1], maps.device).to(maps.dtype)
        spreading = inverse(graph * (self.strength * (tokens @ tokens.mT) - 1), self.iterations)
        spread = (spreading.mT @ attention.flatten(1)[..., None]).view_as(attention)
        unit = self.threshold * attention.amax((1, 2), keepdim=True)
        found = stretch(tanhshrink(spread / _not_zero(unit)))
        return maps + maps * found[:, None], attention + found

    def extra_repr(self) -> str:
        """The number of iterations."""
        return f"iterations={self.iterations}"


def laplacian(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The Laplacian of a grid with 4 neighbours: degrees on the diagonal, -1 between neighbours.

    Shape:
        (h w, h w) float32, locations in row-major order.

    >>> laplacian(1, 3).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]]
    """
    rows, columns = (_path(length, device) for length in (height, width))
    eyes = [torch.eye(length, device=device) for length in (height, width)]
    return torch.kron(rows, eyes[1]) + torch.kron(eyes[0], columns)


def inverse(matrices: Tensor, iterations: int) -> Tensor:
    """Approximate inverses by Newton-Schulz: X <- X (2 - M X), starting at X = 0.002 M^T, a constant for gradients.

    Shape:
        (..., n, n) to the same shape.

    >>> inverse(torch.eye(2) * 4, 16).round(decimals=3).tolist()
    [[0.25, 0.0], [0.0, 0.25]]
    """
    found = _ALPHA * matrices.detach().mT
    for _ in range(iterations):
        found = 2 * found - found @ matrices @ found
    return found


def stretch(maps: Tensor) -> Tensor:
    """Maps (N, h, w) each stretched linearly to [0, 1]; constant ones become zeros.

    >>> stretch(torch.tensor([[[1.0, 3.0]], [[2.0, 2.0]]])).tolist()
    [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / _not_zero(maps.amax((-2, -1), keepdim=True))


def _not_zero(values: Tensor) -> Tensor:
    return torch.where(values == 0, torch.ones_like(values), values)


def _path(length: int, device: torch.device | str) -> Tensor:
    """The Laplacian of a row of locations."""
    steps = torch.eye(length, device=device).diff(dim=0)
    return steps.mT @ steps
