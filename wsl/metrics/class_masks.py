"""Class maps thresholded to masks, measured by COCO's rules for instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsl.errors import UserError
from wsl.metrics.coco import CocoStatistic
from wsl.metrics.evidence import Evidence
from wsl.metrics.statistic import Observation


class ClassMaskAP(CocoStatistic):
    """AP and AR of masks, one per class and image: the class map above ``threshold``, compared with the true pixels.

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

    def __init__(self, classes: Sequence[str], threshold: float = 0.2, **settings: Any) -> None:
        if not 0 <= threshold < 1:
            raise UserError(f"threshold is {threshold}, expected a fraction of the map's range in [0, 1): try 0.2")
        super().__init__(classes, **settings)
        self.threshold = threshold

    def observe(self, seen: Evidence) -> Observation:
        """The outcome of each class's mask at each IoU threshold."""
        from wsl.metrics.kernels import cut_out, surely_exceeds

        truth = np.ascontiguousarray(seen.pixels())
        area = seen.areas[1:]
        labels, scores, overlap = [], [], []
        for label in seen.found.maps or {}:
            if label not in self.index or label not in seen.scores:
                continue
            row, score_map = self.index[label], seen.score_map(label)
            if score_map is None:
                continue
            if not area[row] and surely_exceeds(np.ascontiguousarray(score_map, np.float64), self.threshold, truth):
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
