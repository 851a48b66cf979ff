"""Class maps cut out as masks, measured as COCO measures instance segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl import run_lengths
from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics.annotated_masks import pixel_classes
from wsl.metrics.bootstrap import Doubles, image_key
from wsl.metrics.coco import CocoMetric
from wsl.metrics.coco_eval import Kind, evaluated, tables
from wsl.results import Localization
from wsl.samples import Sample


class MaskObject(NamedTuple):
    """One object, found or true: its class, its pixels (H, W), and how sure the finding is."""

    label: str
    mask: npt.ArrayLike
    score: float = 1.0


def coco_segm_ap(
    detections: Sequence[Sequence[MaskObject]], ground_truth: Sequence[Sequence[MaskObject]], classes: Sequence[str]
) -> Doubles:
    """COCO's AP of each class at each of its ten IoU thresholds, over masks of all areas.

    The rules are those of `coco_ap`, with the IoU of pixels.

    Shape:
        one list of objects found and one of true ones an image to (classes, 10); NaN for a class without a true one.
        Objects of other classes are left out.

    Raises:
        UserError: lengths differ, or the masks of an image do.

    >>> truth, near = MaskObject("dog", [[1] * 10]), MaskObject("dog", [[1] * 8 + [0] * 2])
    >>> coco_segm_ap([[near]], [[truth]], ["dog"]).mean().round(3).tolist()
    0.7
    """
    if len(detections) != len(ground_truth):
        raise UserError(
            f"detections of {len(detections)} images with true masks of {len(ground_truth)}, expected as many"
        )
    numbers = {label: number for number, label in enumerate(classes, start=1)}
    if not ground_truth or not classes:
        return np.full((len(classes), 10), np.nan)
    for found, truth in zip(detections, ground_truth, strict=True):
        shapes = {np.shape(item.mask) for item in (*found, *truth)}
        if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
            raise UserError(f"the masks of one image have shapes {sorted(shapes)}, expected one (H, W)")
    true_objects = [_objects(image, numbers) for image in ground_truth]
    found_objects = [_objects(image, numbers) for image in detections]
    return tables(evaluated(true_objects, found_objects, len(classes), "segm")).ap


class CocoSegmAP(CocoMetric):
    """COCO's AP and AR of masks: of each class map what exceeds ``threshold``, against the class's annotated pixels.

    Masks of class numbers do not tell instances apart, so all pixels of a class in an image are one object, found and
    true; files a mask are taken together likewise. Pixels nobody is sure of belong to neither. A class found is one
    with a finite map and a score; a map without contrast gives no mask. ``counts`` are (image, class) pairs with a
    pixel. Keeps all masks as run lengths.

    >>> CocoSegmAP(["dog"]).compute()[0].name
    'COCO segm AP'
    """

    prefix = "COCO segm"
    kind: Kind = "segm"

    def __init__(
        self, classes: Sequence[str], threshold: float = 0.2, *, report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        if not 0 <= threshold < 1:
            raise UserError(f"threshold is {threshold}, expected a fraction of the map's range in [0, 1): try 0.2")
        super().__init__(classes, report_classes=report_classes, **settings)
        self.threshold = threshold
        for name in ("found", "true"):
            self._add_rows(f"{name}_runs", dtype=torch.uint8)
            self._add_rows(f"{name}_lengths", dtype=torch.int64)
            self._add_rows(f"{name}_sizes", 2, dtype=torch.int64)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the maps of one image.

        Raises:
            UserError: the sample has no mask, one that does not fit, or a label is none of the classes.
        """
        self._mean.require(sample.labels, sample.path)
        truth = pixel_classes(sample, self._mean.classes, found.size)
        present = {label: truth == number for label, number in self._numbers() if (truth == number).any()}
        seen = {}
        for label, score_map in (found.maps or {}).items():
            if label in self._mean and label in found.scores:
                mask = (heatmap(score_map, found.size) > self.threshold) & (truth >= 0)
                if mask.any():
                    seen[label] = mask
        self._append("keys", [image_key(sample.path)])
        for name, masks in (("found", seen), ("true", present)):
            scores = [found.scores[label] if name == "found" else 1.0 for label in masks]
            self._keep(name, list(masks), scores, [False for _ in masks])
            runs = [run_lengths.encode(mask) for mask in masks.values()]
            self._append(f"{name}_runs", np.frombuffer(b"".join(runs), np.uint8))
            self._append(f"{name}_lengths", [len(run) for run in runs])
            self._append(f"{name}_sizes", [found.size for _ in runs])

    def _numbers(self) -> list[tuple[str, int]]:
        return [(label, i + 1) for label, i in self._index.items()]

    def _outlines(self, name: str) -> list[dict[str, Any]]:
        runs = self._rows(f"{name}_runs").tobytes()
        ends = np.cumsum(self._rows(f"{name}_lengths")).tolist()
        sizes = self._rows(f"{name}_sizes").tolist()
        return [
            run_lengths.to_annotation(runs[start:end], (width, height))
            for start, end, (width, height) in zip([0, *ends][:-1], ends, sizes, strict=True)
        ]


def _objects(image: Sequence[MaskObject], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "category_id": numbers[item.label],
            "score": item.score,
            "iscrowd": 0,
            **run_lengths.to_annotation(run_lengths.encode(item.mask), np.shape(item.mask)[::-1]),
        }
        for item in image
        if item.label in numbers
    ]
