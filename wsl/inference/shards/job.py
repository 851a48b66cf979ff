"""The common state of all workers on a folder: the images, the settings, and which shards are done."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from wsl.checkpoints import check_classes
from wsl.config import LocalizeConfig
from wsl.errors import UserError
from wsl.formats.localizations import FILE_NAME, PARTIAL, RECORD
from wsl.formats.shards.manifest import MANIFEST, Manifest, write_manifest
from wsl.formats.shards.parts import SUCCESS, Counts, PartName, part_counts, parts_of, unfinished_files
from wsl.formats.shards.storage import Storage
from wsl.images.rows import ImageRow
from wsl.inference.identity import check_identity
from wsl.inference.opening import Machine, OpenedModel
from wsl.inference.shards.sources import image_rows, made_from
from wsl.limits import max_pixels

_READERS = 32


def make_manifest(config: LocalizeConfig, storage: Storage, classes: Iterable[str] | None = None) -> Manifest:
    """The manifest in a folder, created if there is none.

    With ``overwrite`` it is created anew, and an earlier run in the folder is removed once the images are listed.
    `classes` are those of the model if they are known, with which ``labels`` are compared.

    Raises:
        UserError: it was made from other images than those in the settings, there is no image, or an image is labelled
            with a class that the model does not have.
    """
    named = config.data is not None or bool(config.sources)
    if named and (config.overwrite or not storage.exists(MANIFEST)):
        with storage.creating(MANIFEST) as temporary:
            rows, size = labelled_rows(config, classes), config.sharding.shard_size
            write_manifest(rows, temporary, shard_size=size, made_from=made_from(config))
            if config.overwrite:
                _remove_run(storage, but=temporary.name)
    manifest = Manifest.read(storage)
    if named and manifest.made_from != made_from(config):
        raise UserError(
            f"{storage}/{MANIFEST} lists other images: made from {_shown(manifest.made_from)}, and this run names "
            f"{_shown(made_from(config))}: choose another --out, or start anew with --overwrite"
        )
    return manifest


def labelled_rows(config: LocalizeConfig, classes: Iterable[str] | None) -> Iterator[ImageRow]:
    """The images of a configuration; with ``labels``, a model of these classes has those of each image.

    Raises:
        UserError: the model lacks one, or as for `image_rows`.
    """
    known = dict.fromkeys(classes or ())
    for row in image_rows(config):
        if config.labels and known:
            check_classes(row.labels or (), known, f"{row.path}: the model of {config.weights}")
        yield row


@dataclass(frozen=True)
class Job:
    """A run in shards: its ``manifest``, its settings, and the folder ``storage`` for its parts.

    ``identity`` is everything that determines the bytes of the parts, and ``key`` its hash in their names. A job can be
    pickled and sent to workers, with ``max_pixels``, the limit of an image's size where it was made.
    """

    config: LocalizeConfig
    storage: Storage
    manifest: Manifest
    identity: Mapping[str, Any]
    key: str
    max_pixels: int = field(default_factory=max_pixels)

    @classmethod
    def begin(cls, config: LocalizeConfig, opened: OpenedModel) -> Job:
        """Begin a run in ``config.out``, or join an existing one.

        Raises:
            UserError: the folder holds another run, or one that is not in shards; there is no image; a setting is out
                of range. Nothing was written then.
        """
        storage = Storage(config.out)
        check_folder_is_ours(storage)
        if config.overwrite or not storage.exists(RECORD):
            opened.check()
            _ = opened.identity  # checks the device
        job = cls.of(config, opened, make_manifest(config, storage, opened.model.classes))
        if not storage.exists(RECORD):
            sizes = {"images": job.manifest.rows, "shards": job.manifest.shards}
            record = opened.record(identity=job.identity, key=job.key, **sizes)
            with storage.creating(RECORD) as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")
        check_identity(_recorded(storage), job.identity, str(storage))
        return job

    @classmethod
    def of(cls, config: LocalizeConfig, opened: OpenedModel, manifest: Manifest) -> Job:
        """The run with these settings and images; nothing is read or written."""
        identity = {**opened.identity, "images": manifest.sha256}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return cls(config, manifest.storage, manifest, identity, key)

    def name(self, shard: int) -> PartName:
        """The file of a shard."""
        return PartName(shard, self.key)

    def done(self) -> set[int]:
        """The shards that are done, by one listing of the folder.

        Raises:
            UserError: the folder also holds parts of other settings or images.
        """
        parts = parts_of(self.storage)
        others = sorted(set(parts) - {self.key})
        if others:
            example = PartName(min(parts[others[0]]), others[0])
            raise UserError(
                f"{self.storage} holds parts of another run, such as {example}, where this run's end in {self.key}: "
                "move them away, or choose another --out"
            )
        return parts.get(self.key, set())

    def counts(self, shards: Iterable[int]) -> dict[int, Counts]:
        """The counts stored in the parts of some shards.

        Raises:
            UserError: a file is not a part written by wsl-localize.
        """
        numbers = sorted(shards)
        with ThreadPoolExecutor(_READERS) as threads:
            found = threads.map(lambda shard: part_counts(self.storage, self.name(shard)), numbers)
            return dict(zip(numbers, found, strict=True))

    def tidy(self) -> None:
        """Remove temporary files of killed workers for parts that are complete.

        A worker that is still writing such a file, because another was faster, finds the part and leaves it. One that
        does a part again keeps its file.
        """
        for name, final in unfinished_files(self.storage):
            if self.storage.is_left_behind(name, final):
                self.storage.remove(name)

    def finish(self, known: Mapping[int, Counts]) -> Counts | None:
        """Write ``_SUCCESS`` with the totals if all parts exist, and return the totals; None if some are missing.

        `known` are counts of parts that need not be read again. Two workers that finish at the same time write the
        same totals.
        """
        done = self.done()
        if len(done) < self.manifest.shards:
            return None
        total = sum({**known, **self.counts(done - known.keys())}.values(), Counts())
        record = {"key": self.key, "shards": self.manifest.shards, **total._asdict()}
        with self.storage.creating(SUCCESS) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")
        self.tidy()
        return total

    def pace(self, done: set[int]) -> float | None:
        """Seconds between one shard and the next, over all workers; None before the first one.

        They are measured by the clock of the disk or store on which the parts were written. The median excludes times
        without any worker.
        """
        some = sorted(done)[-1000:]
        times = sorted(self.storage.modified(str(self.name(shard))) for shard in some)
        if not times:
            return None
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
        return gaps[len(gaps) // 2] if gaps else max(0.0, times[0] - self.storage.modified(RECORD))


def _remove_run(storage: Storage, *, but: str) -> None:
    """Remove a run in shards: its parts, maps, manifest, record and temporary files except one."""
    storage.remove(SUCCESS)  # first, because it says that all parts exist
    for name in sorted(storage.names()):
        part = PartName.of(name.replace("maps-", "part-", 1).replace(".npy", ".parquet"))
        if part is not None:
            storage.remove(name)
    for name, _ in unfinished_files(storage):
        if name != but:
            storage.remove(name)
    for name in (MANIFEST, RECORD):
        storage.remove(name)


def check_folder_is_ours(storage: Storage) -> None:
    """Check that a folder holds no results of a run that is not in shards.

    Raises:
        UserError: it does.

    >>> check_folder_is_ours(Storage("no such folder"))
    """
    for name in (FILE_NAME, PARTIAL):
        if storage.exists(name):
            raise UserError(
                f"{storage}/{name} is of a run without --engine, whose results are not mixed with parts: choose "
                "another --out"
            )


def recorded_machine(storage: Storage) -> Machine | None:
    """The kind of machine for which a run was begun, which need not be this one; None if there is no run.

    Raises:
        UserError: the record does not contain it.
    """
    if not storage.exists(RECORD):
        return None
    identity = _recorded(storage)
    return Machine(str(identity.get("device")), str(identity.get("precision")))


def _recorded(storage: Storage) -> Mapping[str, Any]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        identity = json.loads(storage.read(RECORD))["identity"]
        if isinstance(identity, dict):
            return identity
    raise UserError(f"{storage}/{RECORD} does not say how the parts beside it were made: start anew with --overwrite")


def _shown(values: Mapping[str, Any]) -> str:
    return json.dumps(values)[:200]
