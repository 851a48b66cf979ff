"""What the header of an image file says of its picture, for whoever asks why a result looks wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wsl.errors import BadImageError
from wsl.images.decode import open_header, orientation_of, read_bytes, texts_first
from wsl.images.dicom import dicom_size, is_dicom


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """A file's format, the (width, height) of its header, Pillow's mode of its pixels, and its EXIF orientation.

    ``orientation`` is 1 where the file says nothing; 5 to 8 turn the picture by a right angle. ``frames`` are the
    pictures in the file, of which the first is read.
    """

    format: str
    size: tuple[int, int]
    mode: str
    orientation: int = 1
    frames: int = 1


def image_facts(path: str | os.PathLike[str], max_pixels: int | None = None) -> ImageFacts:
    """What is known of an image file before its pixels are decoded.

    Raises:
        BadImageError: no such file, not a picture, or more than ``max_pixels``.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (3, 2)).save(Path(folder, "grey.png"))
    ...     image_facts(Path(folder, "grey.png"))
    ImageFacts(format='PNG', size=(3, 2), mode='L', orientation=1, frames=1)
    """
    data = read_bytes(Path(path))
    try:
        if is_dicom(data):
            return ImageFacts(format="DICOM", size=dicom_size(data, max_pixels), mode="grey or colour")
        header = open_header(data, max_pixels)
        return ImageFacts(
            format=header.format or "",
            size=header.size,
            mode=header.mode,
            orientation=orientation_of(open_header(texts_first(data), max_pixels)),
            frames=getattr(header, "n_frames", 1),
        )
    except BadImageError as error:
        raise BadImageError(f"{path}: {error}") from None
    except Exception as error:  # of damaged files Pillow raises a dozen kinds
        raise BadImageError(f"{path}: damaged or truncated image ({error}); fetch it again or leave it out") from error
