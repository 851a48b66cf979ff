"""How right the localizations are: from classes and points to boxes, each number beside its baseline.

Every metric is a pure function on arrays and a class that streams over images (`StreamingMetric`).

>>> from wsl import metrics
>>> metrics.pointing_hit((5, 5), [[0, 0, 10, 10]])
True
"""

from wsl.cam.baselines import centre_gaussian
from wsl.metrics.box_accuracy import MaxBoxAcc, MaxBoxAccV2
from wsl.metrics.box_curves import BoxAccuracy, max_box_acc, max_box_acc_v2
from wsl.metrics.classification import ClassificationAP, average_precision
from wsl.metrics.coco import CocoAP, coco_ap, coco_ar
from wsl.metrics.coco_segm import CocoSegmAP, MaskObject, coco_segm_ap
from wsl.metrics.detection import VOCDetectionAP, match_boxes, voc_detection_ap
from wsl.metrics.evaluation import Evaluation, box_accuracies
from wsl.metrics.failures import FAILURES, Failure, failure, failures
from wsl.metrics.faithfulness import Faithfulness, Probe
from wsl.metrics.fixed_thresholds import accuracy_at, accuracy_curves, best_thresholds
from wsl.metrics.localization import CorLoc, corloc
from wsl.metrics.overlap import box_iou, centre_box, whole_box
from wsl.metrics.perturbation import Curves, confidence_change, insertion_deletion
from wsl.metrics.pixels import PxAP, histogram_ap, pxap, score_histograms
from wsl.metrics.point_ap import PointAP, point_ap, point_within
from wsl.metrics.pointing import PointingGame, pointing_accuracy, pointing_hit, pointing_hit_pixels
from wsl.metrics.protocol import StreamingMetric
from wsl.metrics.segmentation import MeanIoU, class_iou
from wsl.metrics.table import report_table
from wsl.metrics.threshold_choice import Choice, ThresholdChoice
from wsl.metrics.top_k import TopKAccuracy, TopKLoc, class_ranks, top_k_accuracy, top_k_loc

__all__ = [
    "FAILURES",
    "BoxAccuracy",
    "Choice",
    "ClassificationAP",
    "CocoAP",
    "CocoSegmAP",
    "CorLoc",
    "Curves",
    "Evaluation",
    "Failure",
    "Faithfulness",
    "MaskObject",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MeanIoU",
    "PointAP",
    "PointingGame",
    "Probe",
    "PxAP",
    "StreamingMetric",
    "ThresholdChoice",
    "TopKAccuracy",
    "TopKLoc",
    "VOCDetectionAP",
    "accuracy_at",
    "accuracy_curves",
    "average_precision",
    "best_thresholds",
    "box_accuracies",
    "box_iou",
    "centre_box",
    "centre_gaussian",
    "class_iou",
    "class_ranks",
    "coco_ap",
    "coco_ar",
    "coco_segm_ap",
    "confidence_change",
    "corloc",
    "failure",
    "failures",
    "histogram_ap",
    "insertion_deletion",
    "match_boxes",
    "max_box_acc",
    "max_box_acc_v2",
    "point_ap",
    "point_within",
    "pointing_accuracy",
    "pointing_hit",
    "pointing_hit_pixels",
    "pxap",
    "report_table",
    "score_histograms",
    "top_k_accuracy",
    "top_k_loc",
    "voc_detection_ap",
    "whole_box",
]
