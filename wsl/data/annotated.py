"""Data sets exported by annotation tools: tags become weak labels, boxes the ground truth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from wsl.boxes import Boxes
from wsl.data.splits import find_split
from wsl.documents import guarded
from wsl.errors import BadImageError, UserError
from wsl.formats.exchange.cvat import read_cvat
from wsl.formats.exchange.fiftyone import fiftyone_file, read_fiftyone
from wsl.formats.exchange.label_studio import measured_in, read_label_studio
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.labelme import read_labelme
from wsl.formats.exchange.parsing import file_in
from wsl.formats.exchange.table import read_table
from wsl.formats.exchange.yolo import read_yolo
from wsl.formats.predictions.recognise import (
    is_box_table,
    is_cvat,
    is_fiftyone,
    is_label_studio,
    is_labelme_place,
    is_yolo_set,
)
from wsl.images.archives import is_image_file
from wsl.images.decode import image_size
from wsl.images.sources import require_files
from wsl.samples import Sample, SampleSet

log = logging.getLogger("wsl")

Tool = Literal["label-studio", "cvat", "fiftyone", "yolo", "labelme", "boxes-csv"]


class _Export(NamedTuple):
    """The contents of a tool's files, and the folders in which its images may lie."""

    images: Iterator[Labelled]
    folders: tuple[Path, ...]


@guarded("what an annotation tool exports")
def read_annotated(
    source: str | Path, split: str | None, tool: Tool, image_root: str | Path | None = None
) -> SampleSet:
    """The images, labels and boxes of a data set exported by a tool.

    An image's labels are its tags (Label Studio's choices, CVAT's tags, FiftyOne's classifications) and the classes of
    its boxes; tasks that were not reviewed are left out. If no image of the export has a box, boxes are treated as not
    annotated; else they are the ground truth. The classes are all labels of the export, sorted.

    Args:
        source: The tool's file, or its folder.
        split: The split of an image in the tool (CVAT's subsets, FiftyOne's tags), or the folder with which its name
            starts; None or ``all`` takes every image.
        tool: The name of the tool.
        image_root: The folder to which the names of images are relative. None looks in ``images``, ``data`` and the
            folder of the file.

    Raises:
        UserError: as for the tool's reader; there is no such split; an image is missing, or has no label and no box.

    >>> read_annotated("lost.json", None, "label-studio")
    Traceback (most recent call last):
    wsl.errors.UserError: lost.json: cannot be read (No such file or directory); expected Label Studio's tasks...
    """
    source = Path(source)
    root = None if image_root is None else Path(image_root)
    export = TOOLS[tool].export(source, root)
    every = list(export.images)
    found = [image for image in every if image.reviewed]
    if len(found) < len(every):
        log.warning("%s: left out %d tasks that nobody has reviewed", source, len(every) - len(found))
    if not found:
        raise UserError(f"{source}: no image that somebody annotated; expected at least one")
    classes = tuple(sorted({label for image in found for label in (*image.tags, *image.boxes.labels)}))
    if not classes:
        raise UserError(f"{source}: no image has a tag or a box; expected labels of images")
    drawn = any(len(image.boxes) for image in found)
    folder = root or next((one for one in export.folders if is_image_file(one / found[0].name)), export.folders[0])
    chosen = _of_split(found, split, source)
    samples = tuple(_sample(image, folder, classes, drawn=drawn) for image in chosen)
    require_files((sample.path for sample in samples), str(source), movable=True)
    return SampleSet(classes=classes, samples=samples)


def _sample(image: Labelled, folder: Path, classes: tuple[str, ...], *, drawn: bool) -> Sample:
    labels = {*image.tags, *image.boxes.labels}
    boxes = Boxes(xyxy=image.boxes.xyxy, labels=image.boxes.labels) if drawn else None
    return Sample(
        path=folder / image.name,
        id=image.name,
        labels=tuple(name for name in classes if name in labels),
        boxes=boxes,
        size=image.size,
    )


def _of_split(found: list[Labelled], split: str | None, source: Path) -> list[Labelled]:
    """The images that the tool assigns to a split, or whose names start with its folder."""
    parts: dict[str, list[Labelled]] = {"all": found}
    for image in found:
        folders = image.name.split("/")[:-1]
        name = image.split or next(iter(folders), None)
        if name is not None and name != "all":
            parts.setdefault(name, []).append(image)
    return parts[find_split(split, parts, source)]


def _label_studio(source: Path, root: Path | None) -> _Export:
    file = file_in(source, "tasks.json")
    beside = file if file.is_dir() else file.parent
    folders = (root,) if root else (beside / "images", beside / "data", beside)

    def size(path: Path) -> tuple[int, int] | None:
        try:
            return image_size(path)
        except BadImageError:
            return None

    return _Export(read_label_studio(file, sizes=measured_in(folders, size)), folders)


def _cvat(source: Path, root: Path | None) -> _Export:
    file = file_in(source, "annotations.xml")
    return _Export(read_cvat(file), (file.parent / "images", file.parent))


def _fiftyone(source: Path, root: Path | None) -> _Export:
    return _Export(read_fiftyone(source, image_size), (fiftyone_file(source).parent,))


def _labelme(source: Path, root: Path | None) -> _Export:
    return _Export(read_labelme(source), (source if source.is_dir() else source.parent,))


def _yolo(source: Path, root: Path | None) -> _Export:
    base = source.parent if source.is_file() else source
    # Roboflow has images/ and labels/ in the folder of each split.
    return _Export(read_yolo(source, image_size), (base / "images", base))


def _box_table(source: Path, root: Path | None) -> _Export:
    file = file_in(source, "boxes.csv")
    return _Export(read_table(file), (file.parent / "images", file.parent))


class _Tool(NamedTuple):
    """How the export of a tool is recognised and read; the folder of the images is None unless the user names one."""

    recognise: Callable[[Path], bool]
    export: Callable[[Path, Path | None], _Export]


TOOLS: Mapping[Tool, _Tool] = MappingProxyType(
    {
        "yolo": _Tool(is_yolo_set, _yolo),
        "cvat": _Tool(is_cvat, _cvat),
        "fiftyone": _Tool(is_fiftyone, _fiftyone),
        "label-studio": _Tool(is_label_studio, _label_studio),
        "labelme": _Tool(is_labelme_place, _labelme),
        "boxes-csv": _Tool(is_box_table, _box_table),
    }
)
"""The supported tools, in the order in which their exports are looked for."""
