"""The split on which predictions are evaluated, as passed to their readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from wsl.samples import SampleSet


class Numbers(NamedTuple):
    """The file names of images and the names of categories by their ids in COCO's annotations.

    >>> Numbers({7: "a.jpg"}, {18: "dog"}).categories[18]
    'dog'
    """

    images: Mapping[int | str, str]
    categories: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The samples of a split, its name, and inputs of single formats.

    ``numbers`` reads the ids of COCO's annotations, and is None for other annotations; ``side`` is the side of score
    maps, if the protocol prescribes one.

    >>> Split(samples=SampleSet(classes=["dog"], samples=[]), name="val").numbers is None
    True
    """

    samples: SampleSet
    name: str
    numbers: Callable[[], Numbers] | None = None
    side: int | None = None
