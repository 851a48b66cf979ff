"""Localize objects in very many images: in shards, with any number of processes and machines."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsl.checkpoints import check_model
from wsl.config import LocalizeConfig
from wsl.config.keywords import by_keywords
from wsl.errors import UserError
from wsl.files import check_folder
from wsl.formats.shards.manifest import MANIFEST
from wsl.formats.shards.parts import SUCCESS, Counts
from wsl.formats.shards.storage import Storage
from wsl.progress import loading, progress
from wsl.verbs.localize import with_split_of_run

if TYPE_CHECKING:
    from wsl.inference.opening import OpenedModel
    from wsl.inference.shards import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestMade:
    """The manifest of a run in shards, with the number of its images and shards.

    >>> print(ManifestMade(manifest="found/manifest.parquet", images=5000, shards=3))
    5000 images in 3 shards
    found/manifest.parquet
    """

    manifest: str
    images: int
    shards: int

    def __str__(self) -> str:
        return f"{self.images} images in {self.shards} shards\n{self.manifest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedPlan:
    """What `run_shards` would do.

    ``seconds`` is the estimated time for the missing shards, at the recent pace of all workers together; None before
    the first shard is done.
    """

    images: int
    shards: int
    done: int
    seconds: float | None
    method: str
    out: str

    def __str__(self) -> str:
        left = "the time can be estimated after the first shard"
        if self.seconds is not None:
            left = f"{_duration(self.seconds)} left at the pace so far"
        left = left if self.done < self.shards else "nothing is left to do"
        return (
            f"{self.images} images in {self.shards} shards, {self.done} of them done: {left}\n{self.method}\n"
            f"would be written to {self.out}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedResult:
    """What this run did, and the progress of all runs on the folder together.

    ``images``, ``boxes`` and ``failed`` are counts over the shards done by this run, or over all shards once all are
    done. ``localized`` is the number of images that this run localized itself, in ``seconds``.
    """

    out: str
    shards: int
    done: int
    images: int
    boxes: int
    failed: int
    localized: int
    seconds: float
    method: str

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        if self.failed and self.done == self.shards:
            failed += " (--retry-failed tries them again)"
        rate = f"{self.localized / self.seconds:.1f} images/s" if self.localized else "nothing was left to do"
        state = "all shards are done" if self.done == self.shards else f"{self.done} of {self.shards} shards are done"
        return f"{self.boxes} boxes in {self.images} images{failed}  ({rate})\n{self.method}\n{self.out}: {state}"


def make_job_manifest(config: LocalizeConfig) -> ManifestMade:
    """Write ``manifest.parquet``, the list of images, or check that the one in ``config.out`` lists the same images.

    With ``overwrite``, an earlier run in the folder is removed.

    Raises:
        UserError: there is no image, the model or a class is unknown, or the manifest lists other images.
    """
    config = with_split_of_run(config)
    storage = _storage(config)
    recipe = check_model(config.weights, config.local_weights, config.cam.model, config.pick.classes)
    with loading("the list of images"):
        from wsl.inference.shards.job import check_folder_is_ours, make_manifest

        check_folder_is_ours(storage)
        manifest = make_manifest(config, storage, None if recipe is None else recipe.classes)
    return ManifestMade(manifest=f"{storage}/{MANIFEST}", images=manifest.rows, shards=manifest.shards)


def plan_shards(config: LocalizeConfig) -> ShardedPlan:
    """Count the images and shards, and how many are done, without writing anything.

    Raises:
        UserError: as for `run_shards`.
    """
    config = with_split_of_run(config)
    storage = _storage(config)
    opened = _open(config)
    from wsl.inference.shards import Job
    from wsl.inference.shards.job import labelled_rows, make_manifest, recorded_machine

    plan = ShardedPlan(images=0, shards=0, done=0, seconds=None, method=opened.method, out=str(storage))
    if config.overwrite or (_names_images(config) and not storage.exists(MANIFEST)):
        opened.check()
        images = sum(1 for _ in labelled_rows(config, opened.model.classes))
        return dataclasses.replace(plan, images=images, shards=-(-images // config.sharding.shard_size))
    machine = recorded_machine(storage)
    job = Job.of(config, dataclasses.replace(opened, machine=machine), make_manifest(config, storage))
    done = job.done()
    pace = job.pace(done)
    if config.sharding.retry_failed:
        done -= _with_failures(job.counts(done))
    left = job.manifest.shards - len(done)
    seconds = None if pace is None else pace * left
    return dataclasses.replace(
        plan, images=job.manifest.rows, shards=job.manifest.shards, done=len(done), seconds=seconds
    )


@by_keywords(LocalizeConfig, "sources")
def run_shards(config: LocalizeConfig) -> ShardedResult:
    """Localize the images of those shards that are not done, with the configured engine.

    Each shard becomes ``part-….parquet`` in ``config.out``, and ``_SUCCESS`` is written when all are there. The same
    call continues a run that was stopped or on which other processes work. With ``retry_failed``, shards with images
    that failed are done again: their parts are replaced one by one, and ``_SUCCESS`` is written again after the last.

    Raises:
        UserError: there is no image, the model or a class is unknown, a setting is out of range, or the folder contains
            results of other settings, other images or another version.
        RunError: some shards could not be done.
    """
    config = with_split_of_run(config)
    storage = _storage(config)
    opened = _open(config)
    from wsl.inference.shards import Job, ShardWorker, create_engine

    engine = create_engine(config)
    opened = dataclasses.replace(opened, machine=engine.machine(config.runtime))
    job = Job.begin(config, opened)
    job.tidy()
    done = job.done()
    counts: dict[int, Counts] = {}
    before = job.counts(done) if config.sharding.retry_failed else {}
    again = _with_failures(before)
    if again:
        storage.remove(SUCCESS)  # before the totals that it contains change
    shards = engine.share(sorted(set(range(job.manifest.shards)) - (done - again)))
    started = time.perf_counter()
    localized = 0
    with progress("localize", _images(job, shards)) as advance:
        for receipt in engine.run(ShardWorker(job, opened, again, engine.supply()), shards):
            counts[receipt.shard] = Counts(receipt.images, receipt.boxes, receipt.failed)
            localized += receipt.done if receipt.seconds else 0
            advance(receipt.done, note=f"shard {len(counts)} of {len(shards)}")
    seconds = time.perf_counter() - started
    if again:
        storage.remove(SUCCESS)  # which another run may have written meanwhile, with totals of parts since replaced
    total = job.finish({**before, **counts})
    own = sum(counts.values(), Counts())
    return ShardedResult(
        out=str(storage),
        shards=job.manifest.shards,
        done=job.manifest.shards if total else len(job.done()),
        **(total or own)._asdict(),
        localized=localized,
        seconds=seconds,
        method=opened.method,
    )


def _storage(config: LocalizeConfig) -> Storage:
    storage = Storage(config.out)
    if storage.path is not None:
        check_folder(storage.path, "the results")
    if config.sharding.engine is None:
        raise UserError("no engine given: expected local, array or ray")
    return storage


def _names_images(config: LocalizeConfig) -> bool:
    return config.data is not None or bool(config.sources)


def _open(config: LocalizeConfig) -> OpenedModel:
    check_model(config.weights, config.local_weights, config.cam.model, config.pick.classes)
    with loading(config.weights):
        from wsl.inference.opening import OpenedModel

        return OpenedModel.open(config)


def _with_failures(known: Mapping[int, Counts]) -> frozenset[int]:
    """The shards with images that failed."""
    return frozenset(shard for shard, counts in known.items() if counts.failed)


def _images(job: Job, shards: Sequence[int]) -> int:
    """The total number of images in some shards."""
    return sum(job.manifest.size(shard) for shard in shards)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"
