"""Conversion of images of any kind to 8-bit RGB: a path, the bytes of a file, an array, a Pillow image, a tensor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from wsl.errors import BadImageError
from wsl.images.colours import UInt8Array, to_rgb8
from wsl.images.decode import decode_image, orientation_of, read_image, upright
from wsl.limits import check_size

if TYPE_CHECKING:
    import torch

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"
    " | np.ndarray[Any, Any] | Image.Image | torch.Tensor"
)


def to_rgb(image: ImageLike, max_pixels: int | None = None, name: str = "image") -> UInt8Array:
    """An image as an upright (H, W, 3) uint8 RGB array; such an array is returned unchanged.

    `image` is a path, the bytes of an image file or an open binary file, an (H, W, 3) uint8 RGB array, a Pillow image,
    or a (3, H, W) RGB tensor: uint8, or floating with values in [0, 1]. Error messages start with `name`.

    Raises:
        BadImageError: the image has another type, shape or range, or cannot be read.

    >>> to_rgb(Image.new("L", (3, 2), color=7)).tolist()[0]
    [[7, 7, 7], [7, 7, 7], [7, 7, 7]]
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image), max_pixels)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image), max_pixels, name)
    if isinstance(image, np.ndarray):
        return _from_array(image, name)
    if isinstance(image, Image.Image):
        return _from_pillow(image, max_pixels, name)
    torch = sys.modules.get("torch")  # a caller with a tensor has imported it
    if torch is not None and isinstance(image, torch.Tensor):
        return _from_tensor(image, name)
    if hasattr(image, "read"):
        return decode_image(_read_open(image, name), max_pixels, name)
    raise BadImageError(
        f"{name}: an object of type {type(image).__name__}, expected a path, the bytes of an image file, an (H, W, 3) "
        "uint8 array, a Pillow image or a (3, H, W) tensor"
    )


def _from_array(image: np.ndarray[Any, Any], name: str) -> UInt8Array:
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    advice = ""
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        advice = ": for channels first give a tensor, or image.transpose(1, 2, 0)"
    elif image.ndim == 3 and image.shape[2] == 4:
        advice = ": drop the alpha channel with image[..., :3]"
    elif image.ndim == 3 and image.shape[2] == 1:
        advice = ": repeat a grey image with image.repeat(3, axis=2)"
    elif image.ndim == 4:
        advice = ": for several images give a list, list(images)"
    elif image.ndim == 2:
        advice = ": repeat a grey image with numpy.stack([image] * 3, axis=-1)"
    elif image.dtype.kind == "f":
        advice = ": scale values in [0, 1] by 255 and convert them with astype(numpy.uint8)"
    raise BadImageError(
        f"{name}: an array of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8, RGB and not empty"
        + advice
    )


def _from_pillow(image: Image.Image, max_pixels: int | None, name: str) -> UInt8Array:
    try:
        check_size(image.size, max_pixels)
        if image.format == "PNG":
            image.load()  # the orientation may follow the pixels
        orientation = orientation_of(image)  # before the conversion, which drops the metadata
        return upright(to_rgb8(image), orientation)
    except BadImageError as error:
        raise BadImageError(f"{name}: {error}") from None
    except Exception as error:  # a lazily opened file is read here, and may be damaged or closed
        raise BadImageError(f"{name}: the Pillow image cannot be read ({error})") from error


def _from_tensor(image: torch.Tensor, name: str) -> UInt8Array:
    import torch

    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        advice = ": for several images give a list, list(images)" if image.ndim == 4 else ""
        raise BadImageError(
            f"{name}: a tensor of shape {tuple(image.shape)}, expected (3, H, W), RGB and not empty{advice}"
        )
    values = image.detach()
    if values.dtype != torch.uint8:
        if not values.dtype.is_floating_point:
            raise BadImageError(f"{name}: a tensor of {values.dtype}, expected uint8, or floating values in [0, 1]")
        values = values.float()
        low, high = (float(edge) for edge in values.aminmax())
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise BadImageError(
                f"{name}: tensor values from {low:g} to {high:g}, expected floating values in [0, 1] before any "
                "normalisation, or uint8"
            )
        values = values.mul(255).round_().to(torch.uint8)
    return np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy())


def _read_open(file: Any, name: str) -> bytes:
    try:
        data = file.read()
    except UnicodeDecodeError:
        data = None
    except (OSError, ValueError) as error:  # a closed file is a ValueError
        raise BadImageError(f"{name}: the open file cannot be read ({error})") from error
    if not isinstance(data, bytes):
        raise BadImageError(f"{name}: a file opened as text, expected one opened with mode 'rb'")
    return data
