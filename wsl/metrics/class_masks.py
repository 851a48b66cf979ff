"""Class maps cut out as masks, measured by the rules that COCO has for instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsl.errors import UserError
from wsl.metrics.coco import CocoStatistic
from wsl.metrics.evidence import Evidence
from wsl.metrics.statistic import Observation


class ClassMaskAP(CocoStatistic):
    """AP and AR of masks, one a class and image: of each class map what exceeds ``threshold``, against its true pixels.

    The rules are COCO's, the objects are not: masks of class numbers do not tell instances apart, so all pixels of a
    class in an image are one object, found and true; files a mask are taken together likewise. Pixels nobody is sure of
    belong to neither. A class found is one with a finite map and a score; a map without contrast gives no mask.
    ``counts`` are (image, class) pairs with a pixel.

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
            heat = seen.heat(label) if label in self.index and label in seen.scores else None
            if heat is None:
                continue
            row = self.index[label]
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
