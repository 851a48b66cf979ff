"""Ordinary JPEGs decoded and resized on a CUDA device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import torch

from wsl.images.geometry import Geometry


class Encoded(Protocol):
    """A JPEG and where it lies on the network's input."""

    @property
    def jpeg(self) -> bytes | None:
        """The bytes of the file."""

    @property
    def geometry(self) -> Geometry:
        """The size by the header."""


def decodes_jpeg(device: torch.device) -> bool:
    """Whether torchvision decodes JPEGs on this device.

    >>> decodes_jpeg(torch.device("cpu"))
    False
    """
    if device.type != "cuda":
        return False
    # A build without nvJPEG has the function, too, and raises in it.
    from torchvision.io import decode_jpeg, encode_jpeg

    try:
        decode_jpeg(encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8)), device=device)
    except RuntimeError:
        return False
    return True


class UndecodedError(RuntimeError):
    """The device refused a file of the batch: decode the batch on the host, which says what is wrong or reads it."""


def decode_and_fit(images: Sequence[Encoded], side: int, device: torch.device) -> torch.Tensor:
    """JPEGs as network input before normalisation, with the resizing of `wsl.images.fit` (``warp``).

    Shape:
        (N, 3, side, side) float32, whole numbers from 0 to 255.

    Raises:
        UndecodedError: the device refuses a file.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    # torch.frombuffer wants memory that may be written to.
    data = [torch.frombuffer(bytearray(one.jpeg or b""), dtype=torch.uint8) for one in images]
    # The decoder works on a queue of its own, and does not wait for what is still queued on the one that its output is
    # allocated on: memory that a queued kernel has yet to read could be decoded into. So the output has its own, too.
    current, decoding = torch.cuda.current_stream(device), _decoding_stream(device)
    try:
        with torch.cuda.stream(decoding):
            planes = decode_jpeg(data, mode=ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise UndecodedError(str(error)) from error
    current.wait_stream(decoding)
    for plane in planes:
        plane.record_stream(current)
    if any(tuple(plane.shape[:0:-1]) != one.geometry.original for plane, one in zip(planes, images, strict=True)):
        raise UndecodedError("a size that is not the header's")
    return resize_planes(planes, side)


_own = threading.local()


def _decoding_stream(device: torch.device) -> torch.cuda.Stream:
    """The queue that this thread decodes on."""
    streams: dict[torch.device, torch.cuda.Stream] = _own.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]


def resize_planes(planes: Sequence[torch.Tensor], side: int) -> torch.Tensor:
    """Images of different sizes on one square: averaged over areas along sides that shrink, else bilinear.

    The result is that of `wsl.images.fit` up to the rounding of its last digit (one level of 255).

    Shape:
        (3, H, W) uint8 each to (N, 3, side, side) float32, whole numbers from 0 to 255.

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
    """What each pixel of a row counts in each pixel of the resized row, (N, side, longest)."""
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
