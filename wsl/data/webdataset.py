"""Data sets in WebDataset format: tars of images, each with its label in a file of the same name."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl.data.records import classes_of
from wsl.data.splits import find_split
from wsl.documents import guarded, parse_json, text_lines
from wsl.errors import UserError, listed
from wsl.images.archives import archive_members, is_archive, read_member
from wsl.images.sources import is_image_name
from wsl.samples import Sample, SampleSet

log = logging.getLogger("wsl")

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000
_LABELS = ("cls", "json", "txt")
_KEYS = ("labels", "label", "classes", "class", "cls", "tags")
_EXPECTED = "the labels of an image"


def webdataset_splits(source: Path) -> dict[str, list[Path]]:
    """The tars at a path, by split: a tar, ``{000..123}.tar``, a folder of tars, or a folder of such folders.

    >>> webdataset_splits(Path("no such folder"))
    {}
    """
    if source.suffix.lower() == ".tar":
        shards = list(expand_range(source)) if _RANGE.search(source.name) else [source]
        return {"all": shards} if any(path.is_file() for path in shards) else {}
    if not source.is_dir():
        return {}
    splits = {folder.name: sorted(folder.glob("*.tar")) for folder in sorted(source.iterdir()) if folder.is_dir()}
    splits = {name: shards for name, shards in splits.items() if shards}
    beside = sorted(source.glob("*.tar"))
    for path in beside:  # train-000.tar is a shard of train
        if match := re.fullmatch(r"(.*[A-Za-z])[-_.]?\d+", path.stem):
            splits.setdefault(match.group(1), []).append(path)
    return {**splits, "all": beside} if beside else splits


def expand_range(source: Path) -> Iterator[Path]:
    """The paths given by ``{000..123}`` in a file name.

    >>> [path.name for path in expand_range(Path("a-{08..10}.tar"))]
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    match = _RANGE.search(source.name)
    if match is None:
        yield source
        return
    first, last = (int(match.group(i)) for i in (1, 2))
    if not 0 <= last - first < _MOST_SHARDS:
        raise UserError(f"{source}: the range {match.group()} is empty or too large, expected for example {{000..123}}")
    for number in range(first, last + 1):
        text = str(number).zfill(len(match.group(1)))
        yield from expand_range(source.with_name(source.name[: match.start()] + text + source.name[match.end() :]))


@guarded("tars in webdataset's form")
def read_webdataset(source: str | Path, split: str | None) -> SampleSet:
    """The images and labels of one split of a data set in WebDataset format.

    Files with the same name up to the first dot belong together: ``000123.jpg`` (or another image) and its label, which
    is the first of ``000123.cls`` (the number or name of a class), ``000123.json`` (an object with ``label``,
    ``labels``, ``class``, ``tags`` or the like: a number, a name, or a list of them) and ``000123.txt`` (names,
    separated by lines, ``;`` or ``|``). Numbers are named by the lines of ``classes.txt`` or ``labels.txt`` in the
    folder of the tars or above. The classes are those of that file, else all in the tars of any split, sorted.

    Images are not extracted: a path such as ``shard-000.tar/000123.jpg`` can be opened like any other. Its id is the
    path without the suffixes.

    Args:
        source: A tar, a name with a range (``shard-{000..123}.tar``), a folder of tars, or a folder of such folders.
        split: The name of a folder, or that of the tars without their number; None or ``all`` takes all tars given.

    Raises:
        UserError: there is no such split; a shard of a range is missing or not a tar; a label cannot be read, or is of
            a class that ``classes.txt`` lacks; no image has a label.

    >>> read_webdataset("lost.tar", None)
    Traceback (most recent call last):
    wsl.errors.UserError: lost.tar: no tar there; expected one, shard-{000..123}.tar, or a folder of tars
    """
    source = Path(source)
    splits = webdataset_splits(source)
    if not splits:
        raise UserError(f"{source}: no tar there; expected one, shard-{{000..123}}.tar, or a folder of tars")
    shards = splits[find_split(split, splits, source)]
    missing = [path for path in shards if not is_archive(path)]
    if missing:
        raise UserError(f"{missing[0]}: no such tar; {len(missing)} of {len(shards)} shards are missing")
    names = _class_names(source if source.is_dir() else source.parent)
    found = {path: labels for shard in shards for path, labels in _labelled(shard, names)}
    if not found:
        raise UserError(f"{shards[0]}: no image with a label in it; expected for example a.jpg with a.cls beside it")
    classes = tuple(names.values()) or _all_classes(splits, shards, found)
    samples = tuple(
        Sample(path=path, id=_id(path), labels=tuple(name for name in classes if name in labels))
        for path, labels in found.items()
    )
    return SampleSet(classes=classes, samples=samples)


