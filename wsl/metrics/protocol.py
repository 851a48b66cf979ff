"""What every streaming metric of this room looks like from outside."""

from __future__ import annotations

from typing import Protocol

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.results import Localization, Metric
from wsl.samples import Sample


class StreamingMetric(Protocol):
    """A metric that sees one image at a time and can be read at any moment.

    `update` leaves its arguments as they are and keeps no reference to an image's maps; `compute` changes nothing,
    so more images may follow it. What a metric keeps in memory is stated in its docstring.
    """

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in one image: what was found in it and what is there."""

    def compute(self) -> Metric | tuple[Metric, ...]:
        """The number over all images so far; its value is None where nothing could be measured."""


def annotated_boxes(sample: Sample) -> Boxes:
    """The true boxes of a sample, for metrics that cannot do without.

    Raises:
        UserError: nobody annotated boxes in this image.

    >>> len(annotated_boxes(Sample(path="a.jpg", boxes=Boxes.empty())))
    0
    """
    if sample.boxes is None:
        raise UserError(f"{sample.path}: no boxes are annotated, expected some (or an empty list): leave the image out")
    return sample.boxes
