"""Which images each step of each epoch is of, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

IntArray = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


class Shard(NamedTuple):
    """Which of the processes of a training this one is."""

    rank: int = 0
    processes: int = 1


class Share(NamedTuple):
    """The images of one step that are a process's; those that are not ``counted`` only fill the batch."""

    rows: IntArray
    counted: npt.NDArray[np.bool_]


class Order:
    """The order of images, which follows from the seed and the epoch.

    A step is of ``batch_size`` images of all processes together, of which each has as many. The last step of an epoch
    may have fewer: its batch is filled with images of the epoch's beginning, which do not count. So every image counts
    once an epoch, and the batches have one shape. With ``chances`` (as many as images), an epoch instead draws as
    many images with those probabilities, with replacement.

    Raises:
        UserError: the batch cannot be shared evenly, or there are fewer images than processes.

    >>> order = Order(5, batch_size=4, seed=0)
    >>> [(len(share.rows), int(share.counted.sum())) for share in order.shares(1)]
    [(4, 4), (4, 1)]
    >>> halves = [Order(5, 4, 0, Shard(rank, 2)) for rank in (0, 1)]
    >>> whole, parts = next(order.shares(1)).rows, [next(half.shares(1)).rows for half in halves]
    >>> np.concatenate(parts).tolist() == whole.tolist()
    True
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, shard: Shard | None = None, chances: Doubles | None = None
    ) -> None:
        shard = shard or Shard()
        if batch_size % shard.processes:
            below = batch_size // shard.processes * shard.processes
            near = f"{below} or {below + shard.processes}" if below else f"{shard.processes}"
            raise UserError(
                f"--batch-size {batch_size} for {shard.processes} processes: expected a multiple, such as {near}: it "
                "is the images of a step of all of them"
            )
        if count < shard.processes:
            raise UserError(f"{count} training images for {shard.processes} processes: expected one each or more")
        self.count, self.seed, self.shard, self.chances = count, seed, shard, chances
        self.batch_size = min(batch_size, -(-count // shard.processes) * shard.processes)
        self.steps = -(-count // self.batch_size)

    @property
    def share_size(self) -> int:
        """Images a step of each process."""
        return self.batch_size // self.shard.processes

    def shares(self, epoch: int, start: int = 0) -> Iterator[Share]:
        """This process's part of each step of an epoch, after the first ``start`` steps."""
        order = self._permutation(epoch)
        filled = np.resize(order, self.steps * self.batch_size)  # repeats it from the beginning
        for step in range(start, self.steps):
            first = step * self.batch_size + self.shard.rank * self.share_size
            places = np.arange(first, first + self.share_size)
            yield Share(filled[places], places < self.count)

    def _permutation(self, epoch: int) -> IntArray:
        generator = np.random.default_rng((self.seed, epoch))
        if self.chances is None:
            return generator.permutation(self.count)
        return generator.choice(self.count, self.count, p=self.chances)
