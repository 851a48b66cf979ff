"""The formats of predictions by name, as used by the command line and the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from wsl.checkpoints import is_run
from wsl.errors import UserError
from wsl.formats.exchange.coco import read_coco_set
from wsl.formats.exchange.cvat import read_cvat
from wsl.formats.exchange.labelme import read_labelme
from wsl.formats.exchange.parsing import file_in
from wsl.formats.exchange.table import read_table
from wsl.formats.localizations import FILE_NAME, find_localizations
from wsl.formats.predictions import recognise
from wsl.formats.predictions.coco_results import read_coco_results
from wsl.formats.predictions.fiftyone_results import read_fiftyone_results
from wsl.formats.predictions.label_studio_results import read_label_studio_results
from wsl.formats.predictions.labelled import read_labelled
from wsl.formats.predictions.matching import Pairs
from wsl.formats.predictions.own_results import read_own_results
from wsl.formats.predictions.parquet_results import read_parquet_results
from wsl.formats.predictions.score_maps import read_score_maps
from wsl.formats.predictions.split import Numbers, Split
from wsl.formats.predictions.torchvision_results import read_torchvision_results
from wsl.formats.predictions.voc_results import read_voc_results
from wsl.formats.predictions.yolo_results import read_yolo_results
from wsl.formats.shards.storage import is_remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A format of predictions: how they are read and recognised.

    ``holds`` is what they contain: only boxes, only maps, or localizations, which may have both as well as scores.
    ``what`` describes the files in messages.
    """

    read: Callable[[Path, Split, Counter[str]], Pairs]
    recognise: Callable[[Path], bool]
    holds: Literal["localizations", "maps", "boxes"] = "boxes"
    what: str


def _coco(place: Path, split: Split, warnings: Counter[str]) -> Pairs:
    files = recognise.coco_files(place, split.name)
    if len(files) > 1:
        return read_labelled(read_coco_set(place), place, split.samples, warnings)
    return read_coco_results(next(iter(files), place), split.samples, warnings, numbers=split.numbers)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "localizations": Reader(
            read=lambda place, split, warnings: read_own_results(place, split.samples, warnings, split=split.name),
            recognise=recognise.is_own,
            holds="localizations",
            what=f"{FILE_NAME}, its folder or a folder of parts",
        ),
        "parquet": Reader(
            read=lambda place, split, warnings: read_parquet_results(place, split.samples, warnings, split=split.name),
            recognise=recognise.is_parquet,
            holds="localizations",
            what="Parquet parts",
        ),
        "voc": Reader(
            read=lambda place, split, warnings: read_voc_results(place, split.samples, warnings, split=split.name),
            recognise=recognise.is_voc,
            what="the VOC devkit's comp3_det_<split>_<class>.txt",
        ),
        "fiftyone": Reader(
            read=lambda place, split, warnings: read_fiftyone_results(place, split.samples, warnings),
            recognise=recognise.is_fiftyone,
            what="FiftyOne's samples.json or labels.json",
        ),
        "label-studio": Reader(
            read=lambda place, split, warnings: read_label_studio_results(place, split.samples, warnings),
            recognise=recognise.is_label_studio,
            what="Label Studio's tasks as JSON",
        ),
        "cvat": Reader(
            read=lambda place, split, warnings: read_labelled(
                read_cvat(file_in(place, "annotations.xml")), place, split.samples, warnings
            ),
            recognise=recognise.is_cvat,
            what="CVAT's annotations.xml",
        ),
        "csv": Reader(
            read=lambda place, split, warnings: read_labelled(
                read_table(file_in(place, "boxes.csv")), place, split.samples, warnings
            ),
            recognise=recognise.is_table,
            what="boxes.csv as wsl-export writes it",
        ),
        "yolo": Reader(
            read=lambda place, split, warnings: read_yolo_results(place, split.samples, warnings),
            recognise=recognise.is_yolo,
            what="YOLO's labels/<image>.txt",
        ),
        "torchvision": Reader(
            read=lambda place, split, warnings: read_torchvision_results(
                recognise.torchvision_file(place), split.samples, warnings, numbers=split.numbers
            ),
            recognise=recognise.is_torchvision,
            what="torchvision's boxes, labels and scores as JSON",
        ),
        "labelme": Reader(
            read=lambda place, split, warnings: read_labelled(read_labelme(place), place, split.samples, warnings),
            recognise=recognise.is_labelme_place,
            what="a folder of LabelMe's JSON files",
        ),
        "coco": Reader(read=_coco, recognise=recognise.is_coco, what="a COCO results .json"),
        "maps": Reader(
            read=lambda place, split, warnings: read_score_maps(place, split.samples, warnings, side=split.side),
            recognise=recognise.is_maps,
            holds="maps",
            what="a folder of <image id>.npy score maps (.npz, grey .png)",
        ),
    }
)
"""All readers by the name of their format, in the order in which they are tried on files of unknown format."""


def detect_predictions(path: Path) -> str:
    """Detect the format of the files at a path.

    Raises:
        UserError: the path does not exist, its format is unknown (the message lists the known formats), or it is a data
            set or a folder of pictures.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.npy").touch()
    ...     detect_predictions(Path(folder))
    'maps'
    """
    if not is_remote(path) and not path.exists():
        raise UserError(f"{path}: no such file or folder, expected {_known()}")
    name = next((name for name, reader in READERS.items() if reader.recognise(path)), None)
    run = is_run(path)
    if name in (None, "maps") and not run and (other := recognise.other_contents(path)):
        raise UserError(
            f"{path} holds {other} and no predictions: expected what wsl-localize writes into --out, or the score maps "
            "or boxes of another system; without predictions, give a model as --weights"
        )
    if name == "localizations" or (name in (None, "maps") and run):  # plots of a run are no maps
        find_localizations(path)  # its error names the partial results of an interrupted run
    if name is None:
        raise UserError(f"{path}: results of an unknown format, expected {_known()}")
    return name


def _known() -> str:
    return ", ".join(reader.what for reader in READERS.values())


__all__ = ["READERS", "Numbers", "Pairs", "Reader", "Split", "detect_predictions"]
