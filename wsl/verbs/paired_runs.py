"""Localizations of two runs side by side, matched by image."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from wsl.documents import located
from wsl.errors import UserError
from wsl.formats import count_localizations, find_localizations, read_localizations, results_folder
from wsl.formats.localizations import FILE_NAME
from wsl.formats.map_shards import MapShelf
from wsl.formats.shards.storage import is_remote, local_path
from wsl.results import Localization
from wsl.samples import Sample, SampleIndex, SampleSet
from wsl.verbs.compared_runs import Source, check_distinct, short_names

log = logging.getLogger("wsl")

Pair = tuple[Localization | None, Localization | None]


def pair_names(first: Path, second: Path) -> tuple[str, str]:
    """Names of two results of ``wsl-localize``: the shortest endings of their paths that differ.

    Raises:
        UserError: results are missing or empty, or both are the same.
    """
    sources = [_source(given) for given in (first, second)]
    check_distinct(sources)
    one, other = short_names([source.place for source in sources])
    return one, other


def _source(given: Path) -> Source:
    results = find_localizations(given)
    if not count_localizations(results):
        raise UserError(
            f"{results} has no localizations: expected those of a run to compare, as wsl-localize writes them"
        )
    place = results_folder(results) if results.name == FILE_NAME else results
    return Source(given=str(given), is_model=False, place=Path(os.path.realpath(place)).parts)


class PairedRuns:
    """The localizations of two runs by image, with their maps: at most ``limit`` images, in the order of the first run.

    Images that only the second run has come last. Images are matched by `wsl.samples.SampleIndex`; those of different
    sizes are different images. ``scratch`` is an empty file, in which the second run's localizations are stored without
    their maps, so that memory holds only the paths of images.

    Raises:
        UserError: a results file cannot be read or has two localizations of an image, or a path fits two images.
    """

    def __init__(
        self, results: tuple[Path, Path], names: tuple[str, str], limit: int | None, scratch: BinaryIO
    ) -> None:
        self._results, self._names, self._scratch = results, names, scratch
        self._shelf = MapShelf(local_path(results_folder(results[1])))
        found = read_localizations(results[0], maps=False, warnings=Counter())
        images = [Sample(path=one.path, id=one.id, size=one.size) for one in found]
        self._shown = {image.path for image in images[:limit]}
        # Where localizations of the second run start in the scratch file: by the first run's path of the image, and
        # for images that only the second run has.
        self._starts: dict[Path, int] = {}
        self._alone: list[int] = []
        self._match(images, limit)

    def __len__(self) -> int:
        return len(self._shown) + len(self._alone)

    def __iter__(self) -> Iterator[Pair]:
        for found in itertools.islice(read_localizations(self._results[0]), len(self._shown)):
            start = self._starts.get(found.path)
            yield found, None if start is None else self._read(start)
        for start in self._alone:
            yield None, self._read(start)

    def _match(self, images: Sequence[Sample], limit: int | None) -> None:
        first, second = self._results
        with located(first):
            index = SampleIndex(SampleSet(classes=(), samples=tuple(images)))
        matched: set[Path] = set()
        alone: list[Path] = []
        resized: list[tuple[Sample, tuple[int, int]]] = []
        # Maps in an object store cannot be read one by one, which reading them here reports.
        for found in read_localizations(second, maps=is_remote(second)):
            image = index.match(found.path)
            if image is not None and image.size != found.size:
                resized.append((image, found.size))
                image = None
            if image is None:
                alone.append(found.path)
                if limit is None or len(self) < limit:
                    self._alone.append(self._store(found))
            elif image.path in matched:
                raise UserError(f"{second} has two localizations of {image.path}: expected one for each image")
            else:
                matched.add(image.path)
                if image.path in self._shown:
                    self._starts[image.path] = self._store(found)
        self._warn_resized(resized)
        one, other = self._names
        self._warn_alone([image.path for image in images if image.path not in matched], one, other)
        self._warn_alone(alone, other, one)

    def _warn_resized(self, resized: Sequence[tuple[Sample, tuple[int, int]]]) -> None:
        if resized:
            image, size = resized[0]
            one, other = (f"{width} × {height}" for width, height in (image.size or size, size))
            message = "%d images have other sizes in %s than in %s and are shown as two each, such as %s: %s and %s"
            log.warning(message, len(resized), *self._names, image.path, one, other)

    def _warn_alone(self, paths: Sequence[Path], name: str, other: str) -> None:
        if paths:
            log.warning("%d images of %s are not in %s, such as %s", len(paths), name, other, paths[0])

    def _store(self, found: Localization) -> int:
        start = self._scratch.tell()
        self._scratch.write(json.dumps(found.to_json()).encode("ascii") + b"\n")
        return start

    def _read(self, start: int) -> Localization:
        self._scratch.seek(start)
        found = Localization.from_json(json.loads(self._scratch.readline()))
        return found if found.stored is None else dataclasses.replace(found, maps=self._shelf.read(found.stored))