def _all_classes(
    splits: Mapping[str, Sequence[Path]], read: Sequence[Path], found: Mapping[Path, set[str]]
) -> tuple[str, ...]:
    """The classes of all splits, so that the order of the score vector does not depend on the split."""
    others = {path for shards in splits.values() for path in shards} - set(read)
    more = (labels for shard in sorted(others) if is_archive(shard) for _, labels in _labelled(shard, {}))
    return classes_of([*found.values(), *more])


def _id(path: Path) -> str:
    """An image's id: the name of the tar without its suffix, and the key of the image in it."""
    archive = next(parent for parent in path.parents if parent.suffix.lower() == ".tar")
    inside = path.relative_to(archive)
    return (archive.with_suffix("").name / inside.with_name(inside.name.partition(".")[0])).as_posix()


def _labelled(shard: Path, names: Mapping[int, str]) -> Iterator[tuple[Path, set[str]]]:
    """The images of a tar that have labels, with their labels."""
    images: dict[str, str] = {}
    labels: dict[str, dict[str, str]] = {}
    for name in archive_members(shard):
        folder, _, file = name.rpartition("/")
        stem, _, kind = file.partition(".")
        key = f"{folder}/{stem}"
        if is_image_name(file):
            images.setdefault(key, name)
        elif kind.lower() in _LABELS:
            labels.setdefault(key, {})[kind.lower()] = name
    bare = [name for key, name in images.items() if key not in labels]
    if bare:
        log.warning("%s: left out %d images without a label: %s", shard, len(bare), listed(bare, 3))
    for key, name in images.items():
        if key in labels:
            kind = next(kind for kind in _LABELS if kind in labels[key])
            label = labels[key][kind]
            yield shard / name, _labels(read_member(shard, label), kind, f"{shard / label}", names)


def _labels(data: bytes, kind: str, where: str, names: Mapping[int, str]) -> set[str]:
    if kind == "json":
        document = parse_json(data, where, _EXPECTED)
        value = next((document[key] for key in _KEYS if key in document), None) if isinstance(document, dict) else None
        if value is None:
            raise UserError(f"{where}: expected an object with {', '.join(_KEYS)}")
        values = value if isinstance(value, list) else [value]
    else:
        try:
            values = re.split(r"[;|\n]", data.decode("utf-8-sig").strip())
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 text; expected {_EXPECTED}") from error
    return {_named(value, where, names) for value in values if str(value).strip()}


def _named(value: Any, where: str, names: Mapping[int, str]) -> str:
    """The name of a class given by number or name."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UserError(f"{where}: the label {value!r:.80}, expected a number or a name")
    text = str(value).strip()
    if names and text.isdecimal() and len(text) < 10 and int(text) in names:
        return names[int(text)]
    if names and text not in names.values():
        raise UserError(f"{where}: the class {text!r:.80} is not among the {len(names)} of the list of classes")
    return text


def _class_names(folder: Path) -> dict[int, str]:
    for path in (place / name for place in (folder, folder.parent) for name in ("classes.txt", "labels.txt")):
        if path.is_file():
            return {i: text.strip() for i, (_, text) in enumerate(text_lines(path, "a class a line"))}
    return {}
