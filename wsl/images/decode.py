"""Image files to RGB arrays: quick for ordinary photographs, right for everything else, clear about bad files.

OpenCV decodes ordinary JPEGs; Pillow reads every header and decodes what OpenCV would get wrong. Both release
the GIL while they decode.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from wsl.errors import BadImageError

UInt8Array = npt.NDArray[np.uint8]
T = TypeVar("T")

MAX_PIXELS = 200_000_000

# Pillow knows more, but some of the rest start other programs (EPS) or are not pictures.
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")

_END_OF_JPEG = b"\xff\xd9"
_ORIENTATION_TAG = 0x0112

# EXIF orientation -> what shows the picture upright; 1 (and any value that EXIF does not define) changes nothing.
_UPRIGHT: dict[int, Callable[[UInt8Array], cv2.typing.MatLike]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: lambda image: cv2.transpose(image),
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """The picture in a file, upright, as 8-bit RGB.

    The EXIF orientation is applied. 16-bit channels are scaled to 8 bits, palettes looked up, CMYK converted
    without its colour profile, and transparent pixels composited over white. Of several frames or pages the
    first is read. A file is complete or refused: JPEGs that end early are never filled with grey.

    Shape:
        (H, W, 3) uint8.

    Raises:
        BadImageError: no such file, not a picture, damaged or truncated, 32-bit integer or float samples
            (they have no range that is white), or more than ``max_pixels`` by its header.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "grey.png")
    ...     Image.new("L", (3, 2), color=7).save(file)
    ...     read_image(file).shape
    (2, 3, 3)
    """
    return decode_image(read_bytes(Path(path)), max_pixels, str(path))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The (width, height) of the picture in a file, upright, by its header alone.

    Raises:
        BadImageError: no such file, or not a picture.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "grey.png")
    ...     Image.new("L", (3, 2), color=7).save(file)
    ...     image_size(file)
    (3, 2)
    """

    def measure(data: bytes) -> tuple[int, int]:
        header = _open(data)
        width, height = header.size
        return (height, width) if 5 <= orientation_of(header) <= 8 else (width, height)

    return _decoding(path, read_bytes(Path(path)), measure)


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "image") -> UInt8Array:
    """The picture that the bytes of an image file hold, as `read_image` reads it; `name` opens the error messages.

    Shape:
        (H, W, 3) uint8.

    Raises:
        BadImageError: as for `read_image`.

    >>> decode_image(b"BM and nothing else", name="upload")
    Traceback (most recent call last):
    wsl.errors.BadImageError: upload: damaged or truncated image (...); fetch it again or leave it out
    """
    if not data:
        raise BadImageError(f"{name}: empty (0 bytes), expected an image")
    return _decoding(name, data, lambda data: _decode(data, max_pixels))


def _decoding(name: object, data: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(data)
    except BadImageError as error:
        raise BadImageError(f"{name}: {error}") from None
    except Exception as error:
        # On damaged files Pillow's readers raise a dozen kinds: SyntaxError, struct.error, IndexError, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImageError(f"{name}: damaged or truncated image ({reason}); fetch it again or leave it out") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular, non-empty file.

    Raises:
        BadImageError: there is no such file, or it cannot be read.
    """
    try:
        # Four calls into the system instead of nine: between any two, another thread may take the interpreter. A pipe
        # or a device, which could be read for ever, is opened without waiting, and refused.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise BadImageError(f"{path}: is {_kind(path)}, expected an image file")
            data = _read_whole(file, status.st_size)
        finally:
            os.close(file)
    except BadImageError:
        raise
    except FileNotFoundError:
        raise BadImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        if path.is_dir():  # which Windows does not open
            raise BadImageError(f"{path}: is a folder, expected an image file") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise BadImageError(f"{path}: cannot be read ({reason})") from error
    if not data:
        raise BadImageError(f"{path}: the file is empty (0 bytes), expected an image")
    return data


def _read_whole(file: int, size: int) -> bytes:
    """The bytes of an open file, of `size` bytes unless it grows."""
    data = os.read(file, size + 1)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(file, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "not a regular file"


def _decode(data: bytes, max_pixels: int) -> UInt8Array:
    header = _open(data)
    width, height = header.size
    if width * height > max_pixels:
        raise BadImageError(
            f"{width} x {height} pixels by its header, expected at most {max_pixels:,} in all; shrink it first"
        )
    if header.format in ("JPEG", "MPO") and header.mode in ("L", "RGB") and data.endswith(_END_OF_JPEG):
        # OpenCV fills what a truncated JPEG lacks with grey. One that does not end with the end marker
        # (truncated, or followed by a camera's own data) goes to Pillow, which can tell.
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None and pixels.shape == (height, width, 3):
            return upright(np.asarray(pixels, np.uint8), orientation_of(header))
    header.load()
    return upright(to_rgb8(header), orientation_of(header))


def _open(data: bytes) -> ImageFile.ImageFile:
    """`PIL.Image.open` for our formats and without its limit on pixels, a global that is not ours to set."""
    file = io.BytesIO(data)
    for prepare in (Image.preinit, Image.init):  # the common formats load quickly, the others when needed
        prepare()
        for name in _FORMATS:
            factory, accepts = Image.OPEN.get(name, (None, None))
            if factory is not None and (accepts is None or accepts(data[:16]) is True):
                file.seek(0)
                return factory(file, "")
    start = data[:20].decode("ascii", "replace").replace("\ufffd", "?").strip()
    raise BadImageError(f"not a picture in a known format: it starts with {start!r}, expected {', '.join(_FORMATS)}")


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata of any kind leaves a good picture good
        return 1


def upright(image: UInt8Array, orientation: int) -> UInt8Array:
    """The picture turned and mirrored as its EXIF orientation says."""
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else np.asarray(turn(image), np.uint8)


def to_rgb8(image: Image.Image) -> UInt8Array:
    """A Pillow image of any mode as 8-bit RGB.

    Raises:
        BadImageError: 32-bit integer or float samples.
    """
    # Pillow scales 16-bit colour by itself, clips 16-bit grey, and stores 16-bit PGM in 32 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "integer" if image.mode == "I" else "float"
        raise BadImageError(f"32-bit {kind} samples have no range that is white; convert it to 8 or 16 bits first")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return np.array(image.convert("RGB"))
