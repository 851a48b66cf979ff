"""What several files of this folder need: predictions in one line, and the VOC devkit retold slowly."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.results import Localization
from wsl.samples import Sample


@pytest.fixture(scope="session")
def boxes() -> Callable[..., Boxes]:
    """`boxes(("dog", [0, 0, 9, 9], 0.5), ("cat", [1, 1, 2, 2], 1.0, "difficult"))`."""

    def make(*rows: tuple[Any, ...]) -> Boxes:
        return Boxes(
            xyxy=np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
            labels=tuple(row[0] for row in rows),
            scores=np.array([row[2] if len(row) > 2 else 1.0 for row in rows], np.float32),
            difficult=np.array([len(row) > 3 for row in rows], np.bool_),
        )

    return make


@pytest.fixture(scope="session")
def finding() -> Callable[..., Localization]:
    def make(
        name: str = "a.jpg",
        size: tuple[int, int] = (100, 100),
        scores: Mapping[str, float] | None = None,
        boxes: Boxes | None = None,
        **fields: Any,
    ) -> Localization:
        return Localization(path=name, size=size, scores=scores or {}, boxes=boxes or Boxes.empty(), **fields)

    return make


@pytest.fixture(scope="session")
def annotated() -> Callable[..., Sample]:
    """A sample whose labels follow from its boxes, as a VOC reader makes them."""

    def make(truths: Boxes, name: str = "a.jpg", size: tuple[int, int] | None = (100, 100)) -> Sample:
        easy = [label for label, hard in zip(truths.labels, truths.difficult, strict=True) if not hard]
        ignored = [label for label in truths.labels if label not in easy]
        return Sample(
            path=name, labels=tuple(dict.fromkeys(easy)), ignored=tuple(dict.fromkeys(ignored)), boxes=truths, size=size
        )

    return make


# What 0, 0.1, …, 1 are to the paper, to the Python ports of the devkit, and to MATLAB's colon operator.
LEVELS = {
    "11-point": [t / 10 for t in range(11)],
    "11-point-python": np.arange(0.0, 1.1, 0.1).tolist(),
    "11-point-matlab": [t * 0.1 for t in range(6)] + [1 - t * 0.1 for t in range(4, -1, -1)],
}


class Devkit:
    """VOCevalcls.m, VOCevaldet.m, VOCap.m of the VOC devkit, loop by loop; boxes count from 1, corners inclusive."""

    @staticmethod
    def ap(recall: Sequence[float], precision: Sequence[float], method: str) -> float:
        if method in LEVELS:
            ap = 0.0
            for level in LEVELS[method]:
                reached = [p for r, p in zip(recall, precision, strict=True) if r >= level]
                ap += max(reached) / 11 if reached else 0
            return ap
        mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
        for i in range(len(mpre) - 2, -1, -1):
            mpre[i] = max(mpre[i], mpre[i + 1])
        return sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1])

    def ranked_ap(self, right: Sequence[bool], positives: int, method: str) -> float:
        found = np.cumsum(right)
        recall = [float(tp) / positives for tp in found]
        precision = [float(tp) / (i + 1) for i, tp in enumerate(found)]
        return self.ap(recall, precision, method)

    def classification(self, scores: Sequence[float], targets: Sequence[int], method: str) -> float:
        kept = [(score, target) for score, target in zip(scores, targets, strict=True) if target != -1]
        kept.sort(key=lambda pair: -pair[0])
        return self.ranked_ap([target == 1 for _, target in kept], sum(t == 1 for _, t in kept), method)

    def detection(self, detections: Sequence[tuple[int, float, list[int]]], truths: list[Any], method: str) -> float:
        """`detections` are (image, score, box), `truths` per image a list of (box, difficult)."""
        taken = [[False] * len(image) for image in truths]
        tp, fp = [], []
        for image, _, bb in sorted(detections, key=lambda detection: -detection[1]):
            ovmax, jmax = -np.inf, -1
            for j, (gt, _) in enumerate(truths[image]):
                iw = min(bb[2], gt[2]) - max(bb[0], gt[0]) + 1
                ih = min(bb[3], gt[3]) - max(bb[1], gt[1]) + 1
                if iw > 0 and ih > 0:
                    area = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1) + (gt[2] - gt[0] + 1) * (gt[3] - gt[1] + 1)
                    overlap = iw * ih / (area - iw * ih)
                    if overlap > ovmax:
                        ovmax, jmax = overlap, j
            right = ovmax >= 0.5 and not truths[image][jmax][1] and not taken[image][jmax]
            ignored = ovmax >= 0.5 and truths[image][jmax][1]
            if right:
                taken[image][jmax] = True
            tp.append(right)
            fp.append(not right and not ignored)
        positives = sum(not difficult for image in truths for _, difficult in image)
        ctp, cfp = np.cumsum(tp), np.cumsum(fp)
        recall = [float(t) / positives for t in ctp]
        precision = [float(t) / (t + f) if t + f else 0.0 for t, f in zip(ctp, cfp, strict=True)]
        return self.ap(recall, precision, method)


@pytest.fixture(scope="session")
def devkit() -> Devkit:
    return Devkit()
