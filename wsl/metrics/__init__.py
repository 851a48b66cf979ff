"""Metrics of localizations, for classes, points, boxes and pixels, each reported with a baseline.

Every metric is a pure function of arrays and a class that streams over images (`Statistic`); `TorchMetric` wraps it as
a torchmetrics metric.

>>> from wsl import metrics
>>> metrics.pointing_hit((5, 5), [[0, 0, 10, 10]])
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsl.centre import centre_box, centre_gaussian, whole_box
from wsl.metrics.box_accuracy import MaxBoxAcc, MaxBoxAccV2
from wsl.metrics.box_curves import BoxAccuracy, max_box_acc, max_box_acc_v2
from wsl.metrics.calibration import BoxCalibration, Calibration, calibration_error
from wsl.metrics.class_masks import ClassMaskAP
from wsl.metrics.classification import ClassificationAP, average_precision
from wsl.metrics.coco import CocoAP, coco_ap, coco_ar
from wsl.metrics.detection import VOCDetectionAP, match_boxes, voc_detection_ap
from wsl.metrics.evaluation import METRICS, Evaluation
from wsl.metrics.evidence import Evidence
from wsl.metrics.failures import FAILURES, Failure, failure, failures
from wsl.metrics.localization import CorLoc, corloc
from wsl.metrics.overlap import box_iou
from wsl.metrics.pixels import PxAP, histogram_ap, pxap, score_histograms
from wsl.metrics.point_ap import PointAP, point_ap, point_within
from wsl.metrics.pointing import PointingGame, pointing_accuracy, pointing_hit, pointing_hit_pixels
from wsl.metrics.segmentation import MeanIoU, class_iou
from wsl.metrics.stability import FlipStability, map_correlation
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.metrics.threshold_choice import Choice, ThresholdChoice
from wsl.metrics.top_k import TopKAccuracy, TopKLoc, class_ranks, top_k_accuracy, top_k_loc

if TYPE_CHECKING:
    from wsl.metrics.faithfulness import Faithfulness, Probe
    from wsl.metrics.perturbation import Curves, confidence_change, insertion_deletion
    from wsl.metrics.torch_metric import TorchMetric

# These run a model or need torchmetrics. Importing torch takes seconds, and stored predictions do not need it.
_LAZY = {
    "Curves": "wsl.metrics.perturbation",
    "Faithfulness": "wsl.metrics.faithfulness",
    "Probe": "wsl.metrics.faithfulness",
    "TorchMetric": "wsl.metrics.torch_metric",
    "confidence_change": "wsl.metrics.perturbation",
    "insertion_deletion": "wsl.metrics.perturbation",
}

__all__ = [
    "FAILURES",
    "METRICS",
    "BoxAccuracy",
    "BoxCalibration",
    "Calibration",
    "Choice",
    "ClassMaskAP",
    "ClassificationAP",
    "CocoAP",
    "CorLoc",
    "Curves",
    "Evaluation",
    "Evidence",
    "Failure",
    "Faithfulness",
    "FlipStability",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MeanIoU",
    "Observation",
    "PointAP",
    "PointingGame",
    "Probe",
    "PxAP",
    "Row",
    "Statistic",
    "ThresholdChoice",
    "TopKAccuracy",
    "TopKLoc",
    "TorchMetric",
    "Totals",
    "VOCDetectionAP",
    "average_precision",
    "box_iou",
    "calibration_error",
    "centre_box",
    "centre_gaussian",
    "class_iou",
    "class_ranks",
    "coco_ap",
    "coco_ar",
    "confidence_change",
    "corloc",
    "failure",
    "failures",
    "histogram_ap",
    "insertion_deletion",
    "map_correlation",
    "match_boxes",
    "max_box_acc",
    "max_box_acc_v2",
    "point_ap",
    "point_within",
    "pointing_accuracy",
    "pointing_hit",
    "pointing_hit_pixels",
    "pxap",
    "score_histograms",
    "top_k_accuracy",
    "top_k_loc",
    "voc_detection_ap",
    "whole_box",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'wsl.metrics' has no attribute {name!r}")
