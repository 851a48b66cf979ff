"""The formats that boxes are handed on in, by name: the one list that the command line and the README read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wsl.formats.exchange.coco import read_coco, write_coco
from wsl.formats.exchange.coco_results import write_coco_results
from wsl.formats.exchange.cvat import read_cvat, write_cvat
from wsl.formats.exchange.label_studio import read_label_studio, write_label_studio
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.labelme import read_labelme, write_labelme
from wsl.formats.exchange.table import read_table, write_table
from wsl.formats.exchange.voc import read_voc, write_voc
from wsl.formats.exchange.yolo import Sizes, read_yolo, write_yolo


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How boxes are written in one format, and read back where the files say enough.

    ``images`` is the folder below the output where its tools look for the images, None where they look elsewhere.
    """

    write: Callable[..., Path]
    read: Callable[[Path, Sizes], Iterator[Labelled]] | None
    images: str | None = None


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "coco": Format(write=write_coco, read=lambda path, _: read_coco(path), images="images"),
        "coco-results": Format(write=write_coco_results, read=None),
        "voc": Format(write=write_voc, read=lambda path, _: read_voc(path), images="JPEGImages"),
        "yolo": Format(write=write_yolo, read=read_yolo, images="images"),
        "labelme": Format(write=write_labelme, read=lambda path, _: read_labelme(path), images="."),
        "label-studio": Format(write=write_label_studio, read=lambda path, _: read_label_studio(path), images="images"),
        "cvat": Format(write=write_cvat, read=lambda path, _: read_cvat(path), images="images"),
        "csv": Format(write=write_table, read=lambda path, _: read_table(path), images="images"),
    }
)
"""Every format by name."""
