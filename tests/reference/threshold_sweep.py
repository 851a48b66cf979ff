"""The box evaluation of the WSOL benchmark (Choe et al., CVPR 2020), told again with OpenCV, threshold by threshold."""

import cv2
import numpy as np

THRESHOLDS = np.arange(0, 1, 0.001)


def eight_bits(score_map):
    return (score_map * 255).astype(np.uint8)


def boxes(levels, cut, candidates):
    """Boxes (x0, y0, x1, y1) of the contours of what exceeds a level, or of the largest of them."""
    height, width = levels.shape
    _, foreground = cv2.threshold(levels, cut, 255, cv2.THRESH_BINARY)
    contours = cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if len(contours) == 0:
        return [(0, 0, 0, 0)]
    if candidates == "largest":
        contours = [max(contours, key=cv2.contourArea)]
    found = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        found.append((x, y, min(x + w, width - 1), min(y + h, height - 1)))
    return found


def iou(found, truths):
    """IoU of each box with each true one, all of inclusive corners."""
    a, b = np.asarray(found)[:, None], np.asarray(truths)[None]
    near, far = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    both = np.maximum(0, far[..., 0] - near[..., 0] + 1) * np.maximum(0, far[..., 1] - near[..., 1] + 1)
    area_a, area_b = ((c[..., 2] - c[..., 0] + 1) * (c[..., 3] - c[..., 1] + 1) for c in (a, b))
    return both / (area_a + area_b - both)


def overlaps(score_map, truths, candidates, thresholds=THRESHOLDS):
    """The best IoU at each threshold: every threshold by itself, as the benchmark goes."""
    levels = eight_bits(score_map)
    return np.array([iou(boxes(levels, int(t * np.max(levels)), candidates), truths).max() for t in thresholds])


def overlaps_by_level(score_map, truths, candidates, thresholds=THRESHOLDS):
    """The same numbers from one look at each distinct foreground."""
    levels = eight_bits(score_map)
    cuts = [int(t * np.max(levels)) for t in thresholds]
    best = {cut: iou(boxes(levels, cut, candidates), truths).max() for cut in set(cuts)}
    return np.array([best[cut] for cut in cuts])
