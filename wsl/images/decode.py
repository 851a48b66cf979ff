"""Image files to arrays: quick for ordinary photographs, right for everything else, clear about bad files.

This is the one door for picture files, photographs and masks alike: a few formats, and a limit that the header must
keep before anything is decoded. OpenCV decodes ordinary JPEGs; Pillow reads every header and decodes what OpenCV would
get wrong. Both release the GIL while they decode.
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
from PIL import Image, ImageFile, TiffImagePlugin

from wsl.errors import BadImageError
from wsl.images.archives import archived, read_member
from wsl.images.colours import UInt8Array, to_rgb8
from wsl.images.dicom import decode_dicom, dicom_size, is_dicom
from wsl.images.jpeg_end import holds_its_picture
from wsl.limits import check_size

T = TypeVar("T")

# Pillow knows more, but some of the rest start other programs (EPS) or are not pictures.
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")

_END_OF_JPEG = b"\xff\xd9"
_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 0x0100, 0x0101

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
_PNG_WITHOUT_PIXELS = bytes.fromhex("00000000 49444154 35af061e 00000000 49454e44 ae426082")  # empty IDAT, IEND

# The Pillow modes of one channel of at most 8 bits: palette indices, grey, black and white.
_NUMBERS = ("P", "L", "1")

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


def read_image(path: str | os.PathLike[str], max_pixels: int | None = None) -> UInt8Array:
    """The picture in a file, upright, as 8-bit RGB.

    The EXIF orientation is applied. 16-bit channels are scaled to 8 bits, palettes looked up, CMYK converted
    without its colour profile, and transparent pixels composited over white. Of several frames or pages the
    first is read. A file is complete or refused: JPEGs that end early are never filled with grey.

    Shape:
        (H, W, 3) uint8.

    Raises:
        BadImageError: no such file, not a picture, damaged or truncated, 32-bit integer or float samples
            (they have no range that is white), or more than ``max_pixels`` by its header; None takes the limit of
            `wsl.limits`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "grey.png")
    ...     Image.new("L", (3, 2), color=7).save(file)
    ...     read_image(file).shape
    (2, 3, 3)
    """
    return decode_image(read_bytes(Path(path)), max_pixels, str(path))


def image_size(path: str | os.PathLike[str], max_pixels: int | None = None) -> tuple[int, int]:
    """The (width, height) of the picture in a file, upright, by its header alone.

    Raises:
        BadImageError: no such file, not a picture, or more than ``max_pixels``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "grey.png")
    ...     Image.new("L", (3, 2), color=7).save(file)
    ...     image_size(file)
    (3, 2)
    """

    def measure(data: bytes) -> tuple[int, int]:
        if is_dicom(data):
            return dicom_size(data, max_pixels)
        header = open_header(texts_first(data), max_pixels)
        width, height = header.size
        turned = 5 <= orientation_of(header) <= 8 and not _is_turned(header)
        return (height, width) if turned else (width, height)

    return _decoding(path, read_bytes(Path(path)), measure)


def read_numbers(
    path: str | os.PathLike[str], size: tuple[int, int] | None = None, max_pixels: int | None = None
) -> UInt8Array:
    """The numbers in a picture of one 8-bit channel, as they are stored: a palette's indices, or grey values.

    ``size`` is the (width, height) that it must have.

    Shape:
        (H, W) uint8.

    Raises:
        BadImageError: as for `read_image`, several channels, deeper ones, or another size by its header.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mask.png")
    ...     Image.new("L", (3, 2), color=7).save(file)
    ...     read_numbers(file, (3, 2)).tolist()
    [[7, 7, 7], [7, 7, 7]]
    """

    def decode(data: bytes) -> UInt8Array:
        picture = open_header(data, max_pixels)
        if picture.mode not in _NUMBERS:
            raise BadImageError(f"colour mode {picture.mode}, expected numbers in one 8-bit channel")
        if size is not None and picture.size != tuple(size):
            raise BadImageError("{}x{} pixels, expected the image's {}x{}".format(*picture.size, *size))
        return np.array(picture, np.uint8)

    return _decoding(path, read_bytes(Path(path)), decode)


def decode_image(data: bytes, max_pixels: int | None = None, name: str = "image") -> UInt8Array:
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
    except (FileNotFoundError, NotADirectoryError):
        if (place := archived(path)) is None:
            raise BadImageError(f"{path}: no such file") from None
        data = read_member(*place)
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


def _decode(data: bytes, max_pixels: int | None) -> UInt8Array:
    if is_dicom(data):
        return decode_dicom(data, max_pixels)
    header = open_header(data, max_pixels)
    width, height = header.size
    if header.format in ("JPEG", "MPO") and header.mode in ("L", "RGB") and data.endswith(_END_OF_JPEG):
        # OpenCV fills what a truncated JPEG lacks with grey. One that does not end with the end marker
        # (truncated, or followed by a camera's own data) goes to Pillow, which can tell.
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None and pixels.shape == (height, width, 3):
            _check_whole(data, np.asarray(pixels, np.uint8))
            return upright(np.asarray(pixels, np.uint8), orientation_of(header))
    header.load()
    if header.format in ("JPEG", "MPO"):
        _check_whole(data, np.asarray(header))
    return upright(to_rgb8(header), orientation_of(header))


def _check_whole(data: bytes, pixels: UInt8Array) -> None:
    if not holds_its_picture(data, pixels):
        raise BadImageError("truncated image, whose missing part would be filled; fetch it again or leave it out")


def open_header(data: bytes, max_pixels: int | None) -> ImageFile.ImageFile:
    """A picture with its header read and no pixels, no larger than that."""
    header = _open(data)
    check_size(header.size, max_pixels)
    return header


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


def texts_first(data: bytes) -> bytes:
    """A PNG with the texts that may follow its pixels before them, and no pixels: to ask for the orientation."""
    if not data.startswith(_PNG):
        return data
    chunks, start, pixels = [_PNG], len(_PNG), False
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        kind = data[start + 4 : start + 8]
        pixels |= kind == b"IDAT"
        if kind == b"IEND" or (pixels and kind == b"fcTL"):  # the next frame
            break
        if not pixels or kind in _PNG_TEXTS:
            chunks.append(data[start:end])
        start = end
    return b"".join([*chunks, _PNG_WITHOUT_PIXELS])


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none.

    Nothing is decoded: a PNG may say it after its pixels, and gives it once it is loaded.
    """
    try:
        return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata of any kind leaves a good picture good
        return 1


def _is_turned(header: ImageFile.ImageFile) -> bool:
    """Whether a TIFF, which Pillow turns upright when it decodes it, gives its size as it will be then."""
    if not isinstance(header, TiffImagePlugin.TiffImageFile):
        return False
    width, height = header.tag_v2.get(_WIDTH_TAG), header.tag_v2.get(_HEIGHT_TAG)
    return header.size == (height, width) != (width, height)


def upright(image: UInt8Array, orientation: int) -> UInt8Array:
    """The picture turned and mirrored as its EXIF orientation says."""
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else np.asarray(turn(image), np.uint8)
