"""Class maps spread over what looks alike: from the part that tells a class apart to the whole thing."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.errors import UserError
from wsl.maps.scale import as_map, resize_map


def random_walk(
    maps: npt.ArrayLike, features: npt.ArrayLike, *, power: int = 4, steps: int = 3, cells: int = 24
) -> FloatArray:
    """Spread class maps over cells of like features: a random walk over an image's own affinities.

    The affinity of two cells is the cosine of their features, the image's mean subtracted from both, where it is
    positive, to a `power`. A cell's value becomes the mean of all cells' values, weighed by their affinities to it;
    that `steps` times over. A larger power keeps the walk to closer likenesses, more steps carry it further. Values
    stay within each map's own range, so boxes want a higher threshold than before (0.4 to 0.5 instead of 0.2).

    Shape:
        ``maps`` (..., h, w) and ``features`` (C, h', w') both cover exactly the image. The result is (..., n, m), the
        features' own grid, or one of its shape with ``cells`` on the longer side where it is finer.

    Raises:
        UserError: an array has another shape, or a setting is out of range.

    Source: Ahn & Kwak, Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
    Semantic Segmentation, CVPR 2018, "Revising CAMs Using AffinityNet", with the backbone's own features in place of
    the trained AffinityNet.

    >>> bright_and_dark = [[[1, 1, -1, -1], [1, 1, -1, -1]]]
    >>> random_walk([[0, 8, 0, 0], [0, 0, 0, 2]], bright_and_dark).tolist()
    [[2.0, 2.0, 0.5, 0.5], [2.0, 2.0, 0.5, 0.5]]
    """
    if power < 1 or steps < 0 or cells < 1:
        raise UserError(f"power {power}, steps {steps}, cells {cells}: expected at least 1, 0 and 1 of them")
    likeness = _to_grid(features, cells)
    shape = likeness.shape[1:]
    size = (shape[1], shape[0])
    stack = np.asarray(maps, np.float32)
    if stack.ndim < 2 or stack.size == 0:
        raise UserError(f"maps have shape {stack.shape}, expected (..., h, w) with at least one cell")
    values = np.array([resize_map(score_map, size).ravel() for score_map in stack.reshape(-1, *stack.shape[-2:])])
    walk = _transitions(likeness.reshape(len(likeness), -1), power).T
    for _ in range(steps):
        values = values @ walk
    return np.asarray(values.reshape(*stack.shape[:-2], *shape), np.float32)


def _to_grid(features: npt.ArrayLike, cells: int) -> FloatArray:
    """The features averaged over areas to at most so many cells a side."""
    values = np.asarray(features, np.float32)
    if values.ndim != 3 or values.size == 0:
        raise UserError(f"features have shape {values.shape}, expected (channels, h, w) of one image")
    height, width = values.shape[1:]
    shrink = cells / max(height, width)
    if shrink >= 1:
        return values
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.array([cv2.resize(as_map(channel), size, interpolation=cv2.INTER_AREA) for channel in values], np.float32)


def _transitions(features: FloatArray, power: int) -> FloatArray:
    """From features (C, n) to the probabilities (n, n) of going from one cell to another; each row sums to 1."""
    # What all of the image shares tells no part of it from another.
    directions = features - features.mean(axis=1, keepdims=True)
    # A difference from the mean that is mere rounding has no direction.
    rounding = max(1e-5 * float(np.abs(features).max()), float(np.finfo(np.float32).tiny))
    directions /= np.maximum(np.linalg.norm(directions, axis=0), rounding)
    affinity = np.maximum(directions.T @ directions, 0) ** power
    np.fill_diagonal(affinity, 1)
    return np.asarray(affinity / affinity.sum(axis=1, keepdims=True), np.float32)
