"""The summary of a finished shard: all that an engine carries back from a worker."""

from __future__ import annotations

from typing import NamedTuple


class Receipt(NamedTuple):
    """Of one shard the images that were localized, their boxes, and the images that failed.

    ``seconds`` are those that it took, 0 for one that was there already.

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
        """The images that nobody needs to look at again, failed ones among them."""
        return self.images + self.failed
