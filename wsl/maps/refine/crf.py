"""Class maps sharpened by a fully connected conditional random field over the image's cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.maps.refine.working_grid import on_working_grid

CELLS = 48
ITERATIONS = 10

# Entries of a kernel held at once, 64 MiB: the whole kernel of 64 x 64 cells.
_CHUNK = 1 << 24


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
    """Apply `dense_crf` with its defaults; the features are not used.

    >>> refine(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 32, 32), []).shape
    torch.Size([1, 1, 32, 32])
    """
    return dense_crf(maps, image)


def dense_crf(
    maps: Tensor,
    image: Tensor | None,
    *,
    iterations: int = ITERATIONS,
    near: float = 0.006,
    near_weight: float = 3.0,
    far: float = 0.16,
    colour: float = 13 / 255,
    far_weight: float = 10.0,
    level: float = 0.3,
    clip: float = 1e-5,
    cells: int = CELLS,
) -> Tensor:
    """Label each cell as foreground or background, so that cells of similar colour get the same label.

    Each map is a separate field. The map, normalised to [0, 1] and clipped to [``clip``, 1 - ``clip``], is the
    probability of foreground, with its odds divided by those of ``level``: at ``level`` of the range, foreground and
    background are equally likely. The pairwise terms are two Gaussian kernels in a Potts model: one of position with
    standard deviation ``near``, weighted by ``near_weight``, and one of position and colour with standard deviations
    ``far`` and ``colour``, weighted by ``far_weight``. Distances are fractions of the image's longer side. Inference is
    ``iterations`` of the mean field. Every cell is compared with every other: time grows with the fourth power of
    ``cells``, and so does memory up to the 64 MiB of a kernel of 64 x 64 cells; larger kernels are recomputed in parts.

    The result is the marginal of foreground, scaled to each map's own range; a constant map is unchanged. Computed in
    float32 on the device of the maps, image by image, without gradients, also under autocast.

    Shape:
        ``maps`` (N, J, h, w) and ``image`` (N, 3, H, W), RGB in [0, 1], cover exactly the images. The result is
        (N, J, n, m): the grid of the image, reduced to ``cells`` on the longer side if it is larger.

    Raises:
        UserError: there is no image, a tensor has another shape, or a setting is out of range.

    Source: Krähenbühl & Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011,
    algorithm 1, with the symmetric normalisation and the self term of their code, and with exact sums instead of its
    lattice. The defaults are those of Araslanov & Roth, CVPR 2020, for images of 500 pixels: standard deviations of 3
    and 80 pixels and of 13 grey levels, weights of 3 and 10.

    >>> halves = torch.tensor([0.0, 0, 1, 1]).expand(1, 3, 1, 4)
    >>> dense_crf(torch.tensor([[[[8.0, 6.0, 0.0, 1.0]]]]), halves, far=0.5).round()[0, 0, 0].tolist()
    [8.0, 8.0, 0.0, 0.0]
    """
    if iterations < 0 or not 0 < level < 1 or not 0 < clip < 0.5:
        raise UserError(
            f"iterations {iterations}, level {level}, clip {clip}: expected at least 0, a fraction in (0, 1) and "
            "one in (0, 0.5)"
        )
    if not min(near, far, colour) > 0 or not min(near_weight, far_weight) >= 0:
        raise UserError(
            f"near {near}, far {far}, colour {colour}, near weight {near_weight}, far weight {far_weight}: expected "
            "standard deviations above 0, and weights of at least 0"
        )
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        values, lowest, span, guide = on_working_grid(maps, image, cells)
        highest = values.amax((2, 3), keepdim=True)
        bottom = values.amin((2, 3), keepdim=True)
        extent = highest - bottom
        probability = (values - bottom) / extent.clamp(min=torch.finfo(torch.float32).tiny)
        odds = probability.clamp(clip, 1 - clip).logit() - math.log(level / (1 - level))
        marginals = torch.empty_like(values)
        for place, (unary, picture) in enumerate(zip(odds, guide, strict=True)):
            field = _Field(picture, near, near_weight, far, colour, far_weight)
            marginals[place] = field.marginals(unary, iterations)
        # NaN also counts as no contrast.
        return torch.where(extent > 0, marginals * span, values) + lowest


class _Field:
    """The pairwise terms of one image (3, h, w)."""

    def __init__(
        self, image: Tensor, near: float, near_weight: float, far: float, colour: float, far_weight: float
    ) -> None:
        self._size = height, width = image.shape[1], image.shape[2]
        longer = max(height, width)
        down, right = (torch.arange(side, device=image.device, dtype=torch.float32) for side in self._size)
        self._rows, self._columns = (_gaussian(axis / (near * longer)) for axis in (down, right))
        place = torch.stack(torch.meshgrid(down, right, indexing="ij")) / (far * longer)
        # Distances between smaller numbers lose fewer digits.
        picture = image - image.mean((1, 2), keepdim=True)
        self._points = torch.cat([place, picture / colour]).flatten(1).T.contiguous()
        self._near_weight, self._far_weight = near_weight, far_weight
        step = max(1, _CHUNK // len(self._points))
        self._parts = [slice(start, start + step) for start in range(0, len(self._points), step)]
        self._kept = self._kernel(self._parts[0]) if len(self._parts) == 1 else None
        ones = image.new_ones(1, *self._size)
        self._near_scale = self._near(ones).rsqrt()
        self._far_scale = self._far(ones).rsqrt()
        self._of_ones = self.messages(ones)

    def marginals(self, unary: Tensor, iterations: int) -> Tensor:
        """The probability of foreground (J, h, w), given its log-odds without neighbours."""
        probability = unary.sigmoid()
        for _ in range(iterations):
            # The probabilities of foreground and background sum to 1, so its messages need no second product.
            probability = (unary + 2 * self.messages(probability) - self._of_ones).sigmoid_()
        return probability

    def messages(self, values: Tensor) -> Tensor:
        """The weighted sum of both normalised kernels applied to values (J, h, w)."""
        near = self._near(values * self._near_scale) * self._near_scale
        far = self._far(values * self._far_scale) * self._far_scale
        return self._near_weight * near + self._far_weight * far

    def _near(self, values: Tensor) -> Tensor:
        return self._rows @ (values @ self._columns)

    def _far(self, values: Tensor) -> Tensor:
        flat = values.flatten(1)
        if self._kept is not None:
            return (flat @ self._kept).view_as(values)
        # The kernel is symmetric.
        return torch.cat([flat @ self._kernel(part).T for part in self._parts], 1).view_as(values)

    def _kernel(self, part: slice) -> Tensor:
        """Some rows of the kernel of position and colour."""
        # By the faster matrix product, the shortest distances, which weigh most, would lose their digits.
        distances = torch.cdist(self._points[part], self._points, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.square_().mul_(-0.5).exp_()


def _gaussian(positions: Tensor) -> Tensor:
    return (positions[:, None] - positions).square_().mul_(-0.5).exp_()
