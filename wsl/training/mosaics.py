"""Mosaics of four photographs: smaller objects, and several classes in one input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from wsl.files import replacing
from wsl.images import read_image
from wsl.images.transforms import resize
from wsl.samples import Sample, SampleSet
from wsl.training.detector_targets import FloatArray, Part

# The range of the point where the four meet, as fractions of a side.
_FIRST, _LAST = 0.35, 0.65
_QUALITY = [int(cv2.IMWRITE_JPEG_QUALITY), 95]


def plan_mosaics(
    labels: FloatArray,
    known: FloatArray,
    usable: npt.NDArray[np.bool_],
    count: int,
    side: int,
    seed: int,
    *,
    flip: bool = True,
) -> list[tuple[Part, ...]]:
    """Choose and place the photographs of `count` mosaics of `side` pixels; empty if no photograph is suitable.

    Suitable photographs show exactly one class and have no unknown labels: their boxes are the most reliable, and all
    other classes are absent. A class is drawn in proportion to the square root of its number of photographs, so that
    rare classes are oversampled. With `flip`, each is mirrored with probability 1/2.

    Shape:
        ``labels`` and ``known`` (images, K), ``usable`` (images,).

    >>> parts = plan_mosaics(np.eye(3, dtype=np.float32), np.ones((3, 3), np.float32), np.ones(3, bool), 1, 100, 0)[0]
    >>> len(parts), parts[0].corners[:2], parts[3].corners[2:]
    (4, (0.0, 0.0), (100.0, 100.0))
    """
    single = np.flatnonzero(usable & (labels.sum(1) == 1) & (known == 1).all(1))
    if not len(single):
        return []
    classes = labels[single].argmax(1)
    chances = 1 / np.sqrt(np.bincount(classes)[classes])
    rng = np.random.default_rng((seed, 0))
    plans = []
    for _ in range(count):
        x, y = (float(v) for v in rng.integers(round(_FIRST * side), round(_LAST * side), 2, endpoint=True))
        cells = ((0.0, 0.0, x, y), (x, 0.0, float(side), y), (0.0, y, x, float(side)), (x, y, float(side), float(side)))
        chosen = rng.choice(single, 4, p=chances / chances.sum())
        mirrored = rng.integers(1 + flip, size=4)
        plans.append(tuple(Part(int(i), bool(m), c) for i, m, c in zip(chosen, mirrored, cells, strict=True)))
    return plans


def draw_mosaics(plans: Sequence[tuple[Part, ...]], samples: SampleSet, side: int, folder: Path) -> SampleSet:
    """Draw the mosaics as image files in a folder, so that their features are computed like those of other images.

    Existing files are assumed to be the same mosaics and are not drawn again.

    Raises:
        BadImageError: a photograph can no longer be read.
    """
    drawn = []
    for number, parts in enumerate(plans):
        path = folder / f"{number:06d}.jpg"
        if not path.is_file():
            _write(path, _mosaic(parts, samples.samples, side))
        drawn.append(Sample(path=path))
    return SampleSet(classes=samples.classes, samples=tuple(drawn))


def _mosaic(parts: Sequence[Part], samples: Sequence[Sample], side: int) -> npt.NDArray[np.uint8]:
    canvas = np.zeros((side, side, 3), np.uint8)
    for part in parts:
        left, top, right, bottom = (round(edge) for edge in part.corners)
        photo = resize(read_image(samples[part.image].path), right - left, bottom - top)
        canvas[top:bottom, left:right] = photo[:, ::-1] if part.mirrored else photo
    return canvas


def _write(path: Path, image: npt.NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]), _QUALITY)[1]
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(encoded.tobytes())
