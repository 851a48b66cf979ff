"""From one class map to boxes: threshold, connected components, their bounding rectangles."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from wsl.boxes import BoolArray, Boxes, FloatArray
from wsl.errors import UserError
from wsl.maps.scale import as_map, as_size, heatmap

Rule = Literal["largest", "all", "peak"]
Indices = npt.NDArray[np.intp]


def boxes_from_map(
    score_map: npt.ArrayLike,
    *,
    threshold: float = 0.2,
    rule: Rule = "largest",
    size: tuple[int, int] | None = None,
    resolution: int = 256,
    label: str = "",
    min_area: float = 0.001,
) -> Boxes:
    """Boxes around the connected parts of a class map that exceed a fraction of its range.

    The map is resized bilinearly to the image, or to its aspect with ``resolution`` pixels on the long side when
    the image is larger (so the cost does not depend on the photograph), then normalised to [0, 1]. Foreground is
    what exceeds ``threshold``; its 8-connected components are the candidates, and a box's score is the maximum of
    the normalised map inside its component. ``rule`` picks among them:

    * ``largest``: the one of most pixels (of equals the topmost, then the leftmost), as CAM does;
    * ``peak``: the one that holds the map's maximum;
    * ``all``: each that covers at least ``min_area`` of the image, highest score first.

    A map without contrast (constant, NaN, infinite) gives no box.

    Shape:
        ``score_map`` is (h, w) and covers the image; ``size`` is (width, height) of the image in pixels, the unit
        of the boxes. Without it the unit is the map's cell.

    Raises:
        UserError: an argument has another shape or lies out of range.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, section 3.2.

    >>> boxes = boxes_from_map([[0, 0, 0, 0], [0, 9, 9, 0], [0, 0, 0, 0]], threshold=0.5, label="dog")
    >>> boxes.xyxy.tolist(), boxes.scores.tolist(), boxes.labels
    ([[1.0, 1.0, 3.0, 2.0]], [1.0], ('dog',))
    """
    if not 0 <= threshold < 1:
        raise UserError(f"threshold is {threshold}, expected a fraction of the map's range in [0, 1): try 0.2")
    if not 0 <= min_area < 1:
        raise UserError(f"min area is {min_area}, expected a fraction of the image in [0, 1)")
    if rule not in ("largest", "all", "peak"):
        raise UserError(f"box rule is {rule!r}, expected largest, all or peak")
    surface, size = _surface(score_map, size, resolution)
    parts = _parts(surface > np.float32(threshold))
    if not len(parts.areas):
        return Boxes.empty()
    if rule == "peak":
        chosen = parts.at(int(surface.argmax()))
    elif rule == "largest":
        chosen = parts.largest()
    else:
        chosen = np.flatnonzero(parts.areas >= min_area * surface.size)
    xyxy = parts.boxes(chosen)
    scores = parts.maxima(chosen, xyxy, surface)
    order = np.lexsort((xyxy[:, 0], xyxy[:, 1], -scores))
    return Boxes(xyxy=_to_pixels(xyxy[order], surface, size), labels=(label,) * len(order), scores=scores[order])


def largest_boxes(
    score_map: npt.ArrayLike, thresholds: npt.ArrayLike, *, size: tuple[int, int] | None = None, resolution: int = 256
) -> FloatArray:
    """The box of ``boxes_from_map(..., rule="largest")`` at each of many thresholds; zeros where there is none.

    Shape:
        ``score_map`` is (h, w), ``thresholds`` (T,) in [0, 1] in any order, ``size`` (width, height) in pixels;
        the result is (T, 4), xyxy.

    Raises:
        UserError: an argument has another shape or lies out of range.

    >>> largest_boxes([[0, 2, 4, 1]], [0, 0.3, 0.6, 1.0]).tolist()
    [[1.0, 0.0, 4.0, 1.0], [1.0, 0.0, 3.0, 1.0], [2.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    cuts = np.asarray(thresholds, np.float32)
    if cuts.ndim != 1 or not ((cuts >= 0) & (cuts <= 1)).all():
        raise UserError("thresholds: expected a list of fractions of the map's range in [0, 1]")
    surface, size = _surface(score_map, size, resolution)
    boxes = np.zeros((len(cuts), 4), np.float32)
    # Thresholds that leave equally many pixels leave the same ones.
    background = np.searchsorted(np.sort(surface, axis=None), cuts, side="right")
    for count in np.unique(background[background < surface.size]):
        same = background == count
        parts = _parts(surface > cuts[same][0])
        boxes[same] = _to_pixels(parts.boxes(parts.largest()), surface, size)
    return boxes


class _Parts(NamedTuple):
    """Connected components of a mask, numbered from 0; ``labels`` (h, w) counts from 1, with 0 for background."""

    labels: npt.NDArray[Any]
    areas: Indices

    def at(self, pixel: int) -> Indices:
        """The component of a foreground pixel, given by its row-major index."""
        return np.array([int(self.labels.flat[pixel]) - 1])

    def largest(self) -> Indices:
        """The component of most pixels; of equals the topmost, then the leftmost, whatever number cv2 gave it."""
        tied = np.flatnonzero(self.areas == self.areas.max())
        if len(tied) == 1:
            return tied
        xyxy = self.boxes(tied)
        return tied[np.lexsort((xyxy[:, 0], xyxy[:, 1]))[:1]]

    def boxes(self, chosen: Indices) -> Indices:
        """Half-open bounding rectangles in cells of the labels, (n, 4)."""
        xywh = [cv2.boundingRect((self.labels == i + 1).view(np.uint8)) for i in chosen]
        return np.array([(x, y, x + w, y + h) for x, y, w, h in xywh], np.intp).reshape(-1, 4)

    def maxima(self, chosen: Indices, xyxy: Indices, surface: FloatArray) -> FloatArray:
        """Highest value of ``surface``, which is nowhere below 0, inside each chosen component and its box."""
        windows = [np.s_[y0:y1, x0:x1] for x0, y0, x1, y1 in xyxy]
        # A product does for a mask then, at a tenth of the price of max(where=...).
        values = [(surface[w] * (self.labels[w] == i + 1)).max() for i, w in zip(chosen, windows, strict=True)]
        return np.array(values, np.float32)


def _parts(mask: BoolArray) -> _Parts:
    height, width = mask.shape
    # An 8-connected component needs a 2x2 block for itself. Counting small labels with OpenCV, and boxing only what
    # is asked for, takes a third of connectedComponentsWithStats' time.
    small = ((height + 1) // 2) * ((width + 1) // 2) < 2**16
    count, labels = cv2.connectedComponents(
        mask.view(np.uint8), connectivity=8, ltype=cv2.CV_16U if small else cv2.CV_32S
    )
    if small:
        areas = cv2.calcHist([labels], [0], None, [count], [0, count]).astype(np.intp).ravel()
    else:
        areas = np.bincount(labels.ravel(), minlength=count)
    return _Parts(labels, areas[1:])


def _surface(
    score_map: npt.ArrayLike, size: tuple[int, int] | None, resolution: int
) -> tuple[FloatArray, tuple[int, int]]:
    """The normalised map at the resolution to work in, and the size (width, height) its boxes are scaled to."""
    values = as_map(score_map)
    size = as_size(size or (values.shape[1], values.shape[0]))
    if resolution < 1:
        raise UserError(f"resolution is {resolution}, expected the long side of the resized map in pixels: try 256")
    shrink = min(1.0, resolution / max(size))
    width, height = (max(1, round(side * shrink)) for side in size)
    return heatmap(values, (width, height)), size


def _to_pixels(xyxy: Indices, surface: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Boxes from the grid of ``surface`` to an image of ``size``; its far border lands exactly on the image's."""
    height, width = surface.shape
    return np.asarray(xyxy * np.array([*size, *size]) / np.array([width, height, width, height]), np.float32)
