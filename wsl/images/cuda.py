"""Ordinary JPEGs decoded and resized on a CUDA device."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

from wsl.images.geometry import Geometry
from wsl.images.tensors import Normalise


class Encoded(Protocol):
    """A JPEG and its geometry on the network's input."""

    @property
    def jpeg(self) -> bytes | None:
        """The bytes of the file."""

    @property
    def geometry(self) -> Geometry:
        """The geometry, with the size from the header."""


@functools.cache
def decodes_jpeg(device: torch.device) -> bool:
    """Whether torchvision decodes JPEGs on this device.

    >>> decodes_jpeg(torch.device("cpu"))
    False
    """
    if device.type != "cuda":
        return False
    # Builds without nvJPEG also have the function, but it raises an error.
    from torchvision.io import decode_jpeg, encode_jpeg

    try:
        decode_jpeg(encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8)), device=device)
    except RuntimeError:
        return False
    return True


class UndecodedError(RuntimeError):
    """The device refused a file of the batch: decode the batch on the CPU, which reads it or explains the error."""


class Planes(NamedTuple):
    """Decoded images, (3, H, W) uint8 RGB each, and the event after which they are available.

    They must stay in memory until the device has finished using them.
    """

    images: Sequence[torch.Tensor]
    ready: torch.cuda.Event | None = None


def decode_planes(images: Sequence[Encoded], device: torch.device) -> Planes:
    """JPEGs decoded on the device.

    Raises:
        UndecodedError: the device refuses a file.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    # torch.frombuffer requires writable memory.
    data = [torch.frombuffer(bytearray(one.jpeg or b""), dtype=torch.uint8) for one in images]
    # The decoder runs on its own stream, and does not wait for work queued on the stream on which its output is
    # allocated: it could overwrite memory that a queued kernel has yet to read. So the output also gets its own stream.
    decoding = _decoding_stream(device)
    try:
        with torch.cuda.stream(decoding):
            planes = decode_jpeg(data, mode=ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise UndecodedError(str(error)) from error
    if any(tuple(plane.shape[:0:-1]) != one.geometry.original for plane, one in zip(planes, images, strict=True)):
        raise UndecodedError("a size that is not the header's")
    return Planes(planes, decoding.record_event())


_own = threading.local()


def _decoding_stream(device: torch.device) -> torch.cuda.Stream:
    """The CUDA stream on which this thread decodes."""
    streams: dict[torch.device, torch.cuda.Stream] = _own.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]


def fit_planes(planes: Planes, side: int, normalise: Normalise) -> torch.Tensor:
    """Decoded images as normalised network input, (N, 3, side, side), resized as `wsl.images.fit` does (``warp``).

    If Triton is installed, a Triton kernel does it in one launch.
    """
    if planes.ready is not None:
        torch.cuda.current_stream(normalise.device).wait_event(planes.ready)
    resize = _triton_resize()
    if resize is None:
        return normalise.planes(resize_planes(planes.images, side))
    return resize(planes.images, side, normalise.mean, normalise.std)


@functools.cache
def _triton_resize() -> Callable[..., torch.Tensor] | None:
    try:
        from wsl.images.triton_resize import resize_and_normalise
    except ImportError:  # builds for Windows come without Triton
        return None
    return resize_and_normalise


def resize_planes(planes: Sequence[torch.Tensor], side: int) -> torch.Tensor:
    """Resize images of different sizes to the same square: area averages along sides that shrink, else bilinear.

    The result is that of `wsl.images.fit` up to rounding (one level of 255).

    Shape:
        (3, H, W) uint8 each to (N, 3, side, side) float32, integers from 0 to 255.

    >>> resize_planes([torch.full((3, 8, 4), 7, dtype=torch.uint8)], 2).unique().tolist()
    [7.0]
    """
    device = planes[0].device
    heights, widths = ([p.shape[axis] for p in planes] for axis in (1, 2))
    canvas = torch.zeros((len(planes), 3, max(heights), max(widths)), dtype=torch.float32, device=device)
    for image, pixels in zip(canvas, planes, strict=True):
        image[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    rows, columns = (_weights(sizes, side, device) for sizes in (heights, widths))
    smaller = canvas.flatten(0, 1).view(len(planes), 3 * max(heights), max(widths)) @ columns.mT
    resized = rows[:, None] @ smaller.view(len(planes), 3, max(heights), side)
    return resized.round_().clamp_(0, 255)


def _weights(sizes: Sequence[int], side: int, device: torch.device) -> torch.Tensor:
    """The weight of each pixel of a row in each pixel of the resized row, (N, side, longest)."""
    table = torch.tensor(sizes, dtype=torch.float64)
    if device.type == "cuda":
        table = table.pin_memory()
    size = table.to(device, non_blocking=True)[:, None, None]
    pixel = torch.arange(max(sizes), dtype=torch.float64, device=device)
    place = torch.arange(side, dtype=torch.float64, device=device)[:, None]
    ratio = size / side
    covered = (torch.minimum(pixel + 1, (place + 1) * ratio) - torch.maximum(pixel, place * ratio)).clamp_(min=0)
    centre = torch.minimum(((place + 0.5) * ratio - 0.5).clamp_(min=0), size - 1)
    between = (1 - (centre - pixel).abs_()).clamp_(min=0)
    return torch.where(ratio >= 1, covered / ratio, between).float()
