"""Whether the data of a JPEG are those of its picture: decoders fill what is missing and skip what is too much."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import JpegImagePlugin

from wsl.images.jpeg import STANDALONE

_BASELINE, _EXTENDED, _PROGRESSIVE, _SCAN = 0xC0, 0xC1, 0xC2, 0xDA
_FRAMES = (_BASELINE, _EXTENDED, _PROGRESSIVE)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # what ends a scan: no byte of ones in it, no restart, no filling
_HOLE = bytes(64)
_SECTOR = bytes(512)  # the least that a disk or a download leaves out
_BLOCK = 8
_AHEAD = bytes(16)  # what the decoder wants to have in hand beyond what it needs


def holds_its_picture(data: bytes, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    """Whether a JPEG that was decoded to ``pixels``, as stored, had data for all of them and none too much.

    A download that stops early is often closed as if it were whole, or as long as the file should be and zero from
    there on. Both leave traces that are quickly seen: a last block of one colour, a run of zeros. A picture may have
    them, too. Then it is decoded without its end: it must do without the end marker, and not without the bytes before.

    No scan of a progressive file covers the picture alone, so that this cannot be tried there. But those of its scans
    that hold details write runs of empty blocks as one number, and no long run of zeros. A progressive file that stops
    behind a scan is a picture with fewer details, and is taken as one.

    >>> holds_its_picture(b"GIF89a", np.zeros((8, 8, 3), np.uint8))
    True
    """
    last = pixels[-_BLOCK:, -_BLOCK:]
    if not ((last == last[-1, -1]).all() or _HOLE in data):
        return True
    for scan in _scans(data):
        if scan.alone:
            end = max(scan.end - len(_HOLE), scan.start)
            return _decodes(data[: scan.end] + _AHEAD) and not _decodes(data[:end])
        if scan.details and data.find(_SECTOR, scan.start, scan.end) >= 0:
            return False
    return True


def _decodes(data: bytes) -> bool:
    """Whether Pillow can decode a picture from so much of its data; unlike others it never fills."""
    try:
        JpegImagePlugin.JpegImageFile(io.BytesIO(data)).load()
    except OSError:  # truncated
        return False
    return True


class _Scan(NamedTuple):
    """Where the data of a scan lie, whether it holds the picture alone, and whether it holds details and no means."""

    start: int
    end: int
    alone: bool
    details: bool


def _scans(data: bytes) -> Iterator[_Scan]:
    """The scans of a JPEG, as far as they can be followed."""
    place, frame, channels = 2, 0, 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        start = place + 2 + length
        if marker in _FRAMES and place + 10 <= len(data):
            frame, channels = marker, data[place + 9]
        if marker == _SCAN and length >= 6 and start <= len(data):
            following = _MARKER.search(data, start)
            place = len(data) if following is None else following.start()
            yield _Scan(
                start=start,
                end=place,
                alone=frame in (_BASELINE, _EXTENDED) and data[start - length + 2] == channels,
                details=frame == _PROGRESSIVE and data[start - 3] > 0,
            )
            continue
        place = start
