"""What a reader of predictions is told of the split that they are measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from wsl.samples import SampleSet


class Numbers(NamedTuple):
    """What the numbers of COCO's annotations stand for: the file name of each image, the name of each category.

    >>> Numbers({7: "a.jpg"}, {18: "dog"}).categories[18]
    'dog'
    """

    images: Mapping[int | str, str]
    categories: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The samples of a split, its name, and what only some formats ask for.

    ``numbers`` reads COCO's numbers, None where the annotations have none; ``side`` is that of score maps which a
    protocol has at one size.

    >>> Split(samples=SampleSet(classes=["dog"], samples=[]), name="val").numbers is None
    True
    """

    samples: SampleSet
    name: str
    numbers: Callable[[], Numbers] | None = None
    side: int | None = None
