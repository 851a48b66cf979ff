"""TS-CAM and SCM, one image and one number after the other, in float64."""

import math

import numpy as np


def tscam(attentions: list[np.ndarray], semantic: np.ndarray, prefix: int) -> np.ndarray:
    """The maps (K, h, w) of one image from the whole attention matrices (heads, T, T) of its blocks."""
    classes, height, width = semantic.shape
    maps = np.zeros(semantic.shape)
    for row in range(height):
        for column in range(width):
            token = prefix + row * width + column
            coupled = 0.0
            for matrices in attentions:
                coupled += sum(float(matrix[0, token]) for matrix in matrices) / len(matrices)
            for k in range(classes):
                maps[k, row, column] = coupled * float(semantic[k, row, column])
    return maps


def laplacian(height: int, width: int) -> np.ndarray:
    """Degrees minus neighbours of a grid, cell by cell."""
    matrix = np.zeros((height * width, height * width))
    for row in range(height):
        for column in range(width):
            here = row * width + column
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                y, x = row + down, column + right
                if 0 <= y < height and 0 <= x < width:
                    matrix[here, here] += 1
                    matrix[here, y * width + x] -= 1
    return matrix


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high == low else (values - low) / (high - low)


def scm(
    semantic: np.ndarray,
    attention: np.ndarray,
    strengths: tuple[float, ...] = (1.0,) * 4,
    thresholds: tuple[float, ...] = (0.5,) * 4,
) -> np.ndarray:
    """The semantic maps (K, h, w) that the scores of a training step come from, for attention (h, w)."""
    classes, height, width = semantic.shape
    maps = semantic.astype(np.float64).reshape(classes, -1)
    spread = stretched(attention.astype(np.float64)).reshape(-1)
    grid, count = laplacian(height, width), height * width
    for iterations, strength, threshold in zip((16, 4, 4, 4), strengths, thresholds, strict=True):
        matrix = np.zeros((count, count))
        for i in range(count):
            for j in range(count):
                lengths = math.sqrt(maps[:, i] @ maps[:, i]) * math.sqrt(maps[:, j] @ maps[:, j])
                likeness = maps[:, i] @ maps[:, j] / lengths if lengths else 0.0
                matrix[i, j] = grid[i, j] * (strength * likeness - 1)
        inverse = 0.002 * matrix.T
        for _ in range(iterations):
            inverse = inverse @ (2 * np.eye(count) - matrix @ inverse)
        unit = threshold * spread.max()
        values = inverse.T @ spread / (unit if unit else 1.0)
        found = stretched(np.array([value - math.tanh(value) for value in values]))
        maps = maps + maps * found
        spread = spread + found
    return maps.reshape(semantic.shape)
