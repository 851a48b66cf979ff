"""Data sets in the layout of MS COCO: one instances JSON a split, images in folders beside it."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsl import run_lengths
from wsl.boxes import Boxes
from wsl.data.coco_files import instances_file, numbers_file, split_of
from wsl.data.lvis import not_exhaustive, verified_absent, with_file_names
from wsl.documents import flag, guarded, load_json
from wsl.errors import UserError
from wsl.images.sources import inside, require_files
from wsl.limits import stated_size
from wsl.samples import Outline, Sample, SampleSet

Record = Mapping[str, Any]

_LARGEST = 1e9


@guarded("COCO annotations")
def read_coco(source: str | Path, split: str | None, *, outlines: bool = False) -> SampleSet:
    """The images, labels and boxes of one split of a data set in COCO's layout.

    Classes are the categories in order of their id. Crowds are difficult boxes: a class with crowds only is ignored.
    Boxes are clipped to their image; those without extent are dropped, with one warning for the split. Images without
    an annotation are kept: somebody looked, and found nothing. A sample's id is its file_name. With ``outlines`` each
    object's polygons or run lengths become its `wsl.samples.Outline`, in a file that has some: crowds are ignored, and
    objects without their own are so in their box.

    In LVIS's files, where images have ``neg_category_ids``, only these are known to be absent (`Sample.negatives`), and
    ``not_exhaustive_category_ids`` are classes with objects that nobody annotated (`Sample.not_exhaustive`).

    Args:
        source: A folder with ``annotations/instances_<split>*.json`` (or the JSON beside the images), with Roboflow's
            ``<split>/_annotations.coco.json``, or one JSON file. Images lie in ``<split>/``, ``images/<split>/``,
            ``images/`` or beside.
        split: ``val2017``, or ``val`` where one file only starts so. A JSON file is the split that its name says;
            None or ``all`` takes it whatever its name.

    Raises:
        UserError: no such file or split; malformed JSON, a missing or impossible value, two images of one id or file,
            an unknown category, an annotation without its image, an outline that does not fit its image; images
            missing or outside the folder.

    >>> import json, tempfile
    >>> dog = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
    >>> document = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 3, "name": "dog"}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.jpg").touch()
    ...     file = Path(folder, "instances_val.json")
    ...     _ = file.write_text(json.dumps({**document, "annotations": [dog]}), encoding="utf-8")
    ...     read_coco(folder, "val").samples[0].boxes.xyxy.tolist()
    [[1.0, 2.0, 4.0, 6.0]]
    """
    path = instances_file(Path(source), split)
    document = _load(path)
    images = _images(document, path)
    categories = _categories(document, path)
    objects = _objects_by_image(document, images, categories, path)

    folder = _image_folder(path, split, next(iter(images.values()))["file_name"])
    files = {number: inside(folder, image["file_name"], path.name) for number, image in images.items()}
    require_files(files.values(), path.name)
    classes = tuple(categories[number] for number in sorted(categories))
    outlines = outlines and any(record.get("segmentation") for records in objects.values() for record in records)
    dropped = 0
    samples = []
    place = {number: i for i, number in enumerate(sorted(images, key=lambda one: (isinstance(one, str), one)))}
    for number, image in images.items():
        size = _size(image, path)
        boxes = _boxes(objects[number], categories, size)
        dropped += len(objects[number]) - len(boxes)
        drawn = _outlines(objects[number], categories, size, path) if outlines and size is not None else None
        where = f"{path}: {image['file_name']}"
        absent = verified_absent(image, categories, boxes.labels, where)
        sample = _sample(image["file_name"], files[number], boxes, classes, size, drawn, place[number])
        samples.append(replace(sample, negatives=absent, not_exhaustive=not_exhaustive(image, categories, where)))
    if dropped:
        warnings.warn(f"{path}: {dropped} boxes without extent inside their image were dropped", stacklevel=3)
    return SampleSet(classes=classes, samples=tuple(samples))


@guarded("COCO annotations")
def coco_numbers(source: str | Path, split: str | None) -> tuple[dict[int | str, str], dict[int, str]]:
    """The samples' ids by COCO's number of the image, and the class names by the number of the category.

    Raises:
        UserError: as `read_coco`.
    """
    path = numbers_file(Path(source), split)
    document = _load(path)
    images = {number: image["file_name"] for number, image in _images(document, path).items()}
    return images, _categories(document, path)


def _load(path: Path) -> Record:
    document = load_json(path, "COCO annotations")
    if not isinstance(document, dict):
        raise UserError(f"{path}: a {type(document).__name__}, expected an object with images, annotations, categories")
    return document


def _images(document: Record, path: Path) -> dict[int | str, Record]:
    document = {"images": with_file_names(document.get("images"))}
    records = _records(document, "images", {"id": (int, str), "file_name": str}, path)
    images = {record["id"]: record for record in records}
    if not images:
        raise UserError(f"{path}: the list of images is empty; expected at least one")
    if len(images) < len(records):
        raise UserError(f"{path}: two images have the same id; expected an id of its own for each")
    names = Counter(image["file_name"] for image in records)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"{path}: {twice} is the file_name of {names[twice]} images; expected each file once, merge them"
        )
    return images


def _categories(document: Record, path: Path) -> dict[int, str]:
    records = _without_project(document, _records(document, "categories", {"id": int, "name": str}, path))
    categories = {record["id"]: record["name"] for record in records}
    if not categories or not len(set(categories.values())) == len(categories) == len(records):
        raise UserError(f"{path}: expected categories with distinct ids and names, at least one")
    return categories


def _without_project(document: Record, records: list[Record]) -> list[Record]:
    """The categories without the one that Roboflow puts first: the name of the project, above all others."""
    parents = {str(record.get("supercategory")) for record in records}
    owned = {str(one.get("category_id")) for one in document.get("annotations") or () if isinstance(one, dict)}
    return [
        record
        for record in records
        if str(record["id"]) in owned or record.get("supercategory") != "none" or record["name"] not in parents
    ]


def _records(document: Record, kind: str, keys: Mapping[str, Any], path: Path) -> list[Record]:
    """The list ``document[kind]``, every record of which has ``keys`` of the types given."""
    records = document.get(kind)
    if not isinstance(records, list):
        raise UserError(f"{path}: no list of {kind}; expected images, annotations and categories")
    for position, record in enumerate(records):
        for key, types in keys.items():
            value = record.get(key) if isinstance(record, dict) else None
            if not isinstance(value, types) or isinstance(value, bool):
                raise UserError(
                    f"{path}: {kind}[{position}] has the {key} {value!r}; see cocodataset.org for the format"
                )
    return records


def _objects_by_image(
    document: Record, images: Mapping[Any, Record], categories: Mapping[int, str], path: Path
) -> defaultdict[Any, list[Record]]:
    objects: defaultdict[Any, list[Record]] = defaultdict(list)
    keys = {"image_id": (int, str), "category_id": int, "bbox": list}
    for position, record in enumerate(_records(document, "annotations", keys, path)):
        where = f"{path}: annotations[{position}]"
        if record["image_id"] not in images:
            raise UserError(f"{where} is of image {record['image_id']!r}, which is not among the images")
        if record["category_id"] not in categories:
            raise UserError(f"{where} has the category {record['category_id']}, which is not among the categories")
        bbox = record["bbox"]
        numbers = len(bbox) == 4 and all(isinstance(edge, (int, float)) and abs(edge) < _LARGEST for edge in bbox)
        if not numbers or min(bbox[2:]) < 0:
            raise UserError(f"{where} has the bbox {bbox!r:.80}; expected [x, y, width, height], neither negative")
        flag(record.get("iscrowd"), f"{where}: iscrowd")
        objects[record["image_id"]].append(record)
    return objects


def _image_folder(path: Path, split: str | None, first: str) -> Path:
    """The folder in which the first image lies; the JSON's own when it lies nowhere."""
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    name = split_of(path)
    parts = list(dict.fromkeys([name, split or name, name.split("_")[0], ""]))  # val2017_mini: val2017_mini, val2017
    folders = [root / top / part for part in parts for top in ("", "images")]
    return next((folder for folder in folders if inside(folder, first, path.name).is_file()), root)


