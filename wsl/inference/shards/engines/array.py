"""One of many independent tasks that know only their number, as in a Slurm array."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsl.config import LocalizeConfig, RuntimeConfig
from wsl.errors import UserError
from wsl.inference.shards.receipt import Receipt


@dataclass(frozen=True)
class ArrayEngine:
    """Runs, in this process, the shards whose number modulo `count` is `index`.

    The share does not depend on which shards are done, so tasks may start at any time.

    >>> engine = ArrayEngine(index=1, count=3)
    >>> [receipt.shard for receipt in engine.run(lambda shard: Receipt(shard, 1, 1, 0, 1.0), range(8))]
    [1, 4, 7]
    """

    index: int
    count: int

    @classmethod
    def from_config(cls, config: LocalizeConfig) -> ArrayEngine:
        """The share given by ``--shard`` or Slurm's variables.

        Raises:
            UserError: neither is given.
        """
        return cls(*(config.sharding.share or slurm_share(os.environ)))

    def machine(self, runtime: RuntimeConfig) -> None:
        """This one."""

    def supply(self) -> None:
        """Threads of the workers."""

    def share(self, shards: Sequence[int]) -> Sequence[int]:
        """This task's share."""
        return [shard for shard in shards if shard % self.count == self.index]

    def run(self, process_shard: Callable[[int], Receipt], shards: Sequence[int]) -> Iterator[Receipt]:
        """The receipts of this task's share of the shards, in order."""
        yield from map(process_shard, self.share(shards))


def slurm_share(variables: Mapping[str, str]) -> tuple[int, int]:
    """The index of a Slurm array task's share, counted from 0, and the number of shares, for any range of task numbers.

    Raises:
        UserError: this is not a task of a Slurm array, or the array has gaps.

    >>> slurm_share({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"})
    (2, 8)
    """
    try:
        number, count = (int(variables[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "COUNT"))
        first, step = (int(variables.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in _DEFAULTS)
    except (KeyError, ValueError) as error:
        raise UserError(
            "--engine array does one share of the shards, and nothing says which: expected --shard I/N, or a task of a "
            f"Slurm array ({error} is not set)"
        ) from error
    index, rest = divmod(number - first, step)
    if rest or not 0 <= index < count:
        raise UserError(
            f"task {number} of a Slurm array of {count} tasks from {first} on: an array with gaps does not say which "
            "share this is, expected --array=1-N, or --shard I/N"
        )
    return index, count


_DEFAULTS = (("MIN", "0"), ("STEP", "1"))
