"""Which files hold COCO's annotations of a split."""

from __future__ import annotations

import re
from pathlib import Path

from wsl.data.lvis import FILES, lvis_split
from wsl.data.splits import UnknownSplit, unknown_split
from wsl.errors import UserError
from wsl.split_names import role, training_split

PREFIX = "instances_"
_ROBOFLOW = "_annotations.coco.json"  # in the folder of each split, beside its images


def numbers_file(source: Path, split: str | None) -> Path:
    """The annotations whose numbers a split has: its own, or those of the images that were divided into splits.

    Raises:
        UserError: as `instances_file`.

    >>> numbers_file(Path("lost"), "val")
    Traceback (most recent call last):
    wsl.errors.UserError: lost: no such file or folder; expected a COCO folder or an instances JSON
    """
    try:
        return instances_file(source, split)
    except UnknownSplit as error:
        named = "all" if error.divisible else training_split(error.known)
        if role(split) not in ("train", "val") or named is None:
            raise
        return instances_file(source, named)


def instances_files(folder: Path) -> dict[str, Path]:
    """The instances files in a folder or its ``annotations``, by split: ``instances_val2017.json`` is val2017.

    Roboflow's ``valid/_annotations.coco.json`` is valid, LVIS's ``lvis_v1_val.json`` val.

    >>> instances_files(Path("no such folder"))
    {}
    """
    names = (f"{PREFIX}*.json", FILES)
    paths = [path for place in ("", "annotations/") for name in names for path in folder.glob(place + name)]
    return {split_of(path): path for path in sorted([*paths, *folder.glob(f"*/{_ROBOFLOW}")])}


def split_of(path: Path) -> str:
    """The split that the name of a file says.

    >>> split_of(Path("annotations/instances_val2017.json")), split_of(Path("valid/_annotations.coco.json"))
    ('val2017', 'valid')
    """
    if path.name == _ROBOFLOW:
        return path.parent.name
    return lvis_split(path.stem) or path.stem.removeprefix(PREFIX)


def instances_file(source: Path, split: str | None) -> Path:
    """The annotations of a split in a folder, or the file itself where it is of that split.

    Raises:
        UnknownSplit: there are only those of others.
        UserError: there are none.

    >>> instances_file(Path("lost"), "val")
    Traceback (most recent call last):
    wsl.errors.UserError: lost: no such file or folder; expected a COCO folder or an instances JSON
    """
    if source.is_file():
        name = split_of(source)
        words = re.split(r"[^a-zA-Z0-9]+", name)
        if split in (None, "all", name) or any(re.fullmatch(rf"{re.escape(str(split))}\d*", word) for word in words):
            return source
        raise unknown_split(split, [name, "all"], source)
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; expected a COCO folder or an instances JSON")
    files = instances_files(source)
    if not files:
        raise UserError(f"{source}: no COCO annotations; expected annotations/{PREFIX}<split>.json in it")
    if split in files:
        return files[split]
    matches = [name for name in files if split in (None, "all") or name.startswith(str(split))]
    if len(matches) == 1:
        return files[matches[0]]
    raise unknown_split(split if split and not matches else None, matches or files, source)
