"""From one class map to boxes: threshold, connected components, their bounding rectangles."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
import numpy.typing as npt

from wsl.boxes import BoolArray, Boxes, FloatArray
from wsl.errors import UserError
from wsl.maps.surface import surface_of, to_pixels

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

    * ``largest``: the one of most pixels (of equals the topmost, then the leftmost box, then the first in reading
      order), as CAM does;
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
    check_rule(threshold, rule, min_area)
    surface, size = surface_of(score_map, size, resolution)
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
    return in_order(to_pixels(xyxy, surface, size), scores, label)


def check_rule(threshold: float, rule: str, min_area: float) -> None:
    """Refuse what `boxes_from_map` cannot use.

    Raises:
        UserError: an argument is out of range.

    >>> check_rule(0.2, "all", 0.001)
    """
    if not 0 <= threshold < 1:
        raise UserError(f"threshold is {threshold}, expected a fraction of the map's range in [0, 1): try 0.2")
    if not 0 <= min_area < 1:
        raise UserError(f"min area is {min_area}, expected a fraction of the image in [0, 1)")
    if rule not in get_args(Rule):
        raise UserError(f"box rule is {rule!r}, expected largest, all or peak")


def in_order(xyxy: FloatArray, scores: FloatArray, label: str) -> Boxes:
    """Boxes of one class, the highest score first, of equals the topmost, then the leftmost, then the smaller.

    >>> in_order(np.float32([[5, 5, 9, 9], [0, 0, 1, 1]]), np.float32([0.5, 0.5]), "dog").xyxy.tolist()
    [[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 9.0, 9.0]]
    """
    order = np.lexsort((xyxy[:, 2], xyxy[:, 3], xyxy[:, 0], xyxy[:, 1], -scores))
    return Boxes(xyxy=xyxy[order], labels=(label,) * len(order), scores=scores[order])


class _Parts(NamedTuple):
    """Connected components of a mask, numbered from 0; ``labels`` (h, w) counts from 1, with 0 for background."""

    labels: npt.NDArray[Any]
    areas: Indices

    def at(self, pixel: int) -> Indices:
        """The component of a foreground pixel, given by its row-major index."""
        return np.array([int(self.labels.flat[pixel]) - 1])

    def largest(self) -> Indices:
        """The component of most pixels; of equals the topmost, then the leftmost, then the first in reading order."""
        tied = np.flatnonzero(self.areas == self.areas.max())
        if len(tied) == 1:
            return tied
        xyxy = self.boxes(tied)
        # Whatever numbers cv2 gave them.
        first = (self.labels[xyxy[:, 1]] == tied[:, None] + 1).argmax(axis=1)
        return tied[np.lexsort((first, xyxy[:, 0], xyxy[:, 1]))[:1]]

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
