"""Locations of images by the text of their paths, to distinguish a moved data set from a different one."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

_SUFFIX = re.compile(r"(.+)(\.[A-Za-z][A-Za-z0-9]{1,3})", re.DOTALL)
_BRANCH = re.compile(r"(voc|train|training|trainval|val|valid|validation|minival|test|testing|dev)[-_]?([0-9]*)")
_SYNONYMS = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


class Place(NamedTuple):
    """The folders of an image from the root of the file system down, normalised by `fold`.

    The last ``shown`` of them are written in the path; those above come from the working directory.

    >>> Place.of(Path("/data/coco/val/a.jpg")).folders[1:]
    ('data', 'coco', 'val')
    >>> Place.of(Path("coco/val/a.jpg")).shown
    2
    """

    folders: tuple[str, ...]
    shown: int

    @classmethod
    def of(cls, path: Path) -> Place:
        """The place of an image."""
        folder = os.fspath(path.parent)
        return cls(_folders(absolute(folder)), _shown(folder))

    def last(self, count: int) -> tuple[str, ...]:
        """The last folders, at most ``count``."""
        return self.folders[max(len(self.folders) - count, 0) :]

    def common(self, other: Place) -> int:
        """The number of trailing folders that are the same.

        >>> Place.of(Path("/old/val/camA/0.png")).common(Place.of(Path("/new/root/val/camA/0.png")))
        2
        """
        shortest = min(len(self.folders), len(other.folders))
        return next((i for i in range(shortest) if self.folders[-1 - i] != other.folders[-1 - i]), shortest)

    def contradicts(self, sample: Place, depth: int) -> bool:
        """Whether an image here cannot be the sample with the same file name at ``sample``.

        ``depth`` of the sample's folders belong to its name. `wsl.samples.SampleIndex` explains the rules.

        >>> val, train, moved = (Place.of(Path(f"/{name}/a.jpg")) for name in ("c/val", "c/train", "d/images"))
        >>> train.contradicts(val, 0), moved.contradicts(val, 0)
        (True, False)
        """
        common = self.common(sample)
        if common >= self.shown:  # everything written agrees, and the working directory is no evidence
            return False
        if common < depth:
            return True
        if common == depth and _in_one_place(self._above(common), sample._above(common)):
            return True
        return _branches_differ(self._above(common, shown=True), sample._above(common, shown=True))

    def _above(self, common: int, *, shown: bool = False) -> tuple[str, ...]:
        first = len(self.folders) - self.shown if shown else 0
        return self.folders[first : len(self.folders) - common]


@functools.lru_cache(maxsize=4096)  # images lie in far fewer folders
def _folders(folder: str) -> tuple[str, ...]:
    return tuple(map(fold, Path(folder).parts))


@functools.lru_cache(maxsize=4096)
def _shown(folder: str) -> int:
    return sum(part != ".." for part in Path(os.path.normpath(folder)).parts)


def fold(part: str) -> str:
    """A part of a path normalised for comparison: in Unicode's composed form, with its suffix in lower case.

    If `os.path.normcase` folds case, all of it is in lower case.

    >>> fold("IMG.JPG"), fold("cafe\u0301")
    ('IMG.jpg', 'café')
    """
    part = unicodedata.normalize("NFC", os.path.normcase(part))
    match = _SUFFIX.fullmatch(part)
    return match[1] + match[2].lower() if match else part


def same_name(one: str, other: str) -> bool:
    """Whether two parts of paths are the same when folded.

    >>> same_name("a.JPG", "a.jpg")
    True
    """
    return fold(one) == fold(other)


def without_suffix(name: str) -> str:
    """A name without a possible image suffix; the id ``2008.1`` has none.

    >>> without_suffix("val/a.jpeg"), without_suffix("2008.1")
    ('val/a', '2008.1')
    """
    match = _SUFFIX.fullmatch(name)
    return match[1] if match else name


def absolute(path: str | Path) -> str:
    """The absolute path of a file for comparison, from its text alone."""
    return os.path.normcase(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", resolve reads the disk


def real(path: Path) -> str | None:
    """The absolute path of a file for comparison, with all links resolved; None if there is no such file."""
    try:
        return os.path.normcase(os.path.realpath(path, strict=True))
    except (OSError, ValueError):  # a name that is too long, or holds a null
        return None


def _in_one_place(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two folders are siblings or one lies below the other, judging by their names."""
    one, other = one[1:], other[1:]  # without the top of the file system, which all paths share
    if not one or not other:
        return False
    return one[-1] in other or other[-1] in one or bool(one[-2:-1] and one[-2:-1] == other[-2:-1])


def _branches_differ(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the last folders that name a split, or a year of VOC, differ."""
    ours, theirs = _branches(one), _branches(other)
    for kind in ours.keys() & theirs.keys():
        (word, number), (other_word, other_number) = ours[kind], theirs[kind]
        if word != other_word or (number and other_number and number != other_number):
            return True
    return False


def _branches(folders: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    found = filter(None, (_BRANCH.fullmatch(folder.casefold()) for folder in folders))
    return {"year" if match[1] == "voc" else "split": (_SYNONYMS.get(match[1], match[1]), match[2]) for match in found}
