"""OpenImages: image labels that people verified, present as well as absent, and boxes."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsl.boxes import Boxes
from wsl.data.splits import find_split
from wsl.documents import flag, guarded, number
from wsl.documents.tables import table_cells, table_rows
from wsl.errors import BadImageError, UserError
from wsl.images.decode import image_size
from wsl.images.sources import images_below
from wsl.samples import Sample, SampleSet

log = logging.getLogger("wsl")

_LABELS = re.compile(r"(?:oidv\d-)?(\w+?)-annotations-human-imagelabels(?:-boxable)?\.csv")
_NAMES = "class-descriptions*.csv"
_EDGES = ("XMin", "YMin", "XMax", "YMax")
_EXPECTED = "a table as OpenImages publishes it"


class _Box(NamedTuple):
    """One box: its class's name, its edges as fractions of the image, and whether it surrounds a group."""

    label: str
    edges: tuple[float, float, float, float]
    group: bool


def openimages_splits(root: Path) -> dict[str, Path]:
    """The tables of verified image labels in a folder, by split.

    >>> openimages_splits(Path("no such folder"))
    {}
    """
    matches = ((_LABELS.fullmatch(path.name), path) for path in sorted(root.glob("*.csv"), reverse=True))
    return {match.group(1): path for match, path in matches if match}


@guarded("tables as OpenImages publishes them")
def read_openimages(root: str | Path, split: str | None) -> SampleSet:
    """The images that are there, with their verified labels and boxes, of one split of OpenImages.

    ``<split>-annotations-human-imagelabels*.csv`` says of an image and a class that it is present (confidence 1) or
    *verified to be absent* (0): these are `Sample.negatives`, and nothing is known of all other classes. A class of
    which both is said is unknown. ``<split>-annotations-bbox.csv`` gives boxes, of which groups are difficult; where
    an image has none, nothing is known of its boxes. ``class-descriptions*.csv`` names the classes.

    The tables list millions of images, of which most people have some: those that are found below ``<split>``,
    ``images/<split>``, ``images``, ``data`` or the folder itself are taken, and the others counted in a line. The
    classes are all of the descriptions; without them, all that the tables of any split name.

    Raises:
        UserError: no such split; a malformed table, with its line; a class without a name; no image is there.

    >>> read_openimages("lost", "train")
    Traceback (most recent call last):
    wsl.data.splits.UnknownSplit: lost has no split 'train'; it has: none
    """
    root = Path(root)
    splits = openimages_splits(root)
    split = find_split(split, splits, root)
    files, names = _images(root, split), _class_names(root, splits)
    verified, lost = _verified(splits[split], files, names)
    if not verified:
        raise UserError(
            f"{root}: none of the {lost} images of {splits[split].name} is there; expected them in {split}/"
        )
    if lost:
        log.info("%s: %d images of %s are not there and left out", root, lost, splits[split].name)
    boxes = _boxes(root, split, files, names)
    order = {name: i for i, name in enumerate(names.values())}
    samples = [_sample(files[id], labels, boxes.get(id, ()), order) for id, labels in sorted(verified.items())]
    return SampleSet(classes=tuple(order), samples=tuple(samples))


def _sample(path: Path, verified: Mapping[str, bool], drawn: Sequence[_Box], order: Mapping[str, int]) -> Sample:
    present = {name for name, certain in verified.items() if certain} | {box.label for box in drawn}
    absent = {name for name, certain in verified.items() if not certain} - present
    boxes = size = None
    if drawn:
        try:
            size = image_size(path)
        except BadImageError:  # told when it is read
            log.debug("%s: its size cannot be read, and its boxes are left out", path)
        else:
            boxes = Boxes(
                xyxy=np.array([box.edges for box in drawn], np.float32) * np.array(size * 2, np.float32),
                labels=tuple(box.label for box in drawn),
                difficult=np.array([box.group for box in drawn], np.bool_),
            )
    return Sample(
        path=path,
        labels=tuple(sorted(present, key=order.__getitem__)),
        negatives=tuple(sorted(absent, key=order.__getitem__)),
        boxes=boxes,
        size=size,
    )


def _images(root: Path, split: str) -> dict[str, Path]:
    """The images that are there, by their id, which is their name."""
    folders = (root / split, root / "images" / split, root / "images", root / "data", root)
    folder = next((folder for folder in folders if folder.is_dir() and next(images_below(folder), None)), root)
    return {path.stem: path for path in map(Path, images_below(folder))}


def _class_names(root: Path, splits: Mapping[str, Path]) -> dict[str, str]:
    """The classes' names by their codes (``/m/0bt9lr``); of classes that have the same name, the codes."""
    tables = sorted(root.glob(f"*{_NAMES}"), key=lambda path: ("boxable" not in path.name, path.name))
    if not tables:
        codes = {row["LabelName"] for path in splits.values() for _, row in table_rows(path, _EXPECTED, "LabelName")}
        return {code: code for code in sorted(codes)}
    listed = {cells[0]: cells[1] for _, cells in table_cells(tables[0], _EXPECTED) if len(cells) == 2}
    listed.pop("LabelName", None)  # newer tables have a header
    counts = Counter(listed.values())
    return {code: name if counts[name] == 1 else code for code, name in listed.items()}


def _verified(
    table: Path, files: Mapping[str, Path], names: Mapping[str, str]
) -> tuple[dict[str, dict[str, bool]], int]:
    """Which classes are present or absent, by image that is there; and how many images are not."""
    found: defaultdict[str, dict[str, bool]] = defaultdict(dict)
    lost: set[str] = set()
    contradicted: set[tuple[str, str]] = set()
    for line, row in table_rows(table, _EXPECTED, "ImageID", "LabelName", "Confidence"):
        id, where = row["ImageID"], f"{table}: line {line}"
        if id not in files:
            lost.add(id)
            continue
        present = flag(row["Confidence"], f"{where}: the confidence")
        name = _name(row["LabelName"], names, where)
        if found[id].setdefault(name, present) != present:
            contradicted.add((id, name))
    for id, name in contradicted:
        found[id].pop(name, None)
    return dict(found), len(lost)


def _boxes(root: Path, split: str, files: Mapping[str, Path], names: Mapping[str, str]) -> dict[str, list[_Box]]:
    """The boxes, by image that is there and has some."""
    found: defaultdict[str, list[_Box]] = defaultdict(list)
    for table in sorted(root.glob(f"*{split}-annotations-bbox.csv"))[:1]:
        for line, row in table_rows(table, _EXPECTED, "ImageID", "LabelName", *_EDGES):
            if row["ImageID"] not in files:
                continue
            where = f"{table}: line {line}"
            x0, y0, x1, y1 = (number(row[edge], f"{where}: {edge}") for edge in _EDGES)
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise UserError(f"{where}: the box {(x0, y0, x1, y1)}, expected fractions of the image, min < max")
            group = flag(row.get("IsGroupOf"), f"{where}: IsGroupOf")
            found[row["ImageID"]].append(_Box(_name(row["LabelName"], names, where), (x0, y0, x1, y1), group))
    return dict(found)


def _name(code: str, names: Mapping[str, str], where: str) -> str:
    if code not in names:
        raise UserError(f"{where}: the class {code!r:.80} is not in {_NAMES}; expected its name there")
    return names[code]
