"""Locations of the images of a large run, one row per image."""

from __future__ import annotations

from typing import NamedTuple


class ImageRow(NamedTuple):
    """One image: its path or address, its id in results, and its labels if known.

    ``file`` is the file that contains the image if that is not ``path`` itself: a tar, in which the image is ``size``
    bytes from ``offset``.

    >>> ImageRow("shard.tar/a.jpg", "a", file="shard.tar", offset=512, size=9000).labels is None
    True
    """

    path: str
    id: str
    labels: tuple[str, ...] | None = None
    file: str | None = None
    offset: int | None = None
    size: int | None = None
