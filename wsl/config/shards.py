"""Settings of a localization in shards, by several processes or machines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from wsl.config.checks import check, check_types

Engine = Literal["local", "array", "ray"]
_SHARE = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How the images are divided, and who works on them."""

    engine: Engine | None = None
    """Localize in shards, each of which is a file part-….parquet in --out when it is done, so that any number of
    processes can work on them, be killed and be started again: local (this machine, all its GPUs), array (one task of
    a Slurm array, or of --shard), ray (a Ray cluster). None is one process that writes localizations.jsonl."""
    shard_size: int = 2048
    """Images of a shard, where the list of images is made."""
    shard: str | None = None
    """I/N: with --engine array do the I-th of N equal shares of the shards, from 1/N to N/N; by default what the
    variables SLURM_ARRAY_TASK_… say."""
    manifest_only: bool = False
    """Only list the images, in manifest.parquet of --out: before the tasks of an array are started, so that they need
    not list them each."""
    processes: int | None = None
    """Processes of --engine local, or actors of ray; None is one a GPU, and on the CPU one (local) or one a core
    (ray)."""
    retry_failed: bool = False
    """With --engine local or ray: compute the shards with failed images again, and those that are missing. A part stays
    until the new one replaces it, and is kept where more images fail than before."""
    image_seconds: float = 60.0
    """Give an image up that could not be fetched within this time."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.shard_size >= 1, f"shard size is {self.shard_size}, expected 1 image or more")
        check(self.processes is None or self.processes >= 1, f"processes are {self.processes}, expected 1 or more")
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
        if self.shard is not None:
            self.share  # noqa: B018 - which checks it

    @property
    def share(self) -> tuple[int, int] | None:
        """Which share of how many, counted from 0; None where `shard` says nothing.

        Raises:
            UserError: not I/N with 1 <= I <= N.

        >>> ShardConfig(engine="array", shard="2/8").share
        (1, 8)
        """
        if self.shard is None:
            return None
        match = _SHARE.fullmatch(self.shard)
        index, count = (int(match[1]) - 1, int(match[2])) if match else (-1, 0)
        check(0 <= index < count, f"shard is {self.shard!r}, expected I/N from 1/N to N/N, such as 3/8")
        return index, count
