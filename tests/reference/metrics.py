"""The metrics of pixels as their definitions put it, image by image and threshold by threshold."""

import numpy as np


def pxap(score_maps, masks):
    """Pixel average precision of the WSOL benchmark: masks are 1 on the object, 0 off it and 255 to ignore."""
    edges = np.append(np.arange(0, 1, 0.001), [1.0, 2.0, 3.0])
    true_hist, false_hist = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for score_map, mask in zip(score_maps, masks, strict=True):
        true_hist += np.histogram(score_map[mask == 1], bins=edges)[0]
        false_hist += np.histogram(score_map[mask == 0], bins=edges)[0]
    tp, fp = np.cumsum(true_hist[::-1]), np.cumsum(false_hist[::-1])
    fn = true_hist.sum() - tp
    nonzero = (tp + fp) != 0
    precision = np.where(nonzero, tp / np.where(nonzero, tp + fp, 1), 0)
    recall = tp / (tp + fn)
    return float((precision[1:] * np.diff(recall))[nonzero[1:]].sum())


def mean_iou(class_maps, masks, threshold, num_classes):
    """One confusion matrix over the images; `class_maps` are {class number: (H, W) in [0, 1]}, masks -1 to ignore."""
    confusion = np.zeros((num_classes + 1, num_classes + 1), int)
    for maps, mask in zip(class_maps, masks, strict=True):
        for y in range(mask.shape[0]):
            for x in range(mask.shape[1]):
                if mask[y, x] < 0:
                    continue
                best, chosen = threshold, 0
                for number, score_map in maps.items():
                    if score_map[y, x] > best:
                        best, chosen = score_map[y, x], number
                confusion[mask[y, x], chosen] += 1
    iou = [
        confusion[c, c] / (confusion[c].sum() + confusion[:, c].sum() - confusion[c, c])
        for c in range(num_classes + 1)
        if confusion[c].sum()
    ]
    return float(np.mean(iou))


def causal_curve(score, start, finish, score_map, pixels_a_step):
    """RISE's CausalMetric: the score while the pixels of highest map go over from one picture to the other."""
    order = np.argsort(-score_map.ravel(), kind="stable")
    picture = start.copy()
    curve = [score(picture)]
    for first in range(0, len(order), pixels_a_step):
        for pixel in order[first : first + pixels_a_step]:
            y, x = divmod(int(pixel), score_map.shape[1])
            picture[:, y, x] = finish[:, y, x]
        curve.append(score(picture))
    area = (sum(curve) - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1)
    return curve, area
