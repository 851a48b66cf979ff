"""Boxes and peaks of a map, one OpenCV or NumPy call after the other."""

import itertools

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


def nested(levels):
    """Boxes (n, 4) and scores of the lowest of several thresholds, and those that they split into at higher ones."""
    (first, heights), *higher = levels
    boxes, scores = list(first), list(heights)
    shown = list(enumerate(first))  # what each component has shrunk to, and the box that stands for it
    for xyxy, heights in higher:
        inside = np.array([_smallest_around(box, [extent for _, extent in shown]) for box in xyxy])
        after = []
        for place, (box, _) in enumerate(shown):
            parts = np.flatnonzero(inside == place)
            if len(parts) == 1:
                after.append((box, xyxy[parts[0]]))
            elif len(parts) > 1:
                scores[box] *= np.float32(0.9)
                for part in parts:
                    after.append((len(boxes), xyxy[part]))
                    boxes.append(xyxy[part])
                    scores.append(heights[part] * np.float32(0.7))
        shown = after
    boxes, scores = np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1], -scores))
    return boxes[order], scores[order]


def _smallest_around(box, extents):
    holding = [i for i, one in enumerate(extents) if (one[:2] <= box[:2]).all() and (one[2:] >= box[2:]).all()]
    return min(holding, key=lambda i: (extents[i][2:] - extents[i][:2]).prod(), default=-1)


def peak(score_map, size):
    """The first maximum (x, y) of the map resized to `size`, without what only extends its border; else (0, 0)."""
    if not np.isfinite(score_map).all() or score_map.min() == score_map.max():
        return 0.0, 0.0
    (top, bottom), (left, right) = _ends(score_map, size[1]), _ends(score_map.T, size[0])
    resized = resize_map(score_map, size)[top : bottom + 1, left : right + 1]
    y, x = divmod(int(resized.argmax()), resized.shape[1])
    return float(x + left), float(y + top)


def _ends(lines, pixels):
    """The first and the last pixel along the axis of some rows that are no mere extension of a border."""
    count, middle = len(lines), (pixels - 1) // 2
    same = [np.array_equal(one, other) for one, other in itertools.pairwise(lines)]
    if all(same):
        return middle, middle
    before, behind = same.index(False), same[::-1].index(False)
    places = (np.arange(pixels) + 0.5) * count / pixels - 0.5
    first = max([0, *np.flatnonzero(places <= before + 1e-9).tolist()])
    last = min([pixels - 1, *np.flatnonzero(places >= count - 1 - behind - 1e-9).tolist()])
    return first, max(first, last)


def _box(part):
    x, y, width, height = cv2.boundingRect(part.astype(np.uint8))
    return x, y, x + width, y + height


def _size_then_place(part):
    x0, y0, _, _ = _box(part)
    return -int(part.sum()), y0, x0, int(part.argmax())
