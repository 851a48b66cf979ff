"""Boxes and peaks of a map, one OpenCV or NumPy call after the other."""

import cv2
import numpy as np

from wsl.maps.scale import heatmap, resize_map


def extract(score_map, size, threshold, rule, min_area, resolution):
    """Boxes (n, 4) in pixels of an image of `size` (width, height), and their scores, highest first."""
    shrink = min(1.0, resolution / max(size))
    heat = heatmap(score_map, tuple(max(1, round(side * shrink)) for side in size))
    mask = heat > np.float32(threshold)
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    parts = [labels == i for i in range(1, count)]
    if rule == "peak":
        parts = [part for part in parts if part.flat[heat.argmax()]]
    elif rule == "largest":
        parts = sorted(parts, key=_size_then_place)[:1]
    else:
        parts = [part for part in parts if part.sum() >= min_area * heat.size]
    height, width = heat.shape
    cells = np.array([_box(part) for part in parts], np.intp).reshape(-1, 4)
    boxes = (cells * np.array([*size, *size]) / np.array([width, height, width, height])).astype(np.float32)
    scores = np.array([heat[part].max() for part in parts], np.float32)
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1], -scores))
    return boxes[order], scores[order]


def peak(score_map, size):
    """The first maximum (x, y) of the map resized to `size`; (0, 0) without contrast."""
    if not np.isfinite(score_map).all() or score_map.min() == score_map.max():
        return 0.0, 0.0
    y, x = divmod(int(resize_map(score_map, size).argmax()), size[0])
    return float(x), float(y)


def _box(part):
    x, y, width, height = cv2.boundingRect(part.astype(np.uint8))
    return x, y, x + width, y + height


def _size_then_place(part):
    x0, y0, _, _ = _box(part)
    return -int(part.sum()), y0, x0, int(part.argmax())
