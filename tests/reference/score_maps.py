"""Score maps of every kind that could part two ways to box them; each takes a random generator and a side."""

import cv2
import numpy as np


def stretched(values):
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def shape(rng, side):
    return int(rng.integers(1, side + 1)), int(rng.integers(1, side + 1))


def blurred(rng, side):
    noise = np.atleast_2d(cv2.GaussianBlur(rng.random(shape(rng, side)), (0, 0), rng.uniform(0.5, side / 4)))
    return stretched(noise.reshape(noise.shape[:2]))


def enlarged(rng, side):
    cells = rng.standard_normal(tuple(rng.integers(2, 15, 2)))
    return stretched(np.atleast_2d(cv2.resize(cells, shape(rng, side), interpolation=cv2.INTER_CUBIC)))


def plateaus(rng, side):
    steps = int(rng.integers(2, 9))
    return stretched(np.round(blurred(rng, side) * steps))


def noisy_plateaus(rng, side):
    steps = int(rng.integers(1, 6))
    return np.round(rng.random(shape(rng, side)) * steps) / steps


def binary(rng, side):
    return (rng.random(shape(rng, side)) < rng.uniform(0.02, 0.98)).astype(float)


def constant(rng, side):
    return np.full(shape(rng, side), rng.choice([0.0, 0.001, 0.5, 1.0]))


def checkerboard(rng, side):
    y, x = np.indices(shape(rng, side)) // int(rng.integers(1, 4))
    return (x + y) % 2 * (1 - 0.5 * (y > rng.integers(0, side)))


def rings(rng, side):
    """Rings in rings, round or square, of varying height, off the centre and cut by the border."""
    height, width = shape(rng, side)
    y, x = np.indices((height, width)) - np.array([rng.uniform(0, height), rng.uniform(0, width)])[:, None, None]
    distance = np.hypot(x, y) if rng.random() < 0.5 else np.maximum(abs(x), abs(y))
    heights = rng.random(2 * side)
    return heights[(distance / rng.uniform(1, 4)).astype(int)]


def single_pixels(rng, side):
    values = np.zeros(shape(rng, side))
    for _ in range(int(rng.integers(1, 12))):
        values[int(rng.integers(values.shape[0])), int(rng.integers(values.shape[1]))] = rng.choice([0.3, 0.6, 1.0])
    return values


def borders(rng, side):
    """High along some borders, so that parts touch them and holes nearly do."""
    values = rng.random(shape(rng, side)) * 0.3
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        if rng.random() < 0.7:
            values[edge] = rng.random() * 0.7 + 0.3
    return stretched(values)


def not_normalised(rng, side):
    return blurred(rng, side) * rng.uniform(0.01, 0.9) + rng.uniform(0, 0.1)


def single_precision(rng, side):
    return stretched(blurred(rng, side).astype(np.float32))


KINDS = {
    kind.__name__: kind
    for kind in (
        blurred, enlarged, plateaus, noisy_plateaus, binary, constant, checkerboard, rings, single_pixels, borders,
        not_normalised, single_precision,
    )
}  # fmt: skip
