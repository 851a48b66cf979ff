"""Whether the data of a JPEG are those of its picture: decoders fill what is missing and skip what is too much."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import JpegImagePlugin

from wsl.images.jpeg import STANDALONE

_BASELINE, _EXTENDED, _SCAN = 0xC0, 0xC1, 0xDA
_END = b"\xff\xd9"
_HOLE = bytes(64)
_BLOCK = 8
_AHEAD = bytes(16)  # what the decoder wants to have in hand beyond what it needs


def holds_its_picture(data: bytes, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    """Whether a JPEG that was decoded to ``pixels``, as stored, had data for all of them and none too much.

    A download that stops early is often closed as if it were whole, or as long as the file should be and zero from
    there on. Both leave traces that are quickly seen: a last block of one colour, a run of zeros. A picture may have
    them, too. Then it is decoded without its end: it must do without the end marker, and not without the bytes before.
    Progressive files are taken as they are, since none of their scans covers the picture alone.

    >>> holds_its_picture(b"GIF89a", np.zeros((8, 8, 3), np.uint8))
    True
    """
    last = pixels[-_BLOCK:, -_BLOCK:]
    scan = _only_scan(data)
    if scan is None or not ((last == last[-1, -1]).all() or data.find(_HOLE, scan) >= 0):
        return True
    end = data.find(_END, scan)  # inside a scan, 0 follows each byte of ones
    end = len(data) if end < 0 else end
    return _decodes(data[:end] + _AHEAD) and not _decodes(data[: max(end - len(_HOLE), scan)])


def _decodes(data: bytes) -> bool:
    """Whether Pillow can decode a picture from so much of its data; unlike others it never fills."""
    try:
        JpegImagePlugin.JpegImageFile(io.BytesIO(data)).load()
    except OSError:  # truncated
        return False
    return True


def _only_scan(data: bytes) -> int | None:
    """Where the data begin of a picture that is stored in one sequential scan; None for any other file."""
    place, channels = 2, 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker in (_BASELINE, _EXTENDED) and place + 10 <= len(data):
            channels = data[place + 9]
        if marker == _SCAN:
            return place + 2 + length if place + 5 <= len(data) and data[place + 4] == channels else None
        place += 2 + length
    return None
