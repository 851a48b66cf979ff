"""COCO's annotations as JSON, for correction or training.

Boxes are (x, y, width, height) in pixels, counted from 0: those of `wsl.boxes` with sides instead of the far corner.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, TypeGuard

from wsl.documents import flag, guarded, load_json, located, number
from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import Corners, boxes_of, rows_of
from wsl.limits import stated_size
from wsl.samples import Sample, SampleIndex, SampleSet
from wsl.split_names import WHOLE, split_file, without_year

BY_SPLIT = "annotations/instances_<split>.json"
"""Path of a split's annotations below an output folder, as in COCO's own data sets."""
INSTANCES = BY_SPLIT.replace("<split>", WHOLE)
"""Path of the annotations of data without splits."""
FORMER = "instances.json"
"""Former path of the annotations."""
_PREFIX, _ROBOFLOW = "instances_", "_annotations.coco.json"
_EXPECTED = "COCO annotations (images, annotations, categories)"


def write_coco(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = False) -> Path:
    """Write images, boxes and categories as COCO ground truth, with ids from 1, and return the file or its folder.

    The files are ``annotations/instances_train.json``, ``…_val.json`` and ``…_test.json``, by the splits of the images,
    and ``annotations/instances_all.json`` for those without. No id occurs in two of them. The outline of each box is
    also its ``segmentation``, because tools for masks require one. With ``scores`` each annotation has a score.

    Raises:
        UserError: a box has a class that is not listed.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 1.0, (1, 2, 4, 6))])
    ...     file = write_coco([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     [found.boxes.xyxy.tolist() for found in read_coco(file)]
    [[[1.0, 2.0, 4.0, 6.0]]]
    """
    index = class_index(classes)
    files: dict[str, _Instances] = {}
    with contextlib.ExitStack() as stack:

        def of(split: str) -> _Instances:
            if split not in files:
                path = out / BY_SPLIT.replace("<split>", split)
                files[split] = stack.enter_context(_Instances.writing(path, index, scores=scores))
            return files[split]

        written = 0
        for image_id, image in enumerate(images, 1):
            written += of(split_file(image.split)).add(image, image_id, written + 1)
        if not files:
            of(WHOLE)
    paths = [file.path for file in files.values()]
    return paths[0] if len(paths) == 1 else paths[0].parent


class _Instances:
    """One file of annotations that is being written.

    Images and annotations are two lists in one document, and only one of them can be streamed to the file.
    """

    def __init__(self, path: Path, file: TextIO, later: TextIO, index: dict[str, int], *, scores: bool) -> None:
        self.path = path
        self._file, self._later, self._index, self._scores = file, later, index, scores
        self._images = self._annotations = 0

    @classmethod
    @contextlib.contextmanager
    def writing(cls, path: Path, index: dict[str, int], *, scores: bool) -> Iterator[_Instances]:
        """Write a file within the block."""
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file, _side_file() as later:
            categories = [{"id": i + 1, "name": name, "supercategory": ""} for name, i in index.items()]
            file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
            yield cls(path, file, later, index, scores=scores)
            file.write('\n],\n"annotations": [')
            later.seek(0)
            shutil.copyfileobj(later, file)
            file.write("\n]}\n")

    def add(self, image: Labelled, image_id: int, first: int) -> int:
        """Add an image, whose annotations are numbered from `first`, and return their number."""
        width, height = image.size
        record = {"id": image_id, "file_name": image.name, "width": width, "height": height}
        append_record(self._file, record, first=self._images == 0)
        self._images += 1
        for annotation_id, (label, score, xyxy) in enumerate(rows_of(image.boxes), first):
            category = number_of(label, self._index, image.name) + 1
            annotation = {"id": annotation_id, "image_id": image_id, "category_id": category, **_geometry(xyxy)}
            annotation = {**annotation, "score": score} if self._scores else annotation
            append_record(self._later, annotation, first=self._annotations == 0)
            self._annotations += 1
        return len(image.boxes)


def read_coco_set(path: Path) -> Iterator[Labelled]:
    """Read the images and boxes of a file, or of the annotations in a folder: those of `write_coco`, or of all splits.

    An image has the split that its file names, and may lie in a folder of this name below that of the images.

    Raises:
        UserError: the folder has no annotations, or as for `read_coco`.

    >>> list(read_coco_set(Path("lost.json")))
    Traceback (most recent call last):
    wsl.errors.UserError: lost.json: cannot be read (No such file or directory); expected COCO annotations ...
    """
    if not path.is_dir():
        yield from read_coco(path)
        return
    files = annotation_files(path)
    if not files:
        raise UserError(f"{path}: has no annotations; expected {INSTANCES}")
    if files[0] in (path / INSTANCES, path / FORMER):
        yield from read_coco(files[0])
        return
    root = path / "images" if (path / "images").is_dir() else path
    for file in files:
        name = annotated_split(file)
        for image in read_coco(file):
            apart = (root / name / image.name).is_file()
            yield replace(image, name=f"{name}/{image.name}" if apart else image.name, split=without_year(name))


def annotation_files(folder: Path) -> list[Path]:
    """The annotation files in a folder: first those of `write_coco`, then those of splits.

    >>> annotation_files(Path("no such folder"))
    []
    """
    known = [folder / name for name in (INSTANCES, FORMER) if (folder / name).is_file()]
    names = (f"annotations/{_PREFIX}*.json", f"{_PREFIX}*.json", _ROBOFLOW, f"*/{_ROBOFLOW}")
    return [*known, *sorted({file for name in names for file in folder.glob(name)}.difference(known))]


def annotated_split(file: Path) -> str:
    """The split of an annotation file: the rest of its name, or in Roboflow's layout that of its folder.

    >>> annotated_split(Path("annotations/instances_val2017.json"))
    'val2017'
    """
    return file.parent.name if file.name == _ROBOFLOW else file.stem.removeprefix(_PREFIX)


@guarded(_EXPECTED)
def read_coco(path: Path, document: Any = None) -> Iterator[Labelled]:
    """Read the images and boxes of annotations in COCO's format, without crowds.

    ``document`` is the contents of the file, if it has already been read.

    Raises:
        UserError: the document is not in COCO's format, a value is invalid, two images or two categories have the same
            id, or an annotation refers to an image or category that is not listed.
    """
    document = load_json(path, _EXPECTED) if document is None else document
    reference = CocoNames(path, document)
    rows: dict[Any, list[tuple[str, float, Corners]]] = {}
    for record in _records(document, "annotations", path):
        image_id, category = record.get("image_id"), record.get("category_id")
        where = f"{path}: annotation {record.get('id')!r:.40}"
        if not _listed(image_id, reference.names) or not _listed(category, reference.labels):
            raise UserError(
                f"{where} names image {image_id!r:.40} and category {category!r:.40}, expected ones that are listed"
            )
        if not flag(record.get("iscrowd"), f"{where}: iscrowd"):
            score = number(record.get("score", 1.0), f"{where}: score")
            rows.setdefault(image_id, []).append((reference.labels[category], score, _corners(record, where)))
    for image_id, record in reference.records.items():
        name = str(record["file_name"])
        size = stated_size(record.get("width"), record.get("height"), f"{path}: {name}")
        with located(f"{path}: {name}"):
            yield Labelled(name=name, size=size, boxes=boxes_of(rows.get(image_id, [])))


class CocoNames:
    """The images and categories of a document in COCO's format, by id and by name.

    Raises:
        UserError: the document is not in COCO's format, or two images or two categories have the same id.
    """

    def __init__(self, path: Path, document: Any = None) -> None:
        self.path = path
        document = load_json(path, _EXPECTED) if document is None else document
        self.records = _by_id(document, "images", "file_name", path)
        self.names = {key: str(record["file_name"]) for key, record in self.records.items()}
        categories = _by_id(document, "categories", "name", path)
        self.labels = {key: str(record["name"]) for key, record in categories.items()}
        self._categories = {label: key for key, label in self.labels.items()}

    def image(self, name: str) -> Any:
        """The id of an image; its path may have more or fewer leading folders than in the document.

        Raises:
            UserError: the document does not list the image, or the name is ambiguous.
        """
        sample = self._index.match(name)
        if sample is None:
            raise UserError(f"{self.path} lists no image {name!r}, expected all exported images: is it the right file?")
        return self._images[sample.id]

    @functools.cached_property
    def _index(self) -> SampleIndex:
        # Relative to the root of the file system, because the document does not name the folder of its images.
        samples = tuple(Sample(path=Path("/", name), id=name) for name in self.names.values())
        return SampleIndex(SampleSet(classes=(), samples=samples))

    @functools.cached_property
    def _images(self) -> dict[str, int | str]:
        return {name: key for key, name in self.names.items()}

    def category(self, label: str) -> Any:
        """The id of a class."""
        return self._categories[label] if label in self._categories else self._unknown(label)

    def _unknown(self, label: str) -> Any:
        known = ", ".join(list(self._categories)[:40])
        raise UserError(f"{self.path} lists no category {label!r}, expected some of: {known}")


def _listed(key: Any, known: Mapping[Any, str]) -> TypeGuard[int | str]:
    return isinstance(key, (int, str)) and key in known


def _corners(record: Mapping[str, Any], where: str) -> Corners:
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise UserError(f"{where}: bbox is {box!r:.80}, expected [x, y, width, height]")
    x, y, width, height = (number(value, f"{where}: bbox") for value in box)
    if width < 0 or height < 0:
        raise UserError(f"{where}: bbox is {box}, expected [x, y, width, height] with sides that are not negative")
    return x, y, x + width, y + height


def _geometry(xyxy: Corners) -> dict[str, Any]:
    x0, y0, x1, y1 = xyxy
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
    }


def _records(document: Any, field: str, path: Path) -> list[Mapping[str, Any]]:
    records = document.get(field) if isinstance(document, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path}: has no list of {field}; expected {_EXPECTED}")
    return records


def _by_id(document: Any, kind: str, field: str, path: Path) -> dict[int | str, Mapping[str, Any]]:
    """The records of a list by their id, after checking that each has a text in ``field``."""
    records: dict[int | str, Mapping[str, Any]] = {}
    for record in _records(document, kind, path):
        key = _key(record, field, path)
        if key in records:
            raise UserError(
                f"{path}: {kind} {records[key][field]!r} and {record[field]!r} have the same id {key!r}; expected "
                "unique ids"
            )
        records[key] = record
    return records


def _key(record: Mapping[str, Any], field: str, path: Path) -> int | str:
    key = record.get("id")
    if isinstance(key, bool) or not isinstance(key, (int, str)) or not isinstance(record.get(field), str):
        raise UserError(f"{path}: {str(record)[:200]} has no id or no {field}; expected {_EXPECTED}")
    return key


def append_record(file: TextIO, record: Mapping[str, Any], *, first: bool) -> None:
    """Append an element to the JSON list that is being written to a file."""
    file.write(("\n" if first else ",\n") + json.dumps(record, ensure_ascii=False, allow_nan=False))


def _side_file() -> Any:
    return tempfile.TemporaryFile("w+", encoding="utf-8")
