"""Checks for errors that prevent any result."""

from __future__ import annotations

from wsl.diagnosis.evidence import Evidence
from wsl.diagnosis.finding import Finding
from wsl.errors import BadImageError, DownloadError, OutOfMemoryError


def unreadable(evidence: Evidence) -> Finding | None:
    """An image that cannot be decoded."""
    if not isinstance(evidence.failure, BadImageError):
        return None
    return Finding("Unreadable image", f"{evidence.failure}.", "Open it in an image viewer, or export it again.")


def download_failed(evidence: Evidence) -> Finding | None:
    """Weights that could not be downloaded."""
    if not isinstance(evidence.failure, DownloadError):
        return None
    return Finding(
        "Download fails",
        f"{evidence.failure}.",
        "Name the file together with the model:",
        ("--local-weights", "FILE"),
    )


def out_of_memory(evidence: Evidence) -> Finding | None:
    """An image that does not fit into the memory of the device."""
    if evidence.failure is None or not short_of_memory(evidence.failure):
        return None
    side = evidence.seen.pixels.shape[0] if evidence.seen is not None else 0
    smaller = max(32, side // 2 // 32 * 32)
    return Finding(
        "Out of memory",
        f"one image of {side} pixels a side does not fit into the memory of {evidence.device}.",
        "Use a smaller input, --device cpu, or a CAM method with fewer passes.",
        ("--image-size", str(smaller)),
    )


def short_of_memory(error: Exception) -> bool:
    """Whether an error reports a lack of memory; torch's CPU allocator has no error type of its own.

    >>> short_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    True
    """
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("can't allocate memory", "not enough memory", "out of memory")
    )
