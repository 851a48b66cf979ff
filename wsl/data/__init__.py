"""Data sets: images with what is known of them, read from the layouts that people have."""

from wsl.data.coco import coco_numbers, read_coco
from wsl.data.folder import read_folder
from wsl.data.multilabel import read_csv
from wsl.data.reading import detect_format, read_samples, stacked_targets, targets
from wsl.data.voc import VOC_CLASSES, read_voc
from wsl.data.wsol_lists import read_wsol

__all__ = [
    "VOC_CLASSES",
    "coco_numbers",
    "detect_format",
    "read_coco",
    "read_csv",
    "read_folder",
    "read_samples",
    "read_voc",
    "read_wsol",
    "stacked_targets",
    "targets",
]
