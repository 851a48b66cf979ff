"""Class maps thresholded to masks, measured by COCO's rules for instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.metrics.coco import CocoStatistic
from wsl.metrics.evidence import Evidence
from wsl.metrics.statistic import Observation

_ROUNDING = 1e-5


class ClassMaskAP(CocoStatistic):
    """AP and AR of masks, one per class and image: the class map above ``threshold`` against the true pixels.

    The rules are COCO's, the objects are not: masks of class numbers do not separate instances, so all pixels of a
    class in an image are one object, predicted or true; mask files of single objects are likewise combined. Ignored
    pixels belong to neither. A predicted class is one with a finite map and a score; a map without contrast gives no
    mask. ``counts`` are (image, class) pairs with at least one pixel.

    >>> ClassMaskAP(["dog"]).compute()[0].name
    'class mask AP'
    """

    reads_boxes = False
    needs = "masks"
    unit = "(image, class) pairs"
    prefix = "class mask"

    def __init__(
        self, classes: Sequence[str], threshold: float = 0.2, *, report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        if not 0 <= threshold < 1:
            raise UserError(f"threshold is {threshold}, expected a fraction of the map's range in [0, 1): try 0.2")
        super().__init__(classes, report_classes, **settings)
        self.threshold = threshold

    def observe(self, seen: Evidence) -> Observation:
        """The outcome of each class's mask at each IoU threshold."""
        from wsl.metrics.kernels import cut_out

        truth = np.ascontiguousarray(seen.pixels())
        area = np.bincount(truth[truth >= 0], minlength=1 + len(self.index))[1:]
        labels, scores, overlap = [], [], []
        for label in seen.found.maps or {}:
            if label not in self.index or label not in seen.scores:
                continue
            row, score_map = self.index[label], seen.score_map(label)
            if score_map is None:
                continue
            if not area[row] and surely_exceeds(score_map, self.threshold, truth):
                found, shared = 1, 0  # the number of pixels does not matter if none is correct
            else:
                heat = seen.heat(label)
                assert heat is not None
                found, shared = cut_out(heat, self.threshold, truth, row + 1)
            if found:
                labels.append(row)
                scores.append(seen.scores[label])
                overlap.append(shared / (found + area[row] - shared))
        there = np.flatnonzero(area)
        of = np.where(np.array(labels, np.int32)[:, None] == there, np.array(overlap)[:, None], -1.0)
        none = np.zeros(len(there), np.bool_)
        found_records = self.matches(seen, of, np.array(labels, np.int32), np.array(scores, np.float32), none)
        return Observation(records={"found": found_records, "expected": self.expected(there)})


def surely_exceeds(score_map: npt.ArrayLike, threshold: float, truth: npt.NDArray[np.int32]) -> bool:
    """Whether two pixels suffice to show that the map's heatmap exceeds a threshold at a pixel that is not ignored.

    The pixels at the map's highest and lowest cells are compared; the heatmap's range is at least their difference.
    False if that does not decide, for example if the highest pixel is ignored.

    >>> surely_exceeds([[0.0, 1.0]], 0.2, np.zeros((2, 4), np.int32))
    True
    """
    cells = np.asarray(score_map, np.float64)
    (height, width), shape = truth.shape, cells.shape
    places = []
    for cell in (cells.argmax(), cells.argmin()):
        y, x = divmod(int(cell), shape[1])
        places.append((int((y + 0.5) * height / shape[0]), int((x + 0.5) * width / shape[1])))
    (top, lowest), highest = (_sampled(cells, place, (height, width)) for place in places), float(cells.max())
    # The heatmap's minimum is at most the value of that pixel, its maximum at most the highest cell.
    range_of = highest - lowest
    return range_of > 0 and (top - lowest) / range_of > threshold + _ROUNDING and bool(truth[places[0]] >= 0)


def _sampled(cells: npt.NDArray[np.float64], pixel: tuple[int, int], shape: tuple[int, int]) -> float:
    """The value of one pixel of the bilinearly resized map."""
    corners, shares = [], []
    for place, pixels, number in zip(pixel, shape, cells.shape, strict=True):
        position = min(max((place + 0.5) * number / pixels - 0.5, 0.0), number - 1.0)
        first = int(position)
        corners.append((first, min(first + 1, number - 1)))
        shares.append(position - first)
    (y0, y1), (x0, x1), (down, right) = *corners, shares
    above, below = (cells[y, x0] * (1 - right) + cells[y, x1] * right for y in (y0, y1))
    return float(above * (1 - down) + below * down)
