"""Detection of the format of results at a path, by file names and then by the beginning of one file."""

from __future__ import annotations

from pathlib import Path

from wsl.documents.tables import columns_of
from wsl.formats.exchange import voc
from wsl.formats.exchange.coco import FORMER, INSTANCES, annotated_split, annotation_files
from wsl.formats.exchange.fiftyone import fiftyone_file
from wsl.formats.exchange.labelme import is_labelme
from wsl.formats.exchange.parsing import file_in, files_below
from wsl.formats.exchange.table import COLUMNS
from wsl.formats.localizations import FILE_NAME, PARTIAL
from wsl.formats.predictions.map_files import is_grey
from wsl.formats.predictions.map_names import holds_maps, map_listing
from wsl.formats.predictions.parquet_results import parquet_files
from wsl.formats.predictions.voc_results import result_files
from wsl.formats.predictions.yolo_results import label_files
from wsl.formats.shards.reading import holds_parts
from wsl.images.sources import images_below
from wsl.split_names import role, without_year

_COCO_NAMES = ("coco_instances_results.json", "predictions.json", "results.json", INSTANCES, FORMER, "labels.json")
_START = 1 << 16


def coco_files(place: Path, split: str = "") -> list[Path]:
    """The JSON of COCO results at a path.

    In a folder, it is the file under a name of detectron2, ultralytics or ``wsl-export``, the annotations of the split,
    those of all splits if none is named like it, or the only file if it contains boxes; empty if there is none.

    >>> [file.name for file in coco_files(Path("found.json"))]
    ['found.json']
    """
    file = file_in(place, *_COCO_NAMES)
    if not file.is_dir():
        return [file]
    files = annotation_files(place)
    own = [file for file in files if _same_split(annotated_split(file), split)]
    return own or files or [file for file in [_only_json(place)] if '"bbox"' in _start(file)]


def torchvision_file(place: Path) -> Path:
    """The JSON of torchvision's outputs at a path; in a folder, its only JSON file.

    >>> torchvision_file(Path("outputs.json")).name
    'outputs.json'
    """
    return _only_json(place)


def is_own(place: Path) -> bool:
    """Whether these are localizations of `wsl-localize`, possibly of an interrupted run.

    >>> is_own(Path("no such place"))
    False
    """
    named = place.name.startswith(FILE_NAME) or place.suffix == ".jsonl" or holds_parts(place)
    return named or any((place / name).is_file() for name in (FILE_NAME, PARTIAL))


def is_parquet(place: Path) -> bool:
    """Whether these are Parquet files.

    >>> is_parquet(Path("no such place"))
    False
    """
    return bool(parquet_files(place))


def is_voc(place: Path) -> bool:
    """Whether these are result files of the VOC devkit.

    >>> is_voc(Path("no such place"))
    False
    """
    return bool(result_files(place))


def is_fiftyone(place: Path) -> bool:
    """Whether this is an export of FiftyOne.

    >>> is_fiftyone(Path("no such place"))
    False
    """
    start = _start(fiftyone_file(place))
    return start.startswith("{") and (
        ('"samples"' in start and '"filepath"' in start) or ('"labels"' in start and '"bounding_box"' in start)
    )


def is_label_studio(place: Path) -> bool:
    """Whether these are Label Studio's tasks: a file, or a folder whose first file is one.

    >>> is_label_studio(Path("no such place"))
    False
    """
    file = file_in(place, "tasks.json")
    start = _start(next(iter(files_below(file, ".json")), file) if file.is_dir() else file)
    return '"data"' in start and any(f'"{key}"' in start for key in ("predictions", "annotations", "result"))


def is_cvat(place: Path) -> bool:
    """Whether this is CVAT's XML.

    >>> is_cvat(Path("no such place"))
    False
    """
    file = file_in(place, "annotations.xml")
    return file.suffix.lower() == ".xml" and "<annotations" in _text(file)


def is_table(place: Path) -> bool:
    """Whether this is a table of boxes.

    >>> is_table(Path("no such place"))
    False
    """
    file = file_in(place, "boxes.csv")
    return file.is_file() and file.suffix.lower() == ".csv"


