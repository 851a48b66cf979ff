"""The header of an ordinary JPEG, read without a library: whether a device can decode it, and its size."""

from __future__ import annotations

import struct
from typing import NamedTuple

_START, _END = b"\xff\xd8", b"\xff\xd9"
_BASELINE, _EXTENDED, _PROGRESSIVE, _SCAN, _EXIF, _ADOBE = 0xC0, 0xC1, 0xC2, 0xDA, 0xE1, 0xEE
STANDALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length after them."""


class JpegHeader(NamedTuple):
    """Width and height of a JPEG of three 8-bit channels that is stored upright."""

    width: int
    height: int


def ordinary_jpeg(data: bytes) -> JpegHeader | None:
    """The header of a JPEG that all decoders read the same way; None for anything else, including damaged files.

    Such a JPEG is complete (it ends with the end marker), has three channels of 8 bits, no Adobe colour transform
    (CMYK, RGB), and no EXIF data, which may turn the picture.

    >>> ordinary_jpeg(b"GIF89a") is None
    True
    """
    if not data.startswith(_START) or not data.endswith(_END):
        return None
    header, place = None, 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF or marker in STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return header
        (length,) = struct.unpack_from(">H", data, place + 2)
        if length < 2 or place + 2 + length > len(data):
            return None
        if marker == _EXIF or (marker == _ADOBE and data[place + 4 : place + 9] == b"Adobe"):
            return None
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            if header is not None or length != 17:  # 8 + 3 * 3 channels
                return None
            bits, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            if bits != 8 or channels != 3 or not (height and width):
                return None
            if data[place + 10 : place + 19 : 3] == b"RGB":  # names of the channels, which libjpeg respects
                return None
            header = JpegHeader(width, height)
        elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return None  # lossless and arithmetic coding
        place += 2 + length
    return None
