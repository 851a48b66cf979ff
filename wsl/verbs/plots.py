"""The pictures of an evaluation: plots, and galleries of failures."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import Counter
from pathlib import Path

import numpy as np

from wsl.draw import (
    contact_sheet,
    draw_comparison,
    fit_into,
    plot_classes,
    plot_curves,
    plot_groups,
    plot_overlaps,
    save_image,
)
from wsl.errors import BadImageError
from wsl.images import read_image
from wsl.metrics import (
    FAILURES,
    Calibration,
    Evaluation,
    Failure,
    MaxBoxAcc,
    PxAP,
    ThresholdChoice,
    VOCDetectionAP,
    box_iou,
    centre_box,
    failures,
)
from wsl.results import BoxOrigin, EvaluationReport, Localization, Metric
from wsl.samples import Sample

log = logging.getLogger("wsl")

EXAMPLES = 12
CELL = (360, 270)
# Upper limits of the size groups: fractions of the image covered by an object. A last group has all larger objects.
SIZES = (0.01, 0.04, 0.1, 0.2, 0.4)

PICTURES = (
    "accuracy_over_threshold",
    "max_box_acc_over_threshold",
    "pixel_precision",
    "overlaps",
    "accuracy_over_size",
    "boxes_over_score",
    "reliability",
    "classes",
    *(f"failures-{reason.replace(' ', '-')}" for reason in FAILURES),
)


class Plots:
    """Plots of an evaluation, collected image by image: one overlap per pair, and the most confident failures."""

    def __init__(self, folder: Path, *, examples: int = EXAMPLES) -> None:
        self.folder = folder
        self.counts: Counter[Failure] = Counter()
        self._examples = examples
        self._overlaps: list[float] = []
        self._sizes: list[tuple[float, float, float]] = []
        self._worst: dict[Failure, list[tuple[float, int, Localization, Sample, str]]] = {}
        self._seen = 0

    def update(self, found: Localization, sample: Sample) -> None:
        """Add one image."""
        if sample.boxes is None:
            return
        for label, reason in failures(found, sample).items():
            best, instances = found.boxes.best(label), sample.boxes.of(label).xyxy
            overlap = 0.0 if best is None else float(box_iou(best, instances).max())
            if best is not None:
                self._overlaps.append(overlap)
            sides = instances[:, 2:] - instances[:, :2]
            covered = float(sides.prod(axis=1).max()) / (found.size[0] * found.size[1])
            self._sizes.append((covered, overlap, float(box_iou(centre_box(found.size), instances).max())))
            self._seen += 1
            if reason is not None:
                self.counts[reason] += 1
                self._remember(reason, found, sample, label)

    def _remember(self, reason: Failure, found: Localization, sample: Sample, label: str) -> None:
        heap = self._worst.setdefault(reason, [])
        score = found.scores.get(label, max(found.boxes.of(label).scores, default=0.0))
        top = sorted(found.scores.items(), key=lambda one: -one[1])[:1]
        small = Localization(path=sample.path, size=found.size, scores=dict(top), boxes=found.boxes)
        heapq.heappush(heap, (float(score), -self._seen, small, sample, label))
        if len(heap) > self._examples:
            heapq.heappop(heap)

    def save(self, evaluation: Evaluation, report: EvaluationReport) -> list[Path]:
        """Write all pictures for which there are measurements, and remove the others of an earlier evaluation."""
        for name in PICTURES:
            (self.folder / f"{name}.png").unlink(missing_ok=True)
        self._accuracy(evaluation, report)
        self._max_box_acc(evaluation, report.protocol)
        pixels = evaluation.statistics.get("PxAP")
        if isinstance(pixels, PxAP) and len((curve := pixels.curve())[0]):
            recall, precision = curve
            plot_curves(
                self.folder / "pixel_precision.png",
                {"class maps": (recall, precision)},
                x="recall of object pixels",
                y="precision",
                title="Pixels over all map thresholds (PxAP is the area)",
            )
        if self._overlaps:
            plot_overlaps(self.folder / "overlaps.png", self._overlaps, title="Overlap of boxes and objects")
        self._size_groups()
        self._scores(evaluation)
        self._reliability(evaluation)
        plot_classes(self.folder / "classes.png", _by_class(report))
        for reason in FAILURES:
            self._gallery(reason)
        return sorted(self.folder.glob("*.png"))

    def _accuracy(self, evaluation: Evaluation, report: EvaluationReport) -> None:
        choice = evaluation.statistics.get("CorLoc-pairs")
        if not isinstance(choice, ThresholdChoice):
            return
        measure = f"CorLoc (pairs), IoU {choice.iou_threshold:g}"
        names = {"largest": f"{measure}, largest component", "peak": f"{measure}, component of the peak"}
        curves = {names[rule]: (choice.thresholds, curve) for rule, curve in choice.accuracies().items() if curve.any()}
        if not curves:
            return
        best = choice.choose()
        marks = _mark(report.boxes)
        marks[f"best on this split (optimistic): {best.threshold:g}"] = best.threshold
        plot_curves(
            self.folder / "accuracy_over_threshold.png",
            curves,
            x="map threshold",
            y="correct boxes",
            marks=marks,
            title="Box accuracy over the map threshold",
        )

    def _max_box_acc(self, evaluation: Evaluation, protocol: str) -> None:
        curves = {
            f"{type(metric).__name__}, IoU {level:g}": (np.arange(len(curve)) / len(curve), curve)
            for metric in evaluation.statistics.values()
            if isinstance(metric, MaxBoxAcc)
            for level, curve in metric.curves().items()
            if curve.any()
        }
        if curves:
            place = self.folder / "max_box_acc_over_threshold.png"
            plot_curves(place, curves, x="map threshold", y="correct boxes", title=f"MaxBoxAcc, protocol {protocol}")

    def _size_groups(self) -> None:
        if not self._sizes:
            return
        covered, found, centre = np.array(self._sizes).T
        group = np.searchsorted(SIZES, covered)
        edges = [f"{100 * edge:g}" for edge in SIZES]
        names = [f"< {edges[0]} %", *(f"{a}–{b} %" for a, b in itertools.pairwise(edges)), f"> {edges[-1]} %"]
        kept = [i for i in range(len(names)) if (group == i).any()]
        plot_groups(
            self.folder / "accuracy_over_size.png",
            [names[i] for i in kept],
            {
                name: [float((of[group == i] >= 0.5).mean()) for i in kept]
                for name, of in (("boxes", found), ("image's centre", centre))
            },
            [int((group == i).sum()) for i in kept],
            x="fraction of the image covered by the largest object of the class",
            y="correct boxes (IoU >= 0.5)",
            title="Box accuracy over the size of the object",
        )

    def _scores(self, evaluation: Evaluation) -> None:
        boxes = evaluation.statistics.get("AP50")
        if not isinstance(boxes, VOCDetectionAP):
            return
        scores, precision, recall = boxes.over_scores()
        if len(scores) and scores.min() >= 0 and scores.max() <= 1:
            plot_curves(
                self.folder / "boxes_over_score.png",
                {"precision": (scores, precision), "recall": (scores, recall)},
                x="minimum score of a box",
                y="precision and recall of boxes",
                title=f"Boxes over their score (IoU >= {boxes.iou_threshold:g}, all report classes)",
            )

    def _reliability(self, evaluation: Evaluation) -> None:
        """Plot the fraction of correct predictions against their probability."""
        names = {"calibration": "class probabilities", "box-calibration": "box scores"}
        curves = {}
        for key, name in names.items():
            metric = evaluation.statistics.get(key)
            if isinstance(metric, Calibration) and (value := metric.compute().value) is not None:
                confidence, right, _ = metric.curve()
                curves[f"{name}, error {value:.3f}"] = (confidence, right)
        if curves:
            plot_curves(
                self.folder / "reliability.png",
                curves,
                x="probability",
                y="fraction correct",
                diagonal="calibrated",
                title="Reliability",
            )

    def _gallery(self, reason: Failure) -> None:
        """Write the failures of one kind on one page, the most confident first, without images that cannot be read."""
        pictures, titles = [], []
        for score, _, found, sample, label in sorted(self._worst.get(reason, []), key=lambda one: (-one[0], -one[1])):
            try:
                photo = fit_into(read_image(sample.path), CELL)
            except BadImageError as error:
                log.info("not in the gallery: %s", error)
                continue
            assert sample.boxes is not None
            shown = (boxes.of(label).scaled(found.size, to=photo.shape[1::-1]) for boxes in (found.boxes, sample.boxes))
            pictures.append(draw_comparison(photo, *shown))
            top = next(iter(found.scores), "")
            taken = f" taken for {top}" if reason == "wrong class" else ""
            titles.append(f"{sample.path.stem} · {label}{taken} {score:.2f}")
        if pictures:
            heading = f"{reason}: {self.counts[reason]} of {self._seen} (image, class) pairs"
            path = self.folder / f"failures-{reason.replace(' ', '-')}.png"
            save_image(path, contact_sheet(pictures, columns=4, titles=titles, heading=heading, cell=CELL))


def _mark(boxes: BoxOrigin | None) -> dict[str, float]:
    return {} if boxes is None or boxes.threshold is None else {f"{boxes.origin}: {boxes.threshold:g}": boxes.threshold}


def _by_class(report: EvaluationReport) -> list[Metric]:
    wanted = ("mAP", "pointing", "CorLoc", "AP50", "MaxBoxAcc@0.5", "mIoU")
    return [metric for metric in report.metrics if metric.name.removesuffix(" (wsolevaluation)") in wanted]
