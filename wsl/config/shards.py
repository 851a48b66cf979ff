"""Settings for localizing in shards, by several processes or machines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from wsl.config.checks import check, check_types

Engine = Literal["local", "array", "ray"]
_SHARE = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How images are divided into shards, and which processes work on them."""

    engine: Engine | None = None
    """Localize in shards, each written to --out as a file part-….parquet when it is done, so that any number of
    processes can work on them and be killed and restarted: local (this machine, all its GPUs), array (one task of a
    Slurm array, or of --shard), ray (a Ray cluster). None is one process that writes localizations.jsonl."""
    shard_size: int = 2048
    """Images per shard, fixed when the images are listed."""
    shard: str | None = None
    """I/N: with --engine array, do the I-th of N equal shares of the shards, from 1/N to N/N; by default taken from the
    variables SLURM_ARRAY_TASK_…."""
    manifest_only: bool = False
    """Only list the images, in manifest.parquet in --out, before the tasks of an array start, so that each task need
    not list them itself."""
    processes: int | None = None
    """Processes of --engine local, or actors of ray; None is one per GPU, or on the CPU one (local) or one per core
    (ray)."""
    decoders: int | None = None
    """With --engine ray: CPU tasks that read and resize images for each actor, on any machine of the cluster; by
    default each actor reads its own."""
    retry_failed: bool = False
    """With --engine local or ray: recompute shards with failed images, and compute missing ones. A part is kept until
    the new one replaces it, and also if more images fail than before."""
    image_seconds: float = 60.0
    """Skip an image that cannot be fetched within this many seconds."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.shard_size >= 1, f"shard size is {self.shard_size}, expected 1 image or more")
        check(self.processes is None or self.processes >= 1, f"processes are {self.processes}, expected 1 or more")
        check(self.decoders is None or self.decoders >= 1, f"decoders are {self.decoders}, expected 1 or more")
        check(self.image_seconds > 0, f"image seconds are {self.image_seconds}, expected more than 0")
        check(
            self.engine is not None or not (self.shard or self.manifest_only or self.processes or self.retry_failed),
            "--shard, --manifest-only, --processes and --retry-failed belong to a run in shards: expected --engine too",
        )
        check(
            not self.retry_failed or (self.engine != "array" and not self.manifest_only),
            "--retry-failed is for one run that knows when all is done: expected --engine local or ray, and no "
            "--manifest-only",
        )
        check(
            self.shard is None or self.engine == "array",
            f"--shard {self.shard} says which share of the shards a task does: expected --engine array",
        )
        check(
            self.processes is None or self.engine != "array",
            "--processes with --engine array: expected more tasks instead, each of which is one process",
        )
        check(
            self.decoders is None or self.engine == "ray",
            f"--decoders {self.decoders} starts tasks on a Ray cluster: expected --engine ray",
        )
        if self.shard is not None:
            self.share  # noqa: B018 - which checks it

    @property
    def share(self) -> tuple[int, int] | None:
        """The index of the share, counted from 0, and the number of shares; None if ``shard`` is None.

        Raises:
            UserError: ``shard`` is not I/N with 1 <= I <= N.

        >>> ShardConfig(engine="array", shard="2/8").share
        (1, 8)
        """
        if self.shard is None:
            return None
        match = _SHARE.fullmatch(self.shard)
        index, count = (int(match[1]) - 1, int(match[2])) if match else (-1, 0)
        check(0 <= index < count, f"shard is {self.shard!r}, expected I/N from 1/N to N/N, such as 3/8")
        return index, count
