"""Work on shards that ends its process, for tests of engines: imported by the processes that they start."""

import os
import signal
from dataclasses import dataclass, fields
from pathlib import Path

from wsl.inference.preparing import Preparer
from wsl.inference.shards.engines.ray_decoders import RayDecoders
from wsl.inference.shards.receipt import Receipt


class Deadly:
    """Receipts without work; at some shards the process is killed as often as is said."""

    def __init__(self, folder: Path, deaths: dict[int, int]):
        self.folder, self.deaths = folder, deaths

    def __call__(self, shard: int) -> Receipt:
        attempt = len(list(self.folder.glob(f"{shard}-*")))
        (self.folder / f"{shard}-{attempt}").touch()
        if attempt < self.deaths.get(shard, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if shard == 99:
            raise ValueError("shard 99 is not to be had")
        return Receipt(shard, images=2, boxes=shard, failed=0, seconds=1.0)


class Failing:
    """Work that raises an error at the second shard."""

    def __init__(self, error: Exception):
        self.error = error

    def __call__(self, shard: int) -> Receipt:
        if shard == 1:
            raise self.error
        return Receipt(shard, images=2, boxes=shard, failed=0, seconds=1.0)


class DiesAtAnImage:
    """A `ShardWorker` whose process is killed at the n-th image, the first time that it comes so far."""

    def __init__(self, worker, marker: Path, image: int):
        self.worker, self.marker, self.image = worker, marker, image

    def __call__(self, shard: int) -> Receipt:
        from wsl.formats.shards.parts import PartWriter

        add, seen = PartWriter.add, []

        def dying(part, row, found):
            seen.append(row)
            if len(seen) == self.image and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            add(part, row, found)

        PartWriter.add = dying
        try:
            return self.worker(shard)
        finally:
            PartWriter.add = add


@dataclass(frozen=True, kw_only=True)
class DyingPreparer(Preparer):
    """A `Preparer` whose process ends at the first image, the first time or always; it leaves a marker."""

    marker: Path
    always: bool = False

    def __call__(self, source):
        if self.always or not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        return Preparer.__call__(self, source)


@dataclass(frozen=True)
class DyingDecoders:
    """Decoders of which one dies."""

    decoders: RayDecoders
    marker: Path
    always: bool = False

    def __call__(self, wanted, preparer):
        values = {one.name: getattr(preparer, one.name) for one in fields(preparer)}
        yield from self.decoders(wanted, DyingPreparer(**values, marker=self.marker, always=self.always))


def array_task(config, marker: Path, image: int) -> None:
    """What a task of an array runs, killed at the n-th image of a shard."""
    from wsl.inference.opening import OpenedModel
    from wsl.inference.shards import Job, ShardWorker, create_engine

    opened = OpenedModel.open(config)
    job = Job.begin(config, opened)
    shards = range(job.manifest.shards)
    for _ in create_engine(config).run(DiesAtAnImage(ShardWorker(job, opened), marker, image), shards):
        pass
