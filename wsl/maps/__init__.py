"""Normalisation, resizing and refinement of class maps, their peaks, and boxes of regions above a threshold.

>>> from wsl import maps
>>> maps.boxes_from_map([[0, 1], [0, 0]], threshold=0.5, size=(640, 480)).xyxy.tolist()
[[320.0, 0.0, 640.0, 240.0]]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsl.maps.benchmark import benchmark_boxes, benchmark_map
from wsl.maps.boxes import ExtractedBoxes, boxes_from_map, extract_boxes, extract_many
from wsl.maps.by_threshold import ThresholdBoxes, largest_boxes, threshold_boxes
from wsl.maps.fusion import fuse_many
from wsl.maps.overlaps import Protocol, overlaps, sweep_overlaps
from wsl.maps.peaks import peak, peaks
from wsl.maps.scale import heatmap, normalise, resize_map
from wsl.maps.suppression import nms, non_max_suppression
from wsl.maps.sweep import ThresholdSweep, threshold_sweep

if TYPE_CHECKING:
    from wsl.maps.refine import random_walk

__all__ = [
    "ExtractedBoxes",
    "Protocol",
    "ThresholdBoxes",
    "ThresholdSweep",
    "benchmark_boxes",
    "benchmark_map",
    "boxes_from_map",
    "extract_boxes",
    "extract_many",
    "fuse_many",
    "heatmap",
    "largest_boxes",
    "nms",
    "non_max_suppression",
    "normalise",
    "overlaps",
    "peak",
    "peaks",
    "random_walk",
    "resize_map",
    "sweep_overlaps",
    "threshold_boxes",
    "threshold_sweep",
]


def __getattr__(name: str) -> Any:
    if name == "random_walk":
        # Importing torch takes seconds, and reading or drawing maps does not need it.
        return getattr(importlib.import_module("wsl.maps.refine"), name)
    raise AttributeError(f"module 'wsl.maps' has no attribute {name!r}")
