"""Sources of an export: localizations and the files of other tools, with detection of their format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wsl.checkpoints import is_run
from wsl.errors import UserError
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.fiftyone import read_fiftyone
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.layout import Area, Layout
from wsl.formats.exchange.yolo import Sizes
from wsl.formats.localizations import FILE_NAME, find_localizations
from wsl.formats.predictions import recognise
from wsl.formats.shards.storage import is_remote


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A kind of source: how the files of a tool are recognised and read; ``what`` describes them in messages.

    ``read`` is None for localizations, which contain more than boxes. ``images`` is the folder of the images relative
    to that of the files, and ``layout`` describes the files that are read.
    """

    recognise: Callable[[Path], bool]
    what: str
    layout: Layout
    read: Callable[[Path, Sizes], Iterator[Labelled]] | None = None
    images: str | None = None

    def areas(self, place: Path) -> list[Area]:
        """The locations of the files that are read."""
        if self.read is not None:
            return self.layout.areas_read(place)
        file = find_localizations(place)
        if file.is_dir():
            return [Area(file, ".parquet"), Area(file, ".npy")]
        return [Area(file), Area(file.parent / "maps", ".npy")]


def _of_format(name: str, recognised: Callable[[Path], bool], what: str) -> SourceKind:
    known = FORMATS[name]
    return SourceKind(recognise=recognised, what=what, read=known.read, images=known.images, layout=known.layout)


SOURCES: Mapping[str, SourceKind] = MappingProxyType(
    {
        "wsl": SourceKind(
            recognise=lambda place: recognise.is_own(place) or recognise.is_parquet(place),
            what=f"{FILE_NAME} or its folder",
            layout=Layout(),
        ),
        "yolo": _of_format("yolo", recognise.is_yolo_set, "YOLO's data.yaml or its folder"),
        "fiftyone": SourceKind(
            recognise=recognise.is_fiftyone,
            what="FiftyOne's samples.json or labels.json",
            read=read_fiftyone,
            layout=Layout(files=("samples.json", "labels.json")),
        ),
        "label-studio": _of_format("label-studio", recognise.is_label_studio, "Label Studio's tasks as JSON"),
        "cvat": _of_format("cvat", recognise.is_cvat, "CVAT's annotations.xml"),
        "voc": _of_format("voc", recognise.is_voc_set, "VOC's Annotations/*.xml"),
        "csv": _of_format("csv", recognise.is_table, "boxes.csv as wsl-export writes it"),
        "labelme": _of_format("labelme", recognise.is_labelme_place, "LabelMe's .json files"),
        "coco": _of_format("coco", recognise.is_coco_set, "COCO's instances_<split>.json"),
    }
)
"""All kinds of sources by name, in the order in which they are tried."""


def detect_source(place: Path) -> str:
    """Detect the kind of the files at a path.

    Raises:
        UserError: the path does not exist, or its format is unknown; the message lists the known formats.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "data.yaml").write_text("names: [cat]", encoding="utf-8")
    ...     detect_source(Path(folder))
    'yolo'
    """
    known = ", ".join(kind.what for kind in SOURCES.values())
    if not is_remote(place) and not place.exists():
        raise UserError(f"{place}: no such file or folder; expected {known}")
    name = next((name for name, kind in SOURCES.items() if kind.recognise(place)), None)
    if name is None:
        if is_run(place):
            find_localizations(place)  # its error says how a run gets boxes
        raise UserError(f"{place}: no boxes recognised; expected {known}, or --source-format")
    return name
