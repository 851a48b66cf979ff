"""Class maps on the host: normalise, resize, find their peak, draw boxes around what exceeds a threshold.

>>> from wsl import maps
>>> maps.boxes_from_map([[0, 1], [0, 0]], threshold=0.5, size=(640, 480)).xyxy.tolist()
[[320.0, 0.0, 640.0, 240.0]]
"""

from wsl.maps.boxes import boxes_from_map, largest_boxes
from wsl.maps.peaks import peak
from wsl.maps.refine import random_walk
from wsl.maps.scale import heatmap, normalise, resize_map
from wsl.maps.suppression import non_max_suppression

__all__ = [
    "boxes_from_map",
    "heatmap",
    "largest_boxes",
    "non_max_suppression",
    "normalise",
    "peak",
    "random_walk",
    "resize_map",
]
