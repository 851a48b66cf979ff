"""The labels of an image as exchanged with other tools: its name, size and boxes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.files import leads_out
from wsl.limits import stated_size
from wsl.results import Localization


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One image with its labels in an annotation tool.

    ``name`` is the path of the image relative to some root folder, with forward slashes, and ``size`` is (width,
    height). The scores of boxes are those in the file, or 1. ``tags`` are labels of the image as a whole, and ``split``
    the part of the data set to which it belongs, if the tool has splits. ``reviewed`` is False if the tool has only
    predictions for the image, and no annotation by a person.

    Raises:
        UserError: the name is empty, absolute or leads out of the root, or the size is not positive.

    >>> Labelled(name="cats/a.jpg", size=(640, 480), boxes=Boxes.empty()).stem
    'cats/a'
    >>> Labelled(name="../a.jpg", size=(640, 480), boxes=Boxes.empty())
    Traceback (most recent call last):
    wsl.errors.UserError: image name '../a.jpg' leads out of its folder, expected a path below it such as cats/a.jpg
    """

    name: str
    size: tuple[int, int]
    boxes: Boxes
    tags: tuple[str, ...] = ()
    split: str | None = None
    reviewed: bool = True

    def __post_init__(self) -> None:
        if leads_out(self.name) or not PurePosixPath(self.name).parts:
            raise UserError(
                f"image name {self.name!r} leads out of its folder, expected a path below it such as cats/a.jpg"
            )
        stated_size(*self.size, self.name)

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return str(PurePosixPath(self.name).with_suffix(""))


def common_root(paths: Iterable[Path]) -> Path:
    """The deepest folder that contains all images.

    Raises:
        UserError: there is no image, or no such folder (with several drives on Windows).

    >>> common_root([Path("photos/cats/a.jpg"), Path("photos/dogs/b.jpg")]).as_posix()
    'photos'
    """
    root: str | None = None
    for path in paths:
        folder = os.path.normpath(path.parent)
        try:
            root = folder if root is None else os.path.commonpath([root, folder]) or "."
        except ValueError as error:
            raise UserError(f"the images have no common folder ({error}): give it with --image-root") from error
    if root is None:
        raise UserError("no image to export, expected at least one localization")
    return Path(root)


def image_name(path: Path, root: Path) -> str:
    """The name of an image, relative to ``root``.

    Raises:
        UserError: the image is not below ``root``.

    >>> image_name(Path("photos/dogs/../cats/a.jpg"), Path("photos"))
    'cats/a.jpg'
    """
    try:
        return Path(os.path.normpath(path)).relative_to(os.path.normpath(root)).as_posix()
    except ValueError:
        raise UserError(f"{path} is not below {root}: give its folder with --image-root") from None


def first_folder(name: str) -> str:
    """The first folder of an image's name; empty if it has none.

    >>> first_folder("train/dogs/a.jpg"), first_folder("a.jpg")
    ('train', '')
    """
    folder, slash, _ = name.partition("/")
    return folder if slash else ""


def to_localization(labelled: Labelled, root: Path) -> Localization:
    """Convert to a localization; the score of a class is that of its best box.

    >>> boxes = Boxes(xyxy=[[0, 0, 1, 1], [0, 0, 2, 2]], labels=["cat", "cat"], scores=[0.5, 0.75])
    >>> to_localization(Labelled(name="a.jpg", size=(4, 2), boxes=boxes), Path("photos")).scores
    {'cat': 0.75}
    """
    boxes = labelled.boxes
    scores: dict[str, float] = {}
    for label, score in sorted(zip(boxes.labels, boxes.scores.tolist(), strict=True), key=lambda pair: -pair[1]):
        scores.setdefault(label, score)
    return Localization(path=root / labelled.name, size=labelled.size, scores=scores, boxes=boxes)


def class_index(classes: Sequence[str]) -> dict[str, int]:
    """The index of each class, counted from 0.

    Raises:
        UserError: there are no classes.

    >>> class_index(["cat", "dog"])
    {'cat': 0, 'dog': 1}
    """
    if not classes:
        raise UserError(
            "no class to export: no image has a box that is exported; keep boxes of lower scores, or give names with "
            "--classes"
        )
    return {name: number for number, name in enumerate(classes)}


def number_of(label: str, index: dict[str, int], where: str) -> int:
    """The index of one class.

    Raises:
        UserError: the class is not in the index.

    >>> number_of("dog", {"cat": 0, "dog": 1}, "a.jpg")
    1
    """
    if label not in index:
        known = ", ".join(list(index)[:40])
        raise UserError(f"{where}: class {label!r} is not among those to export, expected some of: {known}")
    return index[label]
