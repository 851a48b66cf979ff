"""Refinements of class maps by name: each extends maps of discriminative parts to maps of whole objects.

A refinement is one file with a function ``refine`` (see `Refine`), and a line in `REFINEMENTS`. The underlying
functions have settings: `random_walk` (affinity), `pixel_adaptive` (pamr), `dense_crf` (crf), `guided_filter` (guided)
and `grab_cut` (grabcut).

>>> sorted(REFINEMENTS)
['affinity', 'crf', 'decoder', 'grabcut', 'guided', 'pamr']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from torch import Tensor

from wsl.maps.refine import affinity, crf, decoder, grabcut, guided, pamr
from wsl.maps.refine.affinity import random_walk
from wsl.maps.refine.crf import dense_crf
from wsl.maps.refine.grabcut import grab_cut
from wsl.maps.refine.guided import guided_filter
from wsl.maps.refine.pamr import pixel_adaptive
from wsl.maps.refine.working_grid import resized

__all__ = [
    "REFINEMENTS",
    "Refine",
    "Refinement",
    "dense_crf",
    "grab_cut",
    "guided_filter",
    "pixel_adaptive",
    "random_walk",
    "resized",
]


class Refine(Protocol):
    """A refinement of the class maps of a batch of images, on the device of its tensors."""

    def __call__(self, maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
        """Refine the maps of J classes per image.

        All arguments cover exactly the images' content. Results are float32, have no gradient, stay within each map's
        own range, and do not depend on the other images of the batch. A refinement ignores the arguments that it does
        not need.

        Shape:
            ``maps`` (N, J, h, w), ``image`` (N, 3, H, W) RGB in [0, 1], each of ``features`` (N, C, h', w'); the
            result is (N, J, n, m), at a resolution that the refinement chooses.
        """


class Refinement(NamedTuple):
    """A refinement and what it reads.

    ``cells`` is the largest number of cells on the longer side of the features that it reads; None leaves features at
    their own size. The image and the intermediate features are computed only for refinements that read them. A
    ``decoded`` refinement applies to the maps of the model's decoder.
    """

    apply: Refine
    cells: int | None = None
    reads_image: bool = False
    decoded: bool = False
    reads_features: bool = True


REFINEMENTS: Mapping[str, Refinement] = MappingProxyType(
    {
        "affinity": Refinement(affinity.refine, affinity.CELLS),
        "decoder": Refinement(decoder.refine, affinity.CELLS, decoded=True),
        "pamr": Refinement(pamr.refine, reads_image=True, reads_features=False),
        "crf": Refinement(crf.refine, reads_image=True, reads_features=False),
        "guided": Refinement(guided.refine, reads_image=True, reads_features=False),
        "grabcut": Refinement(grabcut.refine, reads_image=True, reads_features=False),
    }
)
"""Every refinement by name."""
