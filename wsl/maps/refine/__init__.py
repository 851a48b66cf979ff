"""Refinements of class maps by name: each turns maps of what tells a class apart into maps of the whole object.

A refinement is one file with a function ``refine`` (see `Refinement`), and a line in `REFINEMENTS`.

>>> sorted(REFINEMENTS)
['affinity']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from wsl.maps.refine import affinity
from wsl.maps.refine.affinity import random_walk

__all__ = ["REFINEMENTS", "Refinement", "random_walk"]


class Refinement(Protocol):
    """A refinement of the class maps of a batch of images, on the device of its tensors."""

    def __call__(self, maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
        """Refine the maps of J classes an image.

        All arguments cover exactly the images' content. Results are float32, have no gradient, and do not depend on
        the other images of the batch. A refinement ignores the arguments that it does not need.

        Shape:
            ``maps`` (N, J, h, w), ``image`` (N, 3, H, W) RGB in [0, 1], each of ``features`` (N, C, h', w'); the
            result is (N, J, n, m), at a resolution that the refinement chooses.
        """


REFINEMENTS: Mapping[str, Refinement] = MappingProxyType({"affinity": affinity.refine})
