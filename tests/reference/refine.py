"""The random walk over affinities, cell by cell, in double precision, with OpenCV's resizing."""

import cv2
import numpy as np


def random_walk(score_map, layers, power=2, steps=3, cells=24):
    """A map (h, w) and, layer by layer, features (C, h', w') of one image, to the refined map."""
    height, width = max((layer.shape[1:] for layer in layers), key=max)
    shrink = min(1, cells / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    units = [_units(layer, size) for layer in layers]
    walk = [_weights(i, units, power) for i in range(size[0] * size[1])]
    resized = cv2.resize(score_map.astype(np.float64), size, interpolation=cv2.INTER_LINEAR)
    values = resized.ravel()
    for _ in range(steps):
        values = np.array([weights @ values / weights.sum() for weights in walk])
    return values.reshape(resized.shape)


def _units(layer, size):
    finer = layer.shape[1] >= size[1] and layer.shape[2] >= size[0]
    flags = cv2.INTER_AREA if finer else cv2.INTER_LINEAR
    cells = np.array([cv2.resize(c.astype(np.float64), size, interpolation=flags).ravel() for c in layer])
    centred = cells - cells.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=0)
    known = lengths > 1e-5 * np.abs(cells).max()
    return np.where(known, centred / np.where(known, lengths, 1), 0)


def _weights(i, units, power):
    likeness = np.mean([directions[:, i] @ directions for directions in units], axis=0)
    weights = np.maximum(likeness, 0) ** power
    weights[i] = 1
    return weights
