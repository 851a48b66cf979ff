"""Boxes from class maps by the settings of a run, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wsl.boxes import Boxes, FloatArray
from wsl.config import BoxConfig
from wsl.errors import UserError
from wsl.images.geometry import Geometry
from wsl.maps import ExtractedBoxes, extract_many, fuse_many
from wsl.maps.scale import as_map, as_size
from wsl.results import Localization


def boxes_of_class(
    score_map: FloatArray, label: str, score: float, size: tuple[int, int], settings: BoxConfig
) -> Boxes:
    """The boxes of one class's map, scored by the class's probability times the map's height in the box.

    >>> corner = np.float32([[0, 0.5], [0, 1]])
    >>> boxes = boxes_of_class(corner, "dog", 0.5, (8, 8), BoxConfig(threshold=0.9))
    >>> boxes.labels, boxes.scores.tolist()
    (('dog',), [0.5])
    """
    return boxes_of_maps({label: score_map}, {label: score}, size, settings)


def boxes_of_maps(
    maps: Mapping[str, FloatArray], scores: Mapping[str, float], size: tuple[int, int], settings: BoxConfig
) -> Boxes:
    """`boxes_of_class` for all maps of an image; a class without a score has the score 1.

    >>> boxes_of_maps({"dog": np.eye(2), "cat": np.eye(2)}, {"dog": 0.5}, (8, 8), BoxConfig(threshold=0.9)).labels
    ('dog', 'cat')
    """
    rule, labels = settings.resolved(), list(maps)
    arrays = [as_map(score_map) for score_map in maps.values()]
    # Maps of the same shape, such as those of one network, are processed in one call.
    calls = [np.stack(arrays)] if len({array.shape for array in arrays}) == 1 else [array[None] for array in arrays]
    parts = [part for call in calls for part in extract(call, [as_size(size)] * len(call), rule)]
    return scored(labels, parts, [scores.get(label, 1.0) for label in labels])


def redrawn(found: Localization, settings: BoxConfig) -> Boxes:
    """The boxes of a stored localization, drawn again from its maps.

    Raises:
        UserError: it has boxes but no maps.

    >>> found = Localization(path="a.jpg", size=(8, 8), scores={}, boxes=Boxes.empty(), maps={"dog": np.eye(2)})
    >>> len(redrawn(found, BoxConfig(box_rule="all")))
    1
    """
    if len(found.boxes) and not found.maps:
        raise UserError(
            f"{found.path} has boxes and no maps to draw others from: run wsl-localize with --maps, or leave out "
            "threshold, box rule and other settings of boxes"
        )
    return boxes_of_maps(found.maps or {}, found.scores, found.size, settings)


def extract(maps: FloatArray, sizes: Sequence[tuple[int, int]], rule: BoxConfig) -> list[ExtractedBoxes]:
    """The boxes of each of the maps (n, h, w) by resolved settings, in pixels of images of these sizes."""
    assert rule.threshold is not None
    assert rule.box_rule is not None
    assert rule.min_area is not None
    assert rule.box_score is not None
    return extract_many(
        maps,
        sizes,
        threshold=rule.threshold,
        rule=rule.box_rule,
        min_area=rule.min_area,
        nms_iou=rule.nms_iou if rule.box_rule in ("all", "nested") else 1.0,
        score=rule.box_score,
    )


def fused(
    drawn: Sequence[ExtractedBoxes],
    xyxy: FloatArray,
    scores: FloatArray,
    geometries: Sequence[Geometry],
    rule: BoxConfig,
) -> list[ExtractedBoxes]:
    """The boxes of each of M maps, fused with what a detector found of its class.

    Shape:
        ``xyxy`` (M, n, 4) are in pixels of the network's input, in which the images lie as ``geometries`` say, and
        ``scores`` (M, n).
    """
    original = [place.boxes_to_original(boxes) for place, boxes in zip(geometries, xyxy, strict=True)]
    return fuse_many(drawn, np.stack(original), scores, nms_iou=rule.nms_iou) if original else list(drawn)


def scored(labels: Sequence[str], parts: Sequence[ExtractedBoxes], scores: Sequence[float]) -> Boxes:
    """Boxes of several classes, scored by the class's probability times the map's height in the box."""
    if not parts:
        return Boxes.empty()
    heights = [part.scores * np.float32(score) for part, score in zip(parts, scores, strict=True)]
    return Boxes.of_valid(
        xyxy=np.concatenate([part.xyxy for part in parts]),
        labels=tuple(label for label, part in zip(labels, parts, strict=True) for _ in range(len(part.scores))),
        scores=np.concatenate(heights),
    )
