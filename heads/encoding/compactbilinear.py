"""Compact bilinear pooling: bilinear pooling with a few thousand outputs, by random projection (Tensor Sketch)."""

import torch
from torch import Tensor

from heads._checks import check_flag, check_positive_int
from heads.encoding._encoder import Encoder
from heads.encoding.bilinear import check_other, check_source, evened, mean_outer_product, paired_columns


def compactbilinear(
    features: Tensor,
    other: Tensor | None = None,
    *,
    places: tuple[Tensor, Tensor],
    signs: tuple[Tensor, Tensor],
    dim: int,
    signed_sqrt: bool = True,
    l2: bool = True,
) -> Tensor:
    """The Tensor Sketch of the outer product of two feature vectors, averaged over the locations.

    Channel i of the first source and j of the second add ``signs[0][i] * signs[1][j]`` times their mean product to the
    output (``places[0][i] + places[1][j]``) modulo ``dim``. Over random places and signs, the expected inner product of
    two sketches is the inner product of the outer products, with a variance of about 1 / dim.

    The paper convolves a sketch of each source at each location, by FFT, and sums over locations. A sketch is linear,
    so summing before sketching gives the same numbers, with C * C' products instead of ``dim`` sums at each of n
    locations. The cheaper order is chosen: summing first if C * C' <= n * dim (10 times as fast for 512 channels,
    14 x 14 locations and 8192 outputs on a CPU), and always in compiled and exported programs.

    Shape:
        (N, C, H, W) and (N, C', H, W) -> (N, dim), or without N. ``places`` and ``signs`` are (C,) and (C',).

    Raises:
        TypeError, ValueError: features of the wrong type or shape; sources of different locations.

    Source: Gao et al., Compact bilinear pooling, CVPR 2016, algorithm 2; Pham and Pagh, KDD 2013.

    >>> places, signs = torch.tensor([0, 1]), torch.tensor([1.0, -1.0])
    >>> features = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]])
    >>> compactbilinear(features, places=(places,) * 2, signs=(signs,) * 2, dim=3, signed_sqrt=False, l2=False)
    tensor([ 2.5000, -3.0000,  4.5000])
    """
    left, right = paired_columns(features, other)
    signed = left * signs[0].to(left.dtype).unsqueeze(-1), right * signs[1].to(right.dtype).unsqueeze(-1)
    added_first = torch.compiler.is_compiling() or left.shape[-2] * right.shape[-2] <= left.shape[-1] * dim
    sketch = (_sketch_of_mean if added_first else _mean_of_sketches)(*signed, places, dim)
    return evened(sketch, signed_sqrt=signed_sqrt, l2=l2).to(features.dtype)


def _sketch_of_mean(left: Tensor, right: Tensor, places: tuple[Tensor, Tensor], dim: int) -> Tensor:
    product = mean_outer_product(left, right).flatten(-2)
    place = (places[0].unsqueeze(-1) + places[1]) % dim
    return product.new_zeros((*product.shape[:-1], dim)).index_add(-1, place.flatten(), product)


def _mean_of_sketches(left: Tensor, right: Tensor, places: tuple[Tensor, Tensor], dim: int) -> Tensor:
    spectra = []
    for columns, place in zip((left / left.shape[-1], right), places, strict=True):
        empty = columns.new_zeros((*columns.shape[:-2], columns.shape[-1], dim))
        spectra.append(torch.fft.rfft(empty.index_add(-1, place, columns.mT)))
    # The transform is also linear, so one inverse transform serves all locations.
    mean: Tensor = torch.fft.irfft((spectra[0] * spectra[1]).sum(-2), n=dim)
    return mean


class CompactBilinear(Encoder):
    """Compact bilinear pooling: ``dim`` outputs instead of C * C', with random places and signs drawn from ``seed``.

    Places and signs are buffers, so a checkpoint contains those it was trained with. On a GPU
    `torch.use_deterministic_algorithms` makes the sums reproducible.

    >>> CompactBilinear(512, dim=4096)
    compactbilinear(dim=4096)
    """

    places: Tensor
    signs: Tensor
    other_places: Tensor
    other_signs: Tensor

    def __init__(
        self,
        in_channels: int,
        dim: int = 8192,
        *,
        other_channels: int | None = None,
        seed: int = 0,
        signed_sqrt: bool = True,
        l2: bool = True,
    ) -> None:
        super().__init__(in_channels)
        self.dim = self.out_features = check_positive_int(dim, "dim")
        self.other_channels = check_other(other_channels)
        self.seed = _check_seed(seed)
        self.signed_sqrt = check_flag(signed_sqrt, "signed_sqrt")
        self.l2 = check_flag(l2, "l2")
        generator = torch.Generator().manual_seed(self.seed)
        for prefix, channels in (("", self.in_channels), ("other_", self.other_channels or self.in_channels)):
            places = torch.randint(self.dim, (channels,), generator=generator)
            signs = 2.0 * torch.randint(2, (channels,), generator=generator) - 1
            self.register_buffer(f"{prefix}places", places)
            self.register_buffer(f"{prefix}signs", signs)

    def forward(self, features: Tensor, other: Tensor | None = None) -> Tensor:
        """Features to vectors: see `compactbilinear`."""
        self._check(features)
        check_source(other, self.other_channels)
        return compactbilinear(
            features,
            other,
            places=(self.places, self.other_places),
            signs=(self.signs, self.other_signs),
            dim=self.dim,
            signed_sqrt=self.signed_sqrt,
            l2=self.l2,
        )


def _check_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed is {seed!r}, expected an integer of 0 or more")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}, expected 0 or more, below 2 ** 63")
    return seed
