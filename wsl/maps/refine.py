"""Class maps spread over what looks alike: from the part that tells a class apart to the whole thing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.errors import UserError
from wsl.maps.scale import as_map, resize_map


def random_walk(
    maps: npt.ArrayLike, features: Sequence[npt.ArrayLike], *, power: int = 2, steps: int = 3, cells: int = 24
) -> FloatArray:
    """Spread class maps over cells of like features: a random walk over an image's own affinities.

    The likeness of two cells is the cosine of their features, the image's mean subtracted from both, averaged over
    the `features` of several layers; where it is positive, it is their affinity to a `power`. A cell's value becomes
    the mean of all cells' values, weighed by their affinities to it; that `steps` times over. A larger power keeps
    the walk to closer likenesses, more steps carry it further. Values stay within each map's own range, so boxes
    want a higher threshold than before (0.5 instead of 0.2).

    Shape:
        ``maps`` (..., h, w) and each of ``features`` (C, h', w') cover exactly the image. The result is (..., n, m):
        the finest features' own grid, or one of its shape with ``cells`` on the longer side where it is finer.

    Raises:
        UserError: an array has another shape, or a setting is out of range.

    Source: Ahn & Kwak, Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
    Semantic Segmentation, CVPR 2018, "Revising CAMs Using AffinityNet", with the backbone's own features in place of
    the trained AffinityNet.

    >>> bright_and_dark = [[[1, 1, -1, -1], [1, 1, -1, -1]]]
    >>> random_walk([[0, 8, 0, 0], [0, 0, 0, 2]], [bright_and_dark]).tolist()
    [[2.0, 2.0, 0.5, 0.5], [2.0, 2.0, 0.5, 0.5]]
    """
    if power < 1 or steps < 0 or cells < 1:
        raise UserError(f"power {power}, steps {steps}, cells {cells}: expected at least 1, 0 and 1 of them")
    layers = [_features(layer) for layer in features]
    if not layers:
        raise UserError("no features, expected those of at least one layer")
    stack = np.asarray(maps, np.float32)
    if stack.ndim < 2 or stack.size == 0:
        raise UserError(f"maps have shape {stack.shape}, expected (..., h, w) with at least one cell")
    width, height = size = _grid(layers, cells)
    likeness = sum(_likeness(layer, size) for layer in layers[1:]) + _likeness(layers[0], size)
    walk = _transitions(likeness / np.float32(len(layers)), power).T
    values = np.array([resize_map(score_map, size).ravel() for score_map in stack.reshape(-1, *stack.shape[-2:])])
    for _ in range(steps):
        values = values @ walk
    return np.asarray(values.reshape(*stack.shape[:-2], height, width), np.float32)


def _features(layer: npt.ArrayLike) -> FloatArray:
    values = np.asarray(layer, np.float32)
    if values.ndim != 3 or values.size == 0:
        raise UserError(f"features have shape {values.shape}, expected (channels, h, w) of one image a layer")
    return values


def _grid(layers: Sequence[FloatArray], cells: int) -> tuple[int, int]:
    """Width and height of the finest layer, shrunk to at most so many cells a side."""
    height, width = max((layer.shape[1:] for layer in layers), key=max)
    shrink = min(1.0, cells / max(height, width))
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def _likeness(features: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Cosines (n, n) of the cells' features on a grid of that size: averages over areas where it is coarser."""
    finer = features.shape[2] >= size[0] and features.shape[1] >= size[1]
    flags = cv2.INTER_AREA if finer else cv2.INTER_LINEAR
    # Channel by channel: cv2 takes no image of more than a few hundred.
    cells = np.array([cv2.resize(as_map(channel), size, interpolation=flags).ravel() for channel in features])
    # What all of the image shares tells no part of it from another, nor does mere rounding.
    directions = cells - cells.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(directions, axis=0)
    directions *= lengths > 1e-5 * np.abs(cells).max()
    directions /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.asarray(directions.T @ directions, np.float32)


def _transitions(likeness: FloatArray, power: int) -> FloatArray:
    """The probabilities (n, n) of going from one cell to another; each row sums to 1."""
    affinity = np.maximum(likeness, 0) ** power
    np.fill_diagonal(affinity, 1)  # also of a cell that is like the mean, and has no direction
    return np.asarray(affinity / affinity.sum(axis=1, keepdims=True), np.float32)
