"""From the network's output of an image to a `Localization`: scores, boxes, points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl.boxes import Boxes, FloatArray
from wsl.config import BoxConfig
from wsl.inference.inputs import Input
from wsl.inference.network import Output
from wsl.maps import ExtractedBoxes, extract_boxes, nms, peak
from wsl.maps.scale import as_map
from wsl.results import Localization

# Of a thousand classes nobody reads the last nine hundred, and writing them would take longer than finding them.
MAX_SCORES = 100


class Reader:
    """Reads localizations off a network's outputs.

    `boxes` is None where nobody asks for any. `max_scores` is the number of classes whose scores are given.
    """

    def __init__(self, classes: Sequence[str], boxes: BoxConfig | None, max_scores: int | None = MAX_SCORES) -> None:
        self._classes, self._boxes, self._max_scores = tuple(classes), boxes, max_scores

    def read(self, image: Input, output: Output) -> Localization:
        """The localization of one image."""
        size, probabilities = image.geometry.original, output.probabilities
        labels = [self._classes[number] for number in output.classes]
        maps = np.array(output.maps)  # its own memory: the batch's can go
        best = np.argsort(-probabilities, kind="stable")[: self._max_scores]
        boxes = Boxes.empty()
        if self._boxes is not None:
            scores = probabilities[output.classes].tolist()
            parts = [_extract(one, score, size, self._boxes) for one, score in zip(maps, scores, strict=True)]
            boxes = _boxes(labels, parts)
        return Localization(
            path=image.path,
            id=image.id,
            image=image.image,
            size=size,
            scores=dict(zip([self._classes[i] for i in best.tolist()], probabilities[best].tolist(), strict=True)),
            boxes=boxes,
            # A refined map is about extent: its maximum moves to wherever most looks alike.
            points={label: peak(one, size) for label, one in zip(labels, output.raw, strict=True)},
            maps=dict(zip(labels, maps, strict=True)),
        )


def boxes_of_class(
    score_map: FloatArray, label: str, score: float, size: tuple[int, int], settings: BoxConfig
) -> Boxes:
    """The boxes of one class's map, scored by the class's probability times the map's height in the box.

    >>> corner = np.float32([[0, 0.5], [0, 1]])
    >>> boxes = boxes_of_class(corner, "dog", 0.5, (8, 8), BoxConfig(threshold=0.9))
    >>> boxes.labels, boxes.scores.tolist()
    (('dog',), [0.5])
    """
    return _boxes([label], [_extract(as_map(score_map), score, size, settings.resolved())])


def _extract(score_map: FloatArray, score: float, size: tuple[int, int], rule: BoxConfig) -> ExtractedBoxes:
    assert rule.threshold is not None
    assert rule.box_rule is not None
    xyxy, heights = extract_boxes(score_map, size, threshold=rule.threshold, rule=rule.box_rule, min_area=rule.min_area)
    if len(heights) > 1:
        kept = nms(xyxy, heights, rule.nms_iou)
        xyxy, heights = xyxy[kept], heights[kept]
    return ExtractedBoxes(xyxy, heights * np.float32(score))


def _boxes(labels: Sequence[str], parts: Sequence[ExtractedBoxes]) -> Boxes:
    if not parts:
        return Boxes.empty()
    return Boxes(
        xyxy=np.concatenate([part.xyxy for part in parts]),
        labels=tuple(label for label, part in zip(labels, parts, strict=True) for _ in part.scores),
        scores=np.concatenate([part.scores for part in parts]),
    )
