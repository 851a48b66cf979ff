"""ACoL for one image, location by location, in float64: what the second classifier sees, and the fused map."""

import numpy as np


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high == low else (values - low) / (high - low)


def erased(features: np.ndarray, maps: np.ndarray, present: list[int], threshold: float) -> np.ndarray:
    """Features (C, h, w) without the locations at which the map (h, w) of a class present is high."""
    found = features.copy()
    for k in present:
        ranged = stretched(maps[k])
        for row in range(maps.shape[1]):
            for column in range(maps.shape[2]):
                if ranged[row, column] >= threshold:
                    found[:, row, column] = 0
    return found


def convolved(features: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution padded with zeros to the same size, of an odd kernel, with the sums written out."""
    outputs, _, side, _ = weight.shape
    margin = side // 2
    padded = np.pad(features, ((0, 0), (margin, margin), (margin, margin)))
    found = np.zeros((outputs, *features.shape[1:]))
    for row in range(features.shape[1]):
        for column in range(features.shape[2]):
            window = padded[:, row : row + side, column : column + side]
            for output in range(outputs):
                found[output, row, column] = bias[output] + (weight[output] * window).sum()
    return found


def branch(features: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The class maps of one classifier: convolutions with ReLU between them."""
    for weight, bias in layers[:-1]:
        features = np.maximum(convolved(features, weight, bias), 0)
    return convolved(features, *layers[-1])


def fused(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The maps (K, h, w) of both classifiers, put together."""
    return np.stack([np.maximum(stretched(a), stretched(b)) for a, b in zip(first, second, strict=True)])
