"""CUB-200-2011: five text files of numbered lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsl.boxes import Boxes
from wsl.data.splits import unknown_split
from wsl.documents import guarded, number, text_lines
from wsl.errors import UserError
from wsl.images.sources import inside, require_files
from wsl.samples import Sample, SampleSet

IMAGES = "images.txt"
_LABELS, _CLASSES = "image_class_labels.txt", "classes.txt"
_SPLITS, _BOXES = "train_test_split.txt", "bounding_boxes.txt"
_EXPECTED = "a numbered list as in CUB-200-2011"
_SIDE_BY_SPLIT = {"train": "1", "test": "0"}


def is_cub(root: Path) -> bool:
    """Whether a folder has the lists of CUB-200-2011.

    >>> is_cub(Path("no such folder"))
    False
    """
    return all((root / name).is_file() for name in (IMAGES, _LABELS, _CLASSES))


def cub_splits(root: Path) -> tuple[str, ...]:
    """``train`` and ``test``, if there is a list of splits.

    >>> cub_splits(Path("no such folder"))
    ()
    """
    return tuple(_SIDE_BY_SPLIT) if (root / _SPLITS).is_file() else ()


@guarded("a data set as CUB-200-2011")
def read_cub(root: str | Path, split: str | None) -> SampleSet:
    """The images, labels and boxes of one split of CUB-200-2011, or of a data set in its layout.

    Each list has one line per image, which starts with the image's number: ``images.txt`` (a path below ``images``),
    ``image_class_labels.txt`` (the number of a class in ``classes.txt``), and optionally ``train_test_split.txt`` (1 is
    train) and ``bounding_boxes.txt`` (``x y width height`` in pixels, which may be fractional). The numbers before
    class names (``001.Black_footed_Albatross``) are removed if the names differ without them. An image's id is its
    path.

    Args:
        root: The folder of the lists.
        split: ``train`` or ``test``; None or ``all`` takes every image.

    Raises:
        UserError: a list is missing or malformed (the message names the line); there is no such split; an image is
            missing.

    >>> read_cub("lost", "train")
    Traceback (most recent call last):
    wsl.errors.UserError: lost...images.txt: cannot be read (No such file or directory); expected a numbered list...
    """
    root = Path(root)
    names, labels, classes = _read(root / IMAGES), _read(root / _LABELS), _class_names(_read(root / _CLASSES))
    chosen = _of_split(root, names, split)
    boxes = _read(root / _BOXES) if (root / _BOXES).is_file() else None
    samples = []
    for key in chosen:
        label = classes.get(labels.get(key, ""))
        if label is None:
            raise UserError(
                f"{root / _LABELS}: image {key} is of class {labels.get(key)}, expected a number of {_CLASSES}"
            )
        samples.append(
            Sample(
                path=inside(root / "images", names[key], IMAGES),
                id=names[key],
                labels=(label,),
                boxes=None if boxes is None else _box(boxes.get(key), label, f"{root / _BOXES}: image {key}"),
            )
        )
    require_files((sample.path for sample in samples), str(root / IMAGES))
    return SampleSet(classes=tuple(classes.values()), samples=tuple(samples))


def _of_split(root: Path, names: Mapping[str, str], split: str | None) -> list[str]:
    """The numbers of a split's images."""
    if split in (None, "all"):
        return list(names)
    if split not in cub_splits(root):
        raise unknown_split(split, [*cub_splits(root), "all"], root)
    sides = _read(root / _SPLITS)
    chosen = [key for key in names if sides.get(key) == _SIDE_BY_SPLIT[str(split)]]
    if not chosen:
        raise UserError(f"{root / _SPLITS}: no image of the split {split}; expected lines such as '1 0', 1 for train")
    return chosen


def _read(path: Path) -> dict[str, str]:
    """The text after the number of each line, by number."""
    found: dict[str, str] = {}
    for line, text in text_lines(path, _EXPECTED):
        key, _, value = text.strip().partition(" ")
        if not key.isdecimal() or not value.strip():
            raise UserError(f"{path}:{line}: {text.strip()!r:.80}, expected {_EXPECTED}")
        if key in found:
            raise UserError(f"{path}:{line}: a second line for {key}; expected one each")
        found[key] = value.strip()
    if not found:
        raise UserError(f"{path}: empty; expected {_EXPECTED}")
    return found


def _class_names(listed: Mapping[str, str]) -> dict[str, str]:
    """The class names by number, in the order of the list."""
    bare = {key: re.sub(r"^\d+\.", "", name) for key, name in listed.items()}
    return bare if len(set(bare.values())) == len(bare) else dict(listed)


def _box(text: str | None, label: str, where: str) -> Boxes:
    numbers = (text or "").split()
    if len(numbers) != 4:
        raise UserError(f"{where} has the box {text!r}, expected x y width height")
    x, y, width, height = (number(one, f"{where}: {edge}") for one, edge in zip(numbers, "xywh", strict=True))
    if min(width, height) <= 0:
        raise UserError(f"{where} has the box {text!r}, expected a positive width and height")
    return Boxes(xyxy=np.array([[x, y, x + width, y + height]], np.float32), labels=(label,))
