"""Refinements by the image, cell by cell in double precision; maps (h, w) and images (3, h, w) on one grid."""

import itertools

import cv2
import numpy as np


def working(score_map, image, cells):
    """The map resized bilinearly and the image averaged to at most so many cells a side, by OpenCV."""
    height, width = image.shape[1:]
    shrink = min(1, cells / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    guide = np.array([cv2.resize(plane.astype(np.float64), size, interpolation=cv2.INTER_AREA) for plane in image])
    return cv2.resize(score_map.astype(np.float64), size, interpolation=cv2.INTER_LINEAR), guide


def pamr(score_map, image, iterations=10, dilations=(1, 2, 4, 8, 12, 24), flat=1e-3 / 255):
    """Each cell becomes the mean of its neighbours, weighted by a softmax of their likeness."""
    height, width = score_map.shape
    values = score_map.astype(np.float64)
    image = image.astype(np.float64)
    near = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]

    def neighbours(y, x):
        for dilation, (down, right) in itertools.product(dilations, near):
            yield min(max(y + dilation * down, 0), height - 1), min(max(x + dilation * right, 0), width - 1)

    weights = {}
    for y, x in np.ndindex(height, width):
        around = np.array([image[:, v, u] for v, u in neighbours(y, x)])
        centre = image[:, y, x]
        deviation = np.concatenate([around, [centre] * len(dilations)]).std(axis=0, ddof=1)
        likeness = (-np.abs(around - centre) / (flat + 0.1 * deviation)).mean(axis=1)
        likeness = np.exp(likeness - likeness.max())
        weights[y, x] = likeness / likeness.sum()
    for _ in range(iterations):
        before = values.copy()
        for y, x in np.ndindex(height, width):
            values[y, x] = weights[y, x] @ [before[v, u] for v, u in neighbours(y, x)]
    return values


def crf(score_map, image, iterations, near, near_weight, far, colour, far_weight, level=0.5, clip=1e-5, ends=None):
    """The mean field of two labels, of kernels that are written out, scaled to the ends of a range."""
    height, width = score_map.shape
    cells = list(np.ndindex(height, width))
    longer = max(height, width)
    places = np.array(cells, np.float64) / longer
    colours = np.array([image[:, y, x] for y, x in cells], np.float64)

    def normalised(points):
        kernel = np.exp([[-((one - other) ** 2).sum() / 2 for other in points] for one in points])
        scale = 1 / np.sqrt(kernel.sum(axis=1))
        return scale[:, None] * kernel * scale

    kernels = near_weight * normalised(places / near)
    kernels += far_weight * normalised(np.hstack([places / far, colours / colour]))
    lowest, span = score_map.min(), np.ptp(score_map)
    probability = np.clip((score_map.ravel() - lowest) / span, clip, 1 - clip)
    odds = probability / (1 - probability) * (1 - level) / level
    unary = -np.log(np.stack([odds, np.ones_like(odds)]))
    marginals = np.exp(-unary) / np.exp(-unary).sum(axis=0)
    for _ in range(iterations):
        energy = -unary + marginals @ kernels
        marginals = np.exp(energy - energy.max(axis=0))
        marginals /= marginals.sum(axis=0)
    lowest, highest = ends or (lowest, lowest + span)
    return lowest + (highest - lowest) * marginals[0].reshape(height, width)


def guided(score_map, image, radius, eps, ends=None):
    """In each window a ridge regression of the map on the colours; each cell takes the mean of its windows' fits."""
    height, width = score_map.shape
    fits = {}
    for y, x in np.ndindex(height, width):
        rows, columns = (slice(max(0, at - radius), at + radius + 1) for at in (y, x))
        colours = image[:, rows, columns].reshape(3, -1).T.astype(np.float64)
        values = score_map[rows, columns].ravel().astype(np.float64)
        centred = colours - colours.mean(axis=0)
        covariance = centred.T @ centred / len(values)
        slope = np.linalg.solve(covariance + eps * np.eye(3), centred.T @ (values - values.mean()) / len(values))
        fits[y, x] = slope, values.mean() - slope @ colours.mean(axis=0)
    result = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        windows = itertools.product(
            range(max(0, y - radius), min(height, y + radius + 1)),
            range(max(0, x - radius), min(width, x + radius + 1)),
        )
        result[y, x] = np.mean([fits[at][0] @ image[:, y, x] + fits[at][1] for at in windows])
    return np.clip(result, *(ends or (score_map.min(), score_map.max())))
