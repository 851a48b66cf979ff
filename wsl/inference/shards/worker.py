"""The worker that every engine runs: one shard, from the manifest's rows to its part."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from wsl.errors import BadImageError, RunError, UserError
from wsl.formats.shards.fetch import UnfetchedError
from wsl.formats.shards.parts import Counts, PartName, PartWriter, part_counts
from wsl.images.rows import ImageRow
from wsl.inference.identity import check_identity
from wsl.inference.inputs import Input, Source
from wsl.inference.opening import OpenedModel
from wsl.inference.shards.job import Job
from wsl.inference.shards.receipt import Receipt
from wsl.inference.shards.supply import FetchingThreads, Supply, Wanted, WholeImages

log = logging.getLogger("wsl")

_TELLING = 8
"""If none of at least this many images can be fetched, the machine (its disk or rights) is assumed to be at fault."""


class ShardWorker:
    """Localizes the images of one shard after another: called with a shard's number, it returns the receipt.

    The part's bytes depend only on the job: not on the process, the order of the shards or an earlier attempt. An
    existing part is left unchanged, unless it is among those to do ``again`` and has failed images. Images come from
    `supply`, by default from threads of this process. A worker can be pickled; the model is loaded for the first shard.
    """

    def __init__(
        self,
        job: Job,
        opened: OpenedModel | None = None,
        again: frozenset[int] = frozenset(),
        supply: Supply | None = None,
    ) -> None:
        self.job, self.again, self.supply = job, again, supply
        self._opened = opened
        self._predictor: Any = None
        threads = FetchingThreads if job.config.raster.tile is None else WholeImages
        self._images = supply or threads(job.config.sharding.image_seconds)

    def __reduce__(self) -> tuple[type[ShardWorker], tuple[Job, None, frozenset[int], Supply | None]]:
        return type(self), (self.job, None, self.again, self.supply)

    def __call__(self, shard: int) -> Receipt:
        """Do one shard, unless it is done.

        Raises:
            UserError: this process has another version, model or kind of device than the job.
            BadImageError: an image cannot be read, and the job is strict.
        """
        job, name, before = self.job, self.job.name(shard), None
        if job.storage.exists(str(name)):
            before = part_counts(job.storage, name)
            if shard not in self.again or not before.failed:
                return Receipt(shard, *before, seconds=0.0)
        started = time.perf_counter()
        predictor = self._ready()
        rows = job.manifest.shard(shard)
        try:
            counts = self._localize(predictor, rows, name, before)
        except _WorseError:
            log.warning("%s: more images fail than before, and the part stays as it was", name)
            counts = before or Counts()
        except FileNotFoundError:
            # Another worker was faster, and has removed our temporary files beside its part.
            if before is not None or not job.storage.exists(str(name)):
                raise
            counts = part_counts(job.storage, name)
        return Receipt(shard, *counts, seconds=time.perf_counter() - started)

    def _ready(self) -> Any:
        if self._predictor is None:
            opened = self._opened or OpenedModel.open(self.job.config)
            opened = dataclasses.replace(opened, machine=None)  # it runs here
            ours = {**opened.identity, "images": self.job.manifest.sha256}
            check_identity(self.job.identity, ours, str(self.job.storage))
            self._predictor = opened.stream_predictor(max_pixels=self.job.max_pixels)
        return self._predictor

    def _localize(self, predictor: Any, rows: Sequence[ImageRow], name: PartName, before: Counts | None) -> Counts:
        job, anew = self.job, before is not None
        maps = job.storage.writing(name.maps, anew=anew) if job.config.maps else contextlib.nullcontext()
        with job.storage.writing(str(name), anew=anew) as file, maps as maps_file:
            part = PartWriter(file, maps_file, name.maps)
            self._fill(part, predictor, rows)
            if maps_file is not None and not maps_file.exists():  # no image has a map
                maps_file.touch()
            part.close({"shard": name.shard, "key": job.key, "version": job.identity["version"]})
            if before is not None and part.counts.failed > before.failed:
                raise _WorseError
            if before is not None and maps_file is not None:
                # One of the two files is written first, and an earlier part would point to wrong places in new maps.
                job.storage.remove(str(name))
        return part.counts

    def _fill(self, part: PartWriter, predictor: Any, rows: Sequence[ImageRow]) -> None:
        errors: dict[int, BadImageError] = {}
        config = self.job.config
        sources = self._sources(rows, errors, predictor)
        stream = predictor.stream(sources, errors="return", workers=config.runtime.workers)
        for number, (row, found) in enumerate(zip(rows, stream, strict=True)):
            if not isinstance(found, BadImageError):
                part.add(row, found)
                continue
            error = _told(row, errors.get(number, found))
            if config.runtime.strict:
                stream.close()
                raise BadImageError(error)
            log.warning("failed: %s", error)
            part.fail(row, error)
        unfetched = [error for error in errors.values() if isinstance(error, UnfetchedError)]
        if len(unfetched) == len(rows) >= _TELLING:
            raise RunError(
                f"not one of the {len(rows)} images from {rows[0].path} on could be fetched, the last one because: "
                f"{unfetched[-1]}: check that this machine has the disk, the network and the rights to read them"
            )

    def _sources(
        self, rows: Sequence[ImageRow], errors: dict[int, BadImageError], predictor: Any
    ) -> Iterator[Source | Input]:
        """The images; one that cannot be had is empty, so that the others' batches do not change."""
        images = self._images([self._wanted(row) for row in rows], predictor.preparer)
        for number, (row, image) in enumerate(zip(rows, images, strict=True)):
            if isinstance(image, BadImageError):
                errors[number] = image
                yield Source(b"", id=row.path)
            else:
                yield image

    def _wanted(self, row: ImageRow) -> Wanted:
        if self.job.config.labels and row.labels is None:
            raise UserError(f"{row.path} has no labels in the manifest, and --labels asks for them")
        return Wanted(row, row.labels if self.job.config.labels else None)


class _WorseError(Exception):
    """Raised for a part with more failed images than the one it would replace."""


def _told(row: ImageRow, error: BadImageError) -> str:
    text = str(error)
    return text if text.startswith(row.path) else f"{row.path}: {text}"