def _size(image: Record, path: Path) -> tuple[int, int] | None:
    size = image.get("width"), image.get("height")
    return None if size == (None, None) else stated_size(*size, f"{path}: {image['file_name']}")


def _boxes(objects: Sequence[Record], categories: Mapping[int, str], size: tuple[int, int] | None) -> Boxes:
    xywh = np.array([record["bbox"] for record in objects], np.float64).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    if size is not None:
        xyxy = np.clip(xyxy, 0, np.tile(size, 2))
    boxes = Boxes(
        xyxy=xyxy.astype(np.float32),
        labels=tuple(categories[record["category_id"]] for record in objects),
        difficult=np.array([flag(record.get("iscrowd"), "iscrowd") for record in objects], np.bool_),
    )
    return boxes.select(np.flatnonzero((boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all(axis=1)))


def _outlines(
    objects: Sequence[Record], categories: Mapping[int, str], size: tuple[int, int], path: Path
) -> tuple[Outline, ...]:
    drawn = []
    for record in objects:
        try:
            runs = run_lengths.from_segmentation(record.get("segmentation"), size)
        except UserError as error:
            raise UserError(
                f"{path}: the annotation {record.get('id')!r} of image {record['image_id']!r}: {error}"
            ) from error
        ignored = runs is None or flag(record.get("iscrowd"), "iscrowd")
        if runs is None:
            x, y, width, height = record["bbox"]
            runs = run_lengths.from_rectangle((x, y, x + width, y + height), size)
        drawn.append(Outline(label=categories[record["category_id"]], runs=runs, ignored=ignored))
    return tuple(drawn)


def _sample(
    name: str,
    path: Path,
    boxes: Boxes,
    classes: Sequence[str],
    size: tuple[int, int] | None,
    outlines: tuple[Outline, ...] | None,
    number: int,
) -> Sample:
    clear = {label for label, crowd in zip(boxes.labels, boxes.difficult, strict=True) if not crowd}
    crowds = set(boxes.labels) - clear
    return Sample(
        path=path,
        id=name,
        labels=tuple(name for name in classes if name in clear),
        ignored=tuple(name for name in classes if name in crowds),
        boxes=boxes,
        size=size,
        outlines=outlines,
        number=number,
    )
