"""Matching of files of score maps to images and classes by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from wsl.errors import UserError
from wsl.files import is_left_over
from wsl.formats.predictions.map_files import SUFFIXES
from wsl.samples import Sample, SampleIndex, SampleSet


def map_listing(folder: Path) -> set[str]:
    """The relative paths of the score maps in a folder and below; PNGs only if there are no arrays.

    >>> map_listing(Path("no such folder"))
    set()
    """
    names = {name for name in _below(folder) if name.endswith(SUFFIXES)}
    return {name for name in names if not name.endswith(".png")} or names


def holds_maps(folder: Path) -> bool:
    """Whether there is a score map in the folder or below.

    >>> holds_maps(Path("no such folder"))
    False
    """
    return any(name.endswith(SUFFIXES) for name in _below(folder))


def _below(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_left_over(name)]
        place = Path(parent).relative_to(folder).as_posix()
        start = "" if place == "." else f"{place}/"
        yield from (f"{start}{name}" for name in names if not is_left_over(name))


def match_maps(names: Collection[str], samples: SampleSet, folder: Path) -> dict[Path, dict[str | None, str]]:
    """The files of each sample that has any, by the sample's path: one per class, or one of the image under None.

    The file of an image is ``<id>``; files of single classes are ``<id>/<class>``, ``<class>/<id>``, ``<id>_<class>``
    or ``<id>-<class>``, each with the suffix of the maps.

    Raises:
        UserError: no file belongs to a sample, two files are the same map, or a file matches two samples.

    >>> samples = SampleSet(classes=["cat", "dog"], samples=[Sample(path="a.jpg", labels=["dog"])])
    >>> match_maps(["a/dog.npy", "cat/a.npy"], samples, Path("maps"))[Path("a.jpg")]
    {'dog': 'a/dog.npy', 'cat': 'cat/a.npy'}
    """
    index, classes = SampleIndex(samples), frozenset(samples.classes)
    files: dict[Path, dict[str | None, str]] = {}
    for name in sorted(names):
        sample, label = _attribute(str(PurePosixPath(name).with_suffix("")), index, classes)
        if sample is None:
            continue
        own = files.setdefault(sample.path, {})
        other = own.get(label) or own.get(None) or (next(iter(own.values()), None) if label is None else None)
        if other is not None:
            what = f"{sample.id!r}" if label is None or label not in own else f"{label!r} in {sample.id!r}"
            raise UserError(f"{folder}: {other} and {name} are both the map of {what}; expected one of them")
        own[label] = name
    if not files:
        example = f"{samples.samples[0].id}.npy" if len(samples) else "<image id>.npy"
        raise UserError(
            f"{folder}: none of its {len(names)} score maps belongs to an image of the split; expected {example}"
        )
    return files


def _attribute(name: str, index: SampleIndex, classes: frozenset[str]) -> tuple[Sample | None, str | None]:
    """The sample to which a name without suffix belongs, and the class if the name contains one."""
    first, _, rest = name.partition("/")
    by_class = bool(rest) and first in classes
    whole = index.match(name)
    # Image folders are also named after classes: there dog/a is the whole name of the image.
    if whole is not None and (not by_class or whole.path.parent.name == first):
        return whole, None
    if by_class and (sample := index.match(rest)) is not None:
        return sample, first
    for image, label in _splits(name):
        if label in classes and (sample := index.match(image)) is not None:
            return sample, label
    return None, None


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """The possible divisions of a name into an image and a class, longest class first."""
    for i, letter in enumerate(name[:-1]):
        if letter in "/_-" and i:
            yield name[:i], name[i + 1 :]
