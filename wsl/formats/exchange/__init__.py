"""The formats for exchanging boxes with other tools, by name, as used by the command line and the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wsl.formats.exchange.coco import BY_SPLIT, FORMER, read_coco_set, write_coco
from wsl.formats.exchange.coco_results import write_coco_results
from wsl.formats.exchange.cvat import read_cvat, write_cvat
from wsl.formats.exchange.geojson import NAME as GEOJSON
from wsl.formats.exchange.label_studio import measured_in, read_label_studio, write_label_studio
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.labelme import is_labelme, read_labelme, write_labelme
from wsl.formats.exchange.layout import Layout
from wsl.formats.exchange.parsing import file_in
from wsl.formats.exchange.table import read_table, write_table
from wsl.formats.exchange.voc import LISTS, is_voc, read_voc, write_voc
from wsl.formats.exchange.yolo import Sizes, read_yolo, write_yolo


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of boxes: how they are written, and how they are read back if the files contain enough.

    ``images`` is the folder below the output where the format's tools expect the images, or None if they expect them
    elsewhere; ``layout`` describes the files that are written.
    """

    write: Callable[..., Path]
    read: Callable[[Path, Sizes], Iterator[Labelled]] | None
    layout: Layout
    images: str | None = None


def _label_studio(path: Path, sizes: Sizes) -> Iterator[Labelled]:
    folder = path if path.is_dir() else path.parent
    return read_label_studio(path, sizes=measured_in((folder, folder / "images"), sizes))


_RESULTS = Layout(files=("results.json", "images.json"))

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "coco": Format(
            write=write_coco,
            read=lambda path, _: read_coco_set(path),
            images="images",
            layout=Layout(files=(FORMER,), by_split=BY_SPLIT),
        ),
        "coco-results": Format(write=write_coco_results, read=None, layout=_RESULTS),
        "voc": Format(
            write=write_voc,
            read=lambda path, _: read_voc(path),
            images="JPEGImages",
            layout=Layout(files=("labelmap.txt",), by_split=LISTS, folder="Annotations", suffix=".xml", beside=is_voc),
        ),
        "yolo": Format(
            write=write_yolo,
            read=read_yolo,
            images="images",
            layout=Layout(files=("data.yaml",), folder="labels", suffix=".txt"),
        ),
        "labelme": Format(
            write=write_labelme,
            read=lambda path, _: read_labelme(path),
            images=".",
            layout=Layout(suffix=".json", beside=is_labelme),
        ),
        "label-studio": Format(
            write=write_label_studio,
            read=_label_studio,
            images="images",
            layout=Layout(files=("tasks.json", "labelling.xml")),
        ),
        "cvat": Format(
            write=write_cvat,
            read=lambda path, _: read_cvat(path),
            images="images",
            layout=Layout(files=("annotations.xml",)),
        ),
        "csv": Format(
            write=write_table,
            read=lambda path, _: read_table(file_in(path, "boxes.csv")),
            images="images",
            layout=Layout(files=("boxes.csv",)),
        ),
    }
)
"""All formats of boxes by name."""

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        **{name: known.layout for name, known in FORMATS.items()},
        "wsl": Layout(files=("localizations.jsonl",)),
        "voc-masks": Layout(files=("classes.txt",), folder="SegmentationClass", suffix=".png"),
        "coco-masks": _RESULTS,
        "geojson": Layout(files=(GEOJSON,)),
    }
)
"""The files of every format that is written into a folder, including masks and localizations."""
