"""The images of each step of each epoch, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

IntArray = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


class Shard(NamedTuple):
    """The rank of this process, and the number of processes of the training."""

    rank: int = 0
    processes: int = 1


class Share(NamedTuple):
    """One process's images of a step; those that are not ``counted`` only fill the batch."""

    rows: IntArray
    counted: npt.NDArray[np.bool_]


class Order:
    """The order of images, determined by the seed and the epoch.

    A step has ``batch_size`` images, divided equally among the processes. The last step of an epoch may have fewer: its
    batch is filled up with images from the beginning of the epoch, which do not count. Thus every image counts once in
    an epoch, and all batches have the same shape. With ``chances``, one probability for each image, an epoch draws the
    same number of images with replacement instead.

    Raises:
        UserError: the batch cannot be divided evenly, or there are fewer images than processes.

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
                f"--batch-size {batch_size} for {shard.processes} processes: expected a multiple, such as {near}, "
                "because it counts the images of all processes"
            )
        if count < shard.processes:
            raise UserError(f"{count} training images for {shard.processes} processes: expected at least one for each")
        self.count, self.seed, self.shard, self.chances = count, seed, shard, chances
        self.batch_size = min(batch_size, -(-count // shard.processes) * shard.processes)
        self.steps = -(-count // self.batch_size)

    @property
    def share_size(self) -> int:
        """The number of images of each process in a step."""
        return self.batch_size // self.shard.processes

    def shares(self, epoch: int, start: int = 0) -> Iterator[Share]:
        """This process's share of each step of an epoch, after the first `start` steps."""
        order = self._permutation(epoch)
        filled = np.resize(order, self.steps * self.batch_size)  # repeated from the beginning
        for step in range(start, self.steps):
            first = step * self.batch_size + self.shard.rank * self.share_size
            places = np.arange(first, first + self.share_size)
            yield Share(filled[places], places < self.count)

    def _permutation(self, epoch: int) -> IntArray:
        generator = np.random.default_rng((self.seed, epoch))
        if self.chances is None:
            return generator.permutation(self.count)
        return generator.choice(self.count, self.count, p=self.chances)
