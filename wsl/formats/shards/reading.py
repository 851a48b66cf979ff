"""Reading of the results of a run in shards, part by part."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wsl.errors import UserError
from wsl.formats.map_shards import MapShelf
from wsl.formats.parquet_rows import FAILED, read_parquet_rows
from wsl.formats.shards.parts import SUCCESS, PartName, part_counts, parts_of
from wsl.formats.shards.storage import Storage, is_remote
from wsl.results import Localization

log = logging.getLogger("wsl")


def holds_parts(place: Path) -> bool:
    """Whether a place is a part of `wsl-localize`, or a folder with parts.

    >>> holds_parts(Path("no such place"))
    False
    """
    if is_remote(place):
        return bool(parts_of(Storage(place)))
    if not place.is_dir():
        return place.is_file() and PartName.of(place.name) is not None
    return any(PartName.of(path.name) is not None for path in place.iterdir())


def count_rows(place: Path) -> int:
    """The number of localizations in parts, from their footers."""
    storage, names = _parts(place)
    return sum(part_counts(storage, name).images for name in names)


def read_parts(place: Path, *, maps: bool, warnings: Counter[str] | None = None) -> Iterator[Localization]:
    """Stream the localizations of a folder of parts, in the order of the manifest, with their maps if stored.

    Images that failed are counted in ``warnings``. Missing parts are logged.

    Raises:
        UserError: there are parts of several runs, or a part cannot be read.
    """
    storage, names = _parts(place)
    _tell_missing(storage, names)
    counted = Counter[str]() if warnings is None else warnings
    shelf = None if storage.path is None else MapShelf(storage.path)
    for name in names:
        with storage.open(str(name)) as file:
            for found in read_parquet_rows(file, f"{storage}/{name}", counted):
                if not maps or found.stored is None:
                    yield found
                elif shelf is None:
                    raise UserError(f"{storage}: maps cannot be read from a store: copy the folder to a disk")
                else:
                    yield dataclasses.replace(found, maps=shelf.read(found.stored))
    if warnings is None and counted[FAILED]:
        log.warning("%s: %d images could not be read when they were localized", storage, counted[FAILED])


def _parts(place: Path) -> tuple[Storage, list[PartName]]:
    """The storage of the parts, and their names in order."""
    single = None if is_remote(place) else PartName.of(place.name)
    if single is not None and place.is_file():
        return Storage(place.parent), [single]
    storage = Storage(place)
    parts = parts_of(storage)
    if len(parts) > 1:
        listed = ", ".join(sorted(parts))
        raise UserError(f"{storage} holds parts of {len(parts)} runs ({listed}), expected one: move the others away")
    return storage, [PartName(shard, key) for key, shards in parts.items() for shard in sorted(shards)]


def _tell_missing(storage: Storage, names: list[PartName]) -> None:
    if len(names) == 1 or storage.exists(SUCCESS):
        return
    try:
        shards = json.loads(storage.read("localize.json"))["shards"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        shards = "an unknown number of"
    if shards != len(names):
        log.warning("%s: %d of %s shards are done, and only these are read", storage, len(names), shards)
