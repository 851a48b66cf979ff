"""Masks as COCO run lengths, and the segmentations in COCO's files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from wsl.errors import UserError

Mask = npt.NDArray[np.bool_]


def encode(mask: npt.ArrayLike) -> bytes:
    """The run lengths of a mask (H, W), in the compressed form of pycocotools.

    >>> encode([[True, True, False]])
    b'021'
    """
    return bytes(coco.encode(np.asfortranarray(np.asarray(mask, np.uint8)))["counts"])


def decode(counts: bytes, size: tuple[int, int]) -> Mask:
    """The mask (height, width) of compressed run lengths; ``size`` is (width, height).

    Raises:
        UserError: they are damaged, or belong to another size.

    >>> decode(encode([[True, True, False]]), (3, 1)).tolist()
    [[True, True, False]]
    """
    width, height = size
    # Not by pycocotools, which writes as many pixels as the runs claim.
    runs = _checked(_decompressed(counts), [height, width], size)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def to_annotation(counts: bytes, size: tuple[int, int]) -> dict[str, Any]:
    """Run lengths as part of a COCO annotation, with area and box; ``size`` is (width, height).

    >>> to_annotation(b"021", (3, 1))
    {'segmentation': {'size': [1, 3], 'counts': b'021'}, 'area': 2, 'bbox': [0.0, 0.0, 2.0, 1.0]}
    """
    segmentation = {"size": [size[1], size[0]], "counts": counts}
    return {
        "segmentation": segmentation,
        "area": int(coco.area(segmentation)),
        "bbox": coco.toBbox(segmentation).tolist(),
    }


def from_rectangle(xyxy: Sequence[float], size: tuple[int, int]) -> bytes:
    """The run lengths of the pixels that a half-open box touches.

    >>> decode(from_rectangle([0, 0, 1.5, 1], (3, 1)), (3, 1)).tolist()
    [[True, True, False]]
    """
    mask = np.zeros((size[1], size[0]), np.bool_)
    x0, y0, x1, y1 = xyxy
    mask[max(math.floor(y0), 0) : math.ceil(y1), max(math.floor(x0), 0) : math.ceil(x1)] = True
    return encode(mask)


def from_segmentation(segmentation: Any, size: tuple[int, int]) -> bytes | None:
    """The run lengths of the ``segmentation`` of an annotation in COCO's format; None if it is empty.

    It is a list of polygons, filled as by pycocotools, or run lengths, compressed or not. Polygons of one or two
    points, which annotation tools sometimes write, hold no pixels and are ignored.

    Raises:
        UserError: it is something else, lies far outside the image, or its runs do not fit the image's size.

    >>> decode(from_segmentation([[0, 0, 2, 0, 2, 2, 0, 2]], (4, 2)), (4, 2)).tolist()
    [[True, True, False, False], [True, True, False, False]]
    """
    if not segmentation:
        return None
    height, width = size[1], size[0]
    if isinstance(segmentation, Mapping):
        counts = segmentation.get("counts")
        runs = _decompressed(counts.encode("utf-8", "replace")) if isinstance(counts, str) else counts
        runs = _checked(runs, segmentation.get("size"), size)
        return bytes(coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)["counts"])
    if isinstance(segmentation, list):
        segmentation = [one for one in segmentation if not (isinstance(one, list) and len(one) in (2, 4))]
        if not segmentation:
            return None
    if not isinstance(segmentation, list) or not all(_is_polygon(polygon, size) for polygon in segmentation):
        raise UserError(
            f"the segmentation {str(segmentation)[:60]}…, expected polygons [x, y, x, y, x, y, …] about the image of "
            f"{width}x{height} pixels, or run lengths"
        )
    return bytes(coco.merge(coco.frPyObjects(segmentation, height, width))["counts"])


def _is_polygon(polygon: Any, size: tuple[int, int]) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in polygon):
        return False
    # Polygons are filled by walking along their edges, so a distant corner would take forever.
    return all(all(-side <= number <= 2 * side for number in polygon[axis::2]) for axis, side in enumerate(size))


def _checked(runs: Any, stated: Any, size: tuple[int, int]) -> list[int]:
    """The runs, after checking that they fill the image exactly, so that decoding stays within it."""
    width, height = size
    numbers = isinstance(runs, list) and all(type(number) is int and number >= 0 for number in runs)
    if stated != [height, width] or not numbers or sum(runs) != width * height:
        raise UserError(
            f"run lengths of size {str(stated)[:40]}, expected runs that fill [{height}, {width}], the image's height "
            "and width"
        )
    return list(runs)


def _decompressed(text: bytes) -> list[int] | None:
    """The numbers in compressed run lengths: five bits per character, as differences from the last but one.

    None if the characters are not such numbers.
    """
    numbers: list[int] = []
    number = shift = 0
    for code in text:
        bits = code - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        numbers.append(number + (numbers[-2] if len(numbers) > 2 else 0))
        number = shift = 0
    return None if shift else numbers
