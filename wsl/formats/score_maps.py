"""Score maps of other systems: a folder with a ``.npy`` an image, as the WSOL benchmark stores them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from wsl.boxes import Boxes, FloatArray
from wsl.errors import UserError
from wsl.results import Localization
from wsl.samples import Sample, SampleIndex, SampleSet

LARGEST_SIDE = 8192
_ROUNDING = 1e-6


def read_score_maps(
    folder: Path, samples: SampleSet, warnings: Counter[str], *, side: int | None = None
) -> Iterator[tuple[Localization, Sample]]:
    """Stream the score map of each sample that has one, as the map of the sample's one class.

    The file is ``<folder>/<id>.npy``, with the image's suffix in the id (``val/0.jpeg.npy``) or without
    (``val/0.npy``): floats in [0, 1], (h, w), covering the image. One is open at a time, never unpickled. Files are
    looked up in the folder's listing, so that an id that climbs out of it finds nothing.

    What is tolerated is counted in ``warnings``: maps with a NaN or an infinity (a miss wherever maps are measured),
    maps that are not ``side`` x ``side`` where that is given (they are resampled), samples of no or several classes
    (a map does not say of which it is; left out), files that belong to no sample (left out).

    Raises:
        UserError: no file belongs to a sample; two belong to one, or one to two; a file is not a .npy array of
            floats, has other than two axes, or values outside [0, 1]; a sample's size is unknown.

    >>> import tempfile
    >>> dog = Sample(path="val/0.jpeg", id="val/0.jpeg", labels=["dog"], size=(8, 8))
    >>> samples = SampleSet(classes=["dog"], samples=[dog])
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "val").mkdir()
    ...     np.save(Path(root, "val", "0.npy"), np.eye(2))
    ...     [(found, sample)] = read_score_maps(Path(root), samples, Counter())
    >>> found.maps["dog"].tolist(), sample.id
    ([[1.0, 0.0], [0.0, 1.0]], 'val/0.jpeg')
    """
    names = _listing(folder)
    files = _match(names, samples, folder)
    extra = len(names) - len(files)
    if extra:
        warnings["score maps of no image of the split: left out"] = extra
    for sample in samples.samples:
        if sample.path not in files:
            continue
        if len(sample.labels) != 1:
            warnings["images of no or several classes, whose map says not which: left out"] += 1
            continue
        if sample.size is None:
            raise UserError(f"{sample.path}: its size is unknown; expected image_sizes.txt or a size in the annotation")
        score_map = _load(folder / files[sample.path])
        if not np.isfinite(score_map).all():
            warnings["score maps with a NaN or an infinity: misses"] += 1
        if side is not None and score_map.shape != (side, side):
            warnings[f"score maps of another size than {side}x{side}: resampled"] += 1
        found = Localization(
            path=sample.path, size=sample.size, scores={}, boxes=Boxes.empty(), maps={sample.labels[0]: score_map}
        )
        yield found, sample


def holds_score_maps(folder: Path) -> bool:
    """Whether some ``.npy`` lies in the folder or below.

    >>> holds_score_maps(Path("no such folder"))
    False
    """
    return any(name.endswith(".npy") for _, _, names in os.walk(folder) for name in names)


def _listing(folder: Path) -> set[str]:
    """The ``.npy`` files in a folder and below, relative to it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one with a score map <image id>.npy an image")
    places = (
        (PurePosixPath(Path(parent).relative_to(folder).as_posix()), names) for parent, _, names in os.walk(folder)
    )
    return {str(place / name) for place, names in places for name in names if name.endswith(".npy")}


def _match(names: set[str], samples: SampleSet, folder: Path) -> dict[Path, str]:
    """The file of each sample that has one, by the sample's path."""
    index = SampleIndex(samples)
    files: dict[Path, str] = {}
    for name in sorted(names):
        sample = index.match(name.removesuffix(".npy"))
        if sample is None:
            continue
        if sample.path in files:
            raise UserError(
                f"{folder}: {files[sample.path]} and {name} are both the map of {sample.id!r}; expected one of them"
            )
        files[sample.path] = name
    if not files:
        example = f"{samples.samples[0].id}.npy" if len(samples) else "<image id>.npy"
        raise UserError(
            f"{folder}: none of its {len(names)} score maps is of an image of the split; expected {example}"
        )
    return files


def _load(path: Path) -> FloatArray:
    try:
        # Mapped first: the shape is checked against the file before any memory is asked for.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise UserError(f"{path}: not a .npy array ({error}); expected floats in [0, 1], (h, w)") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        kind = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "several arrays"
        raise UserError(f"{path}: holds {kind}; expected floats in [0, 1], (h, w)")
    if not values.size or max(values.shape) > LARGEST_SIDE:
        raise UserError(f"{path}: holds a map of shape {values.shape}; expected 1 to {LARGEST_SIDE} cells a side")
    score_map = np.array(values)
    finite = score_map[np.isfinite(score_map)]
    if finite.size and not (finite.min() >= -_ROUNDING and finite.max() <= 1 + _ROUNDING):
        raise UserError(
            f"{path}: values from {finite.min():g} to {finite.max():g}; expected [0, 1]: store (m - min) / (max - min)"
        )
    return np.asarray(np.clip(score_map, 0, 1), score_map.dtype)
