"""Predictions in the formats of annotation tools, with the readers of `wsl.formats.exchange`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from wsl.errors import UserError
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.parsing import rows_of
from wsl.formats.predictions.detections import Detection, Detections
from wsl.formats.predictions.matching import Pairs
from wsl.samples import SampleSet


def read_labelled(images: Iterable[Labelled], place: Path, samples: SampleSet, warnings: Counter[str]) -> Pairs:
    """Read the boxes of every image of a split, from the images of an annotation tool; all are held in memory.

    Tolerated problems are counted in ``warnings``, see `Detections`.

    Raises:
        UserError: an image is listed twice, or its size is not the annotated one; or as for the reader of the images
            and `Detections`.

    >>> from wsl.boxes import Boxes
    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> dog = Boxes(xyxy=[[1, 2, 3, 4]], labels=["dog"], scores=[0.5])
    >>> images = [Labelled(name="a.jpg", size=(9, 9), boxes=dog)]
    >>> [(found, _)] = read_labelled(images, Path("labels"), samples, Counter())
    >>> found.boxes.xyxy.tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    detections = Detections(samples, warnings, place, "xyxy")
    add_labelled(images, detections)
    return detections.pairs()


def add_labelled(images: Iterable[Labelled], detections: Detections) -> None:
    """Add the boxes of images to detections.

    Raises:
        UserError: an image is listed twice, or its size is not the annotated one.
    """
    seen: dict[Path, str] = {}
    for image in images:
        sample = detections.match(image.name)
        if sample is not None:
            if sample.path in seen:
                raise UserError(
                    f"{detections.place}: {seen[sample.path]} and {image.name} are both the image {sample.id!r}, "
                    "expected each image once: merge or remove one of them"
                )
            seen[sample.path] = image.name
            if sample.size is not None and tuple(sample.size) != tuple(image.size):
                raise UserError(
                    f"{detections.place}: {image.name} is {image.size[0]}x{image.size[1]} pixels, annotated at "
                    f"{sample.size[0]}x{sample.size[1]}: expected boxes in pixels of the annotated image"
                )
        for label, score, xyxy in rows_of(image.boxes):
            detections.add(image.name, sample, Detection(label, score, xyxy), f"{detections.place}: {image.name}")
