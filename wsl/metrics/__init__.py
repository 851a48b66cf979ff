"""How right the localizations are: from classes and points to boxes, each number beside its baseline.

Every metric is a pure function on arrays and a class that streams over images (`StreamingMetric`).

>>> from wsl import metrics
>>> metrics.pointing_hit((5, 5), [[0, 0, 10, 10]])
True
"""

from wsl.metrics.baselines import centre_gaussian
from wsl.metrics.box_accuracy import BoxAccuracy, MaxBoxAcc, max_box_acc
from wsl.metrics.classification import ClassificationAP, average_precision
from wsl.metrics.coco import CocoAP, coco_ap, coco_ar
from wsl.metrics.coco_segm import CocoSegmAP, MaskObject, coco_segm_ap
from wsl.metrics.detection import VOCDetectionAP, match_boxes, voc_detection_ap
from wsl.metrics.evaluation import Evaluation
from wsl.metrics.faithfulness import Curves, Faithfulness, confidence_change, insertion_deletion
from wsl.metrics.localization import CorLoc, corloc
from wsl.metrics.overlap import box_iou, centre_box, whole_box
from wsl.metrics.pixels import PxAP, histogram_ap, pxap, score_histograms
from wsl.metrics.point_ap import PointAP, point_ap, point_within
from wsl.metrics.pointing import PointingGame, pointing_accuracy, pointing_hit
from wsl.metrics.protocol import StreamingMetric
from wsl.metrics.segmentation import MeanIoU, class_iou
from wsl.metrics.table import report_table
from wsl.metrics.top_k import TopKAccuracy, TopKLoc, class_ranks, top_k_accuracy, top_k_loc

__all__ = [
    "BoxAccuracy",
    "ClassificationAP",
    "CocoAP",
    "CocoSegmAP",
    "CorLoc",
    "Curves",
    "Evaluation",
    "Faithfulness",
    "MaskObject",
    "MaxBoxAcc",
    "MeanIoU",
    "PointAP",
    "PointingGame",
    "PxAP",
    "StreamingMetric",
    "TopKAccuracy",
    "TopKLoc",
    "VOCDetectionAP",
    "average_precision",
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
    "histogram_ap",
    "insertion_deletion",
    "match_boxes",
    "max_box_acc",
    "point_ap",
    "point_within",
    "pointing_accuracy",
    "pointing_hit",
    "pxap",
    "report_table",
    "score_histograms",
    "top_k_accuracy",
    "top_k_loc",
    "voc_detection_ap",
    "whole_box",
]
