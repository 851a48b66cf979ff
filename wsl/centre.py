"""Baselines: the centre of the image as a box and as a map, and the whole image as a box."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.errors import UserError

DoubleArray = npt.NDArray[np.float64]


def centre_box(size: tuple[int, int], fraction: float = 0.7) -> DoubleArray:
    """The box around the image's centre with a fraction of each side.

    The default, 0.7 of the width and of the height, covers about half the image.

    Shape:
        ``size`` is (width, height) in pixels; the result is (4,), xyxy.

    Raises:
        UserError: the fraction is not in (0, 1], or the size is not positive.

    >>> centre_box((100, 50), fraction=0.5).tolist()
    [25.0, 12.5, 75.0, 37.5]
    """
    if not 0 < fraction <= 1:
        raise UserError(f"centre box has {fraction} of each side, expected a fraction in (0, 1]: try 0.7")
    if min(size) < 1:
        raise UserError(f"size is {size}, expected (width, height) in pixels, each 1 or more")
    width, height = size
    x0, y0 = width * (1 - fraction) / 2, height * (1 - fraction) / 2
    return np.array([x0, y0, width - x0, height - y0])


def whole_box(size: tuple[int, int]) -> DoubleArray:
    """The box of the whole image.

    >>> whole_box((100, 50)).tolist()
    [0.0, 0.0, 100.0, 50.0]
    """
    return np.array([0.0, 0.0, *size])


@functools.lru_cache(maxsize=16)
def centre_gaussian(size: tuple[int, int], sigma: float = 0.25) -> FloatArray:
    """A read-only Gaussian at the image's centre, with a standard deviation of ``sigma`` times each side, in [0, 1].

    Shape:
        ``size`` is (width, height); the result is (height, width).

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 5.

    >>> centre_gaussian((5, 3)).argmax(), centre_gaussian((5, 3)).max()
    (np.int64(7), np.float32(1.0))
    """
    x, y = (np.exp(-((((np.arange(side) + 0.5) / side - 0.5) / sigma) ** 2) / 2) for side in size)
    values = np.outer(y, x).astype(np.float32)
    values -= values.min()
    values /= max(values.max(), np.finfo(np.float32).tiny)
    values.flags.writeable = False
    return values
