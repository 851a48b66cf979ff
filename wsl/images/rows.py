"""Where the images of a large run lie, one row an image."""

from __future__ import annotations

from typing import NamedTuple


class ImageRow(NamedTuple):
    """One image: its path or address, how results name it, and its labels where they are known.

    ``file`` is what holds the image where that is not ``path`` itself: a tar, of which the image are ``size`` bytes
    from ``offset`` on.

    >>> ImageRow("shard.tar/a.jpg", "a", file="shard.tar", offset=512, size=9000).labels is None
    True
    """

    path: str
    id: str
    labels: tuple[str, ...] | None = None
    file: str | None = None
    offset: int | None = None
    size: int | None = None