def is_box_table(place: Path) -> bool:
    """Whether this is a table of boxes by its columns, as opposed to a table of labels.

    >>> is_box_table(Path("no such place"))
    False
    """
    return is_table(place) and set(COLUMNS) <= set(columns_of(file_in(place, "boxes.csv")))


def is_yolo(place: Path) -> bool:
    """Whether these are YOLO's text files: a ``data.yaml``, or lines of numbers.

    >>> is_yolo(Path("no such place"))
    False
    """
    if place.is_file():
        return place.suffix.lower() in (".yaml", ".yml")
    folder = place / "labels" if (place / "labels").is_dir() else place
    return any(_is_boxes(file) for file in label_files(folder)[:100])


def is_yolo_set(place: Path) -> bool:
    """Whether this is a data set in YOLO's format, with the names of its classes in ``data.yaml``.

    >>> is_yolo_set(Path("no such place"))
    False
    """
    file = place / "data.yaml" if place.is_dir() else place
    return file.is_file() and file.suffix.lower() in (".yaml", ".yml")


def is_voc_set(place: Path) -> bool:
    """Whether this is a folder of VOC's XML files, or one with ``Annotations``.

    >>> is_voc_set(Path("no such place"))
    False
    """
    folder = place / "Annotations" if (place / "Annotations").is_dir() else place
    return any(map(voc.is_voc, files_below(folder, ".xml")[:100]))


def is_coco_set(place: Path) -> bool:
    """Whether these are annotations in COCO's format: a folder with annotations, or any JSON file.

    >>> is_coco_set(Path("no such place"))
    False
    """
    return bool(annotation_files(place)) if place.is_dir() else is_coco(place)


def is_torchvision(place: Path) -> bool:
    """Whether this is JSON with torchvision's boxes, labels and scores.

    >>> is_torchvision(Path("no such place"))
    False
    """
    start = _start(torchvision_file(place))
    return all(f'"{field}"' in start for field in ("boxes", "labels", "scores"))


def is_labelme_place(place: Path) -> bool:
    """Whether these are LabelMe's files: a file, or a folder with at least one.

    >>> is_labelme_place(Path("no such place"))
    False
    """
    if place.is_file():
        return place.suffix.lower() == ".json" and is_labelme(place)
    return any(map(is_labelme, files_below(place, ".json")[:100]))


def is_coco(place: Path) -> bool:
    """Whether these are COCO results, as is assumed of any JSON file without another known format.

    >>> is_coco(Path("no such place"))
    False
    """
    files = coco_files(place)
    return bool(files) and all(file.is_file() and file.suffix.lower() == ".json" for file in files)


def is_maps(place: Path) -> bool:
    """Whether this is a folder of score maps.

    >>> is_maps(Path("no such place"))
    False
    """
    return place.is_dir() and holds_maps(place)


def other_contents(folder: Path) -> str:
    """The contents of a folder without predictions: a data set or pictures; empty if neither is recognised.

    >>> other_contents(Path("no such place"))
    ''
    """
    if any(next(folder.glob(f"{start}ImageSets/Main"), None) for start in ("", "*/", "VOCdevkit/*/")):
        return "a VOC data set"
    maps = map_listing(folder)
    if maps:
        first = folder / min(maps)
        pictures = first.suffix == ".png" and not is_grey(first)
    else:
        pictures = folder.is_dir() and next(images_below(folder), None) is not None
    return "pictures" if pictures else ""


def _only_json(place: Path) -> Path:
    """The only JSON file of a folder; the path itself if it is no folder, or has none or several."""
    files = list(place.glob("*.json")) if place.is_dir() else []
    return files[0] if len(files) == 1 else place


def _same_split(name: str, split: str) -> bool:
    """Whether two names mean the same split, such as ``val`` and ``val2017``."""
    purpose = role(without_year(split))
    return name == split or (purpose is not None and role(without_year(name)) == purpose)


def _start(file: Path) -> str:
    """The beginning of a JSON file without leading blanks; empty for other files."""
    return _text(file).lstrip() if file.suffix.lower() == ".json" else ""


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_START).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def _is_boxes(file: Path) -> bool:
    """Whether the first line of a file consists of five to seven numbers."""
    fields = _text(file).split("\n", 1)[0].split()
    try:
        return 5 <= len(fields) <= 7 and len(list(map(float, fields))) > 0
    except ValueError:
        return False
