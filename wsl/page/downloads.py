"""Downloads of the page: boxes in the formats of other tools, and pictures."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.draw import save_image
from wsl.files import UniqueNames
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.placing import FlatNames

_WRITTEN = ("coco", "voc", "yolo")


class Found(NamedTuple):
    """One image to download: the name of its file, its (width, height), its boxes, and its picture with the heatmap."""

    name: str
    size: tuple[int, int]
    boxes: Boxes
    picture: npt.NDArray[np.uint8]


class Downloads:
    """A folder below ``folder`` for the files of each request; only those of the last ``kept`` requests are kept.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Downloads(Path(folder), kept=1).new().parent == Path(folder)
    True
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self._folder, self._kept = folder, kept
        self._there: deque[Path] = deque()

    def new(self) -> Path:
        """An empty folder."""
        self._there.append(Path(tempfile.mkdtemp(dir=self._folder)))
        while len(self._there) > self._kept:
            shutil.rmtree(self._there.popleft(), ignore_errors=True)
        return self._there[-1]


def write_one(found: Found, folder: Path) -> list[Path]:
    """Write the boxes of one image as COCO, VOC and YOLO files, and its picture, into ``folder``; return the files."""
    image = _labelled(found)
    stem = image.stem
    written = {"coco": "annotations/instances_all.json", "voc": f"Annotations/{stem}.xml", "yolo": f"labels/{stem}.txt"}
    files = []
    for known, file in written.items():
        FORMATS[known].write(iter([image]), folder / known, sorted(set(found.boxes.labels)))
        files.append((folder / known / file).replace(folder / f"{stem}-{known}{Path(file).suffix}"))
    save_image(folder / f"{stem}-overlay.png", found.picture)
    return [*files, folder / f"{stem}-overlay.png"]


def write_many(found: Sequence[Found], folder: Path) -> Path:
    """Write the boxes of several images as COCO, VOC and YOLO, and their pictures, into one ZIP file; return it."""
    names = FlatNames()
    images = [names(_labelled(one)) for one in found]
    classes = sorted({label for one in found for label in one.boxes.labels})
    packed = folder / "packed"
    for known in _WRITTEN:
        FORMATS[known].write(iter(images), packed / known, classes)
    for image, one in zip(images, found, strict=True):
        save_image(packed / "overlays" / f"{image.stem}.png", one.picture)
    archive = Path(shutil.make_archive(str(folder / "boxes"), "zip", packed))
    shutil.rmtree(packed)
    return archive


def _labelled(found: Found) -> Labelled:
    return Labelled(name=UniqueNames()(found.name), size=found.size, boxes=found.boxes)
