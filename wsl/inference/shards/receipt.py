"""The summary of a finished shard, which is all that an engine returns from a worker."""

from __future__ import annotations

from typing import NamedTuple


class Receipt(NamedTuple):
    """The numbers of localized images, boxes and failed images of one shard.

    ``seconds`` is the time it took, 0 for a shard that was already done.

    >>> Receipt(shard=7, images=2048, boxes=3000, failed=0, seconds=11.5).done
    2048
    """

    shard: int
    images: int
    boxes: int
    failed: int
    seconds: float

    @property
    def done(self) -> int:
        """The number of processed images, including failed ones."""
        return self.images + self.failed
