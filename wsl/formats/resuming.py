"""The part of an unfinished results file that is kept when the run is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from wsl.errors import UserError
from wsl.results import Localization
from wsl.stored_maps import StoredMaps


class Kept(NamedTuple):
    """The beginning of a results file, up to the last complete batch.

    ``images`` is the number of images of the list that are done, and ``records`` of them have a line; the others could
    not be read. ``size`` is the number of bytes of those lines, ``maps`` the last maps to which they refer.

    >>> Kept().images
    0
    """

    images: int = 0
    records: int = 0
    boxes: int = 0
    size: int = 0
    maps: StoredMaps | None = None


def kept_results(partial: Path, images: Iterable[tuple[str, str]], batch_size: int) -> Kept:
    """Find the part of a partial results file to keep, for a list of images as (path, id).

    The last line may be incomplete, and images of the last batch may be missing. An incomplete batch is done again as a
    whole, so that the results have the same rounding as in an uninterrupted run.

    Raises:
        UserError: the lines do not belong to the images, or have another order.

    >>> kept_results(Path("no such file"), [], 8).images
    0
    """
    listed = enumerate(images)
    kept = current = Kept()
    for found, end in _whole_lines(partial):
        key = found.path.as_posix(), found.id
        position = next((place for place, image in listed if image == key), None)
        if position is None:
            raise UserError(
                f"{partial} has a line for {found.path}, which is not where it is expected in the list of images: "
                "give the images of the run that was stopped, or start again with --overwrite"
            )
        whole = position // batch_size * batch_size
        if whole > kept.images:
            kept = current._replace(images=whole)
        current = Kept(
            images=position + 1,
            records=current.records + 1,
            boxes=current.boxes + len(found.boxes),
            size=end,
            maps=found.stored or current.maps,
        )
    return current if current.images % batch_size == 0 else kept


def _whole_lines(file: Path) -> Iterator[tuple[Localization, int]]:
    """The localizations up to the first incomplete line, each with the position of its end in the file."""
    if not file.is_file():
        return
    end = 0
    with file.open("rb") as lines:
        for line in lines:
            end += len(line)
            try:
                found = Localization.from_json(json.loads(line))
            except (ValueError, RecursionError):  # UserError is a ValueError
                return
            if not line.endswith(b"\n"):
                return
            yield found, end
