"""A summary of a data set: its layout, classes and splits, and the annotations of their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from wsl.config import DataConfig
from wsl.data import detect_format, list_splits, read_samples
from wsl.samples import SampleSet
from wsl.tables.styles import format_table

_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitInfo:
    """The number of images of a split, and of their labels and annotations.

    ``images_of`` is the number of images of each class. ``unknown`` counts (image, class) pairs without a known label
    (difficult, uncertain or not verified), and ``verified_absent`` those that were verified to be absent. ``boxes`` is
    None if no image has box annotations; ``masks`` is the number of images with masks or outlines.
    """

    images: int
    unlabelled: int
    images_of: Mapping[str, int]
    unknown: int
    verified_absent: int
    boxes: int | None
    boxed_images: int
    difficult: int
    masks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataInfo:
    """The layout of a data set, its classes in the order of the score vector, and its splits."""

    data: str
    format: str
    classes: tuple[str, ...]
    splits: Mapping[str, SplitInfo]

    def __str__(self) -> str:
        heading = f"{self.data}: {self.format}, {len(self.classes)} classes"
        names = list(self.splits)
        header = ["", *names]
        rows = [[label, *cells] for label, *cells in zip(_LABELS, *map(_cells, self.splits.values()), strict=True)]
        rows = [row for row in rows if any(row[1:])]
        summary = format_table(header, rows, (0,), "markdown")
        shown = self.classes[:_SHOWN]
        counts = [[name, *(str(split.images_of.get(name, 0)) for split in self.splits.values())] for name in shown]
        classes = format_table(["images of class", *names], counts, (0,), "markdown")
        more = len(self.classes) - len(shown)
        return "\n\n".join([heading, summary, classes, *([f"and {more} more classes: --json has all"] if more else [])])


_LABELS = (
    "images",
    "labels per image",
    "images without a label",
    "pairs with an unknown label",
    "pairs verified absent",
    "boxes",
    "images with boxes",
    "difficult boxes",
    "images with masks",
)


def _cells(split: SplitInfo) -> tuple[str, ...]:
    labels = sum(split.images_of.values()) / max(1, split.images)
    optional = (split.unlabelled, split.unknown, split.verified_absent)
    boxes = ("not annotated", "", "") if split.boxes is None else (str(split.boxes), str(split.boxed_images), "")
    shown = (str(split.images), f"{labels:.2f}", *(str(count) if count else "" for count in optional), *boxes[:2])
    return (*shown, str(split.difficult or ""), str(split.masks or ""))


def data_info(config: DataConfig, split: str | None = None) -> DataInfo:
    """Summarise one split of a data set, or all that can be listed.

    The readers log what they leave out.

    Raises:
        UserError: as for `wsl.data.read_samples`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "train", "dog").mkdir(parents=True)
    ...     Path(root, "train", "dog", "a.jpg").touch()
    ...     data_info(DataConfig(data=Path(root))).splits["train"].images_of
    {'dog': 1}
    """
    names = (split,) if split is not None else list_splits(config)
    read = {name: read_samples(config, name) for name in names}
    first = next(iter(read.values()))
    layout = detect_format(config.data) if config.format == "auto" else config.format
    return DataInfo(
        data=str(config.data),
        format=layout,
        classes=first.classes,
        splits={name: _describe(samples) for name, samples in read.items()},
    )


def _describe(samples: SampleSet) -> SplitInfo:
    every = samples.samples
    boxed = [sample.boxes for sample in every if sample.boxes is not None]
    return SplitInfo(
        images=len(every),
        unlabelled=sum(not sample.labels for sample in every),
        images_of=dict(Counter(label for sample in every for label in sample.labels)),
        unknown=sum(len(sample.unknown(samples.classes)) for sample in every),
        verified_absent=sum(len(sample.negatives or ()) for sample in every),
        boxes=sum(map(len, boxed)) if boxed else None,
        boxed_images=sum(bool(len(boxes)) for boxes in boxed),
        difficult=sum(int(boxes.difficult.sum()) for boxes in boxed),
        masks=sum(bool(sample.mask or sample.object_masks or sample.outlines) for sample in every),
    )
