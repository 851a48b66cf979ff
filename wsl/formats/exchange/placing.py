"""The names of images in an export: in the folders of their splits, in their own folders, or all in one folder."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath

from wsl.files import UniqueNames
from wsl.formats.exchange.labelled import Labelled, first_folder
from wsl.split_names import role

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


class FlatNames:
    """Names without folders, no two of which differ only in suffix, case or Unicode composition.

    >>> from wsl.boxes import Boxes
    >>> flat = FlatNames()
    >>> names = ("cats/a.jpg", "cats/a.png", "cats_a.jpg", "a.jpg")
    >>> [flat(Labelled(name=name, size=(4, 2), boxes=Boxes.empty())).name for name in names]
    ['cats_a.jpg', 'cats_a~2.png', 'cats_a~3.jpg', 'a.jpg']
    """

    def __init__(self) -> None:
        self._stems = UniqueNames()

    def __call__(self, image: Labelled) -> Labelled:
        """The image under its new name."""
        suffix = PurePosixPath(image.name).suffix
        if not _SUFFIX.fullmatch(suffix):  # the name has a dot but no suffix
            return replace(image, name=self._stems(image.name))
        return replace(image, name=self._stems(image.stem) + suffix)


class Splits:
    """The splits of an export's images, if all of them have one: that of their tool, or the folder in which they lie.

    ``folders`` are the first folders of all images' names (an empty string for none), and ``given`` the splits assigned
    by their tool (None for none). ``known`` says whether all images have a split.

    >>> from wsl.boxes import Boxes
    >>> image = Labelled(name="valid/a.jpg", size=(4, 2), boxes=Boxes.empty())
    >>> Splits({"train", "valid"}, {None}).of(image), Splits({"cats", "valid"}, {None}).of(image)
    ('valid', None)
    """

    def __init__(self, folders: Collection[str], given: Collection[str | None]) -> None:
        self.given = bool(given) and all(split is not None and role(split.lower()) for split in given)
        self.known = self.given or (bool(folders) and all(map(role, folders)))

    def of(self, image: Labelled) -> str | None:
        """The split of an image."""
        if self.given:
            return (image.split or "").lower()
        return first_folder(image.name) if self.known else None


class SplitFolders:
    """Names in a folder for each split, as YOLO's trainers and LabelMe's users expect, if all images have a split.

    Below a split, images keep their folders except those called ``images``, of which the trainers expect only one; with
    ``flat`` they have no folders.

    >>> from wsl.boxes import Boxes
    >>> folders = SplitFolders(Splits({"train", "valid"}, {None}), flat=False)
    >>> folders(Labelled(name="valid/images/cats/a.jpg", size=(4, 2), boxes=Boxes.empty())).name
    'valid/cats/a.jpg'
    """

    def __init__(self, splits: Splits, *, flat: bool) -> None:
        self._splits = splits
        self._flat: defaultdict[str, FlatNames] | None = defaultdict(FlatNames) if flat else None

    def __call__(self, image: Labelled) -> Labelled:
        """The image under its new name."""
        *folders, last = PurePosixPath(image.name).parts
        split = self._splits.of(image) or ""
        if split and folders[:1] == [image.split if self._splits.given else split]:
            folders = folders[1:]
        rest = replace(image, name="/".join([*(name for name in folders if name != "images"), last]))
        placed = rest if self._flat is None else self._flat[split](rest)
        return replace(placed, name=f"{split}/{placed.name}" if split else placed.name)
