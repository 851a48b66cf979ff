"""The box evaluation of the WSOL benchmark (Choe et al., CVPR 2020), told again with OpenCV, threshold by threshold."""

import cv2
import numpy as np

THRESHOLDS = np.arange(0, 1, 0.001)


def eight_bits(score_map):
    return (score_map * 255).astype(np.uint8)


def contours(levels, cut):
    _, foreground = cv2.threshold(levels, cut, 255, cv2.THRESH_BINARY)
    return cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]


def boxes(contours, shape, candidates):
    """Boxes (x0, y0, x1, y1) of all contours, or of the largest of them."""
    if len(contours) == 0:
        return [(0, 0, 0, 0)]
    if candidates == "largest":
        contours = [max(contours, key=cv2.contourArea)]
    found = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        found.append((x, y, min(x + w, shape[1] - 1), min(y + h, shape[0] - 1)))
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
    found = [boxes(contours(levels, int(t * np.max(levels))), levels.shape, candidates) for t in thresholds]
    return best(found, truths)


def overlaps_by_level(score_map, truths, candidates=("largest", "all"), thresholds=THRESHOLDS):
    """The same numbers from one look at each distinct foreground, for several kinds of candidates."""
    levels = eight_bits(score_map)
    cuts, place = np.unique([int(t * np.max(levels)) for t in thresholds], return_inverse=True)
    drawn = [contours(levels, int(cut)) for cut in cuts]
    return [best([boxes(c, levels.shape, kind) for c in drawn], truths)[place] for kind in candidates]


def best(found, truths):
    """Of each list of boxes the highest IoU with any true one."""
    every = iou(np.concatenate(found), truths).max(axis=1)
    return np.maximum.reduceat(every, np.cumsum([0, *map(len, found[:-1])]))
