"""The names of images in an export: in the folders of their splits, in their own folders, or all in one folder."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath

from wsl.files import UniqueNames
from wsl.formats.exchange.labelled import Labelled
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


class SplitFolders:
    """Names in a folder for each split, as YOLO's trainers expect, if all images have a split.

    ``folders`` are the first folders of all images' names (an empty string for none), and ``given`` the splits assigned
    by their tool (None for none). Below a split, images keep their folders except those called ``images``, of which the
    trainers expect only one; with ``flat`` they have no folders.

    >>> from wsl.boxes import Boxes
    >>> folders = SplitFolders({"train", "valid"}, {None}, flat=False)
    >>> folders(Labelled(name="valid/images/cats/a.jpg", size=(4, 2), boxes=Boxes.empty())).name
    'valid/cats/a.jpg'
    >>> folders.splits, SplitFolders({"cats", "train"}, {None}, flat=False).splits
    (True, False)
    """

    def __init__(self, folders: Collection[str], given: Collection[str | None], *, flat: bool) -> None:
        self._given = bool(given) and all(split is not None and role(split.lower()) for split in given)
        named = bool(folders) and all(map(role, folders))
        self.splits = self._given or named
        self._flat: defaultdict[str, FlatNames] | None = defaultdict(FlatNames) if flat else None

    def __call__(self, image: Labelled) -> Labelled:
        """The image under its new name."""
        *folders, last = PurePosixPath(image.name).parts
        split = ""
        if self._given:
            split = (image.split or "").lower()
            folders = folders[1:] if folders[:1] == [image.split] else folders
        elif self.splits:
            split, *folders = folders
        rest = replace(image, name="/".join([*(name for name in folders if name != "images"), last]))
        placed = rest if self._flat is None else self._flat[split](rest)
        return replace(placed, name=f"{split}/{placed.name}" if split else placed.name)
