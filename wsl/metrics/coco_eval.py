"""The door to pycocotools: objects of images into COCOeval, tables of its numbers out of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.metrics.bootstrap import Doubles, Weights
from wsl.metrics.resampling import Floats, affordable, drawn_sums, resampled_ap

IOU_THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))
"""COCO's ten: 0.50, 0.55, …, 0.95."""

RECALL_DETECTIONS = (1, 10, 100)
"""So many detections an image and class count for COCO's three average recalls."""

Kind = Literal["bbox", "segm"]
Objects = Sequence[Mapping[str, Any]]


class CocoTables(NamedTuple):
    """AP at each IoU threshold (classes, 10), mean recall by number of detections (classes, 3); NaN for no truth.

    Of a bootstrap there is one more axis, the replicates.
    """

    ap: Doubles
    recall: Doubles


def evaluated(ground_truth: Sequence[Objects], detections: Sequence[Objects], classes: int, kind: Kind) -> Any:
    """COCOeval after its work, over objects of all areas; a list of objects an image."""
    # Loaded here: whoever measures points or maps does without it.
    from pycocotools.cocoeval import COCOeval

    # pycocotools reports its progress with prints and offers no switch.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_store(ground_truth, classes), _store(detections, classes), kind)
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.params.maxDets = list(RECALL_DETECTIONS)
        evaluator.params.iouThrs = np.array(IOU_THRESHOLDS)
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def tables(evaluator: Any) -> CocoTables:
    """What COCOeval found, -1 of an absent class turned to NaN."""
    precision = evaluator.eval["precision"][..., 0, -1]  # (thresholds, recalls, classes), at 100 detections
    recall = evaluator.eval["recall"][:, :, 0]  # (thresholds, classes, numbers of detections)
    ap, recall = precision.mean(axis=1).T, recall.mean(axis=0)
    return CocoTables(np.where(ap < 0, np.nan, ap), np.where(recall < 0, np.nan, recall))


def resampled_tables(evaluator: Any, weights: Weights) -> CocoTables:
    """The same for every column of weights, (images, replicates), from the matches that COCOeval made."""
    judged = [list(_matches(evaluator, number)) for number in range(len(evaluator.params.catIds))]
    entries = sum(len(match.scores) * len(IOU_THRESHOLDS) for matches in judged for match in matches)
    drawn = weights[:, : affordable(entries, weights.shape[1])].astype(np.float32)
    per_class = [_resampled_class(matches, drawn) for matches in judged]
    return CocoTables(np.array([ap for ap, _ in per_class]), np.array([recall for _, recall in per_class]))


def box_outline(xyxy: Sequence[float]) -> dict[str, Any]:
    """Where a box is, as pycocotools holds it.

    >>> box_outline([1, 2, 4, 6])
    {'bbox': [1, 2, 3, 4], 'area': 12}
    """
    x0, y0, x1, y1 = xyxy
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}


def _store(images: Sequence[Objects], classes: int) -> Any:
    """A COCO data set; images, categories and annotations count from 1, where 0 would mean "unmatched"."""
    from pycocotools.coco import COCO

    rows = [{**row, "image_id": image} for image, objects in enumerate(images, start=1) for row in objects]
    store = COCO()
    store.dataset = {
        # A height and width are asked for, though run lengths know theirs.
        "images": [{"id": image, "height": 0, "width": 0} for image in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
        "annotations": [{**row, "id": number} for number, row in enumerate(rows, start=1)],
    }
    store.createIndex()
    return store


class _Match(NamedTuple):
    """Detections of one class in one image, best first, and their fate at each of the ten thresholds."""

    image: int
    scores: Doubles
    right: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    positives: int


def _matches(evaluator: Any, number: int) -> Iterator[_Match]:
    images = len(evaluator.params.imgIds)
    for image, found in enumerate(evaluator.evalImgs[number * images : (number + 1) * images]):
        if found is not None:
            ignored = np.asarray(found["dtIgnore"], np.bool_)
            right = (np.asarray(found["dtMatches"]) != 0) & ~ignored
            positives = int((np.asarray(found["gtIgnore"]) == 0).sum())
            yield _Match(image, np.asarray(found["dtScores"], np.float64), right, ignored, positives)


def _resampled_class(matches: Sequence[_Match], weights: Floats) -> tuple[Doubles, Doubles]:
    replicates = weights.shape[1]
    positives = np.zeros(len(weights), np.int64)
    hits = np.zeros((len(RECALL_DETECTIONS), len(weights)), np.int64)
    for match in matches:
        positives[match.image] = match.positives
        hits[:, match.image] = [match.right[:, :limit].sum() for limit in RECALL_DETECTIONS]
    if not positives.any():
        return np.full((len(IOU_THRESHOLDS), replicates), np.nan), np.full((len(hits), replicates), np.nan)
    scores = np.concatenate([match.scores for match in matches])
    image = np.repeat([match.image for match in matches], [len(match.scores) for match in matches])
    right = np.concatenate([match.right for match in matches], axis=1)
    judged = ~np.concatenate([match.ignored for match in matches], axis=1)
    ap = [
        resampled_ap(scores[kept], row[kept], image[kept], positives, weights, "101-point", ties=False)
        for row, kept in zip(right, judged, strict=True)
    ]
    total = drawn_sums(positives, weights)
    recall = np.where(total > 0, drawn_sums(hits, weights) / np.maximum(total, 1), np.nan)
    return np.array(ap), recall / len(IOU_THRESHOLDS)
