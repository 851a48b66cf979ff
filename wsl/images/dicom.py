"""X-rays and other pictures in DICOM files, as shown by a viewer; needs the extra ``dicom``."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.documents.guard import describe
from wsl.errors import BadImageError
from wsl.limits import check_size

_PREAMBLE, _MAGIC = 128, b"DICM"


def is_dicom(data: bytes) -> bool:
    """Whether these are the bytes of a DICOM file.

    >>> is_dicom(bytes(128) + b"DICM")
    True
    """
    return data[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def dicom_size(data: bytes, max_pixels: int | None) -> tuple[int, int]:
    """The (width, height) of the picture, from its header alone.

    Raises:
        BadImageError: there is no picture, more than one, or one of more than ``max_pixels``; pydicom is not installed.
    """
    return _size(_read(data, pixels=False), max_pixels)


def decode_dicom(data: bytes, max_pixels: int | None) -> npt.NDArray[np.uint8]:
    """The picture of a DICOM file as 8-bit RGB.

    Grey values are rescaled as the file says and mapped through its first window, or from their minimum to their
    maximum if it has none; MONOCHROME1, in which small values are white, is inverted. A file of several frames is
    refused, because it does not say which of them to use.

    Shape:
        (H, W, 3).

    Raises:
        BadImageError: there is no picture, more than one, or one of more than ``max_pixels``; there is no decoder for
            its compression; pydicom is not installed.
    """
    dataset = _read(data, pixels=True)
    _size(dataset, max_pixels)
    from pydicom.pixels.processing import apply_rescale, apply_voi_lut, convert_color_space

    try:
        stored = dataset.pixel_array
    except RuntimeError as error:  # raised by pydicom if no decoder is installed
        raise BadImageError(f"its compression cannot be decoded here ({describe(error)}); convert it first") from error
    interpretation = str(dataset.PhotometricInterpretation)
    if stored.ndim == 3:
        if interpretation not in ("RGB", "PALETTE COLOR"):
            stored = convert_color_space(stored, interpretation, "RGB")
        return _eight_bits(stored.astype(np.float64), 0.0, float(2**dataset.BitsStored - 1))
    values = apply_rescale(stored, dataset).astype(np.float64)
    shown = np.asarray(apply_voi_lut(values, dataset, index=0), np.float64)
    low, high = float(shown.min()), float(shown.max())
    if interpretation == "MONOCHROME1":
        shown, low, high = -shown, -high, -low
    return np.repeat(_eight_bits(shown, low, high)[:, :, None], 3, axis=2)


def _read(data: bytes, *, pixels: bool) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise BadImageError(
            "a DICOM file: reading it needs pydicom, which is not installed: pip install 'wsl-toolkit[dicom]'"
        ) from error
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not pixels)


def _size(dataset: Any, max_pixels: int | None) -> tuple[int, int]:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise BadImageError("a DICOM file without a picture (no Rows and Columns)")
    if frames != 1:
        raise BadImageError(f"a DICOM file of {frames} frames, expected one picture: export the frames first")
    size = int(dataset.Columns), int(dataset.Rows)
    check_size(size, max_pixels)
    return size


def _eight_bits(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    if not np.isfinite([low, high]).all():
        raise BadImageError("a value of the picture is not finite")
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((values - low) * scale).clip(0, 255).astype(np.uint8)
