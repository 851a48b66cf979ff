"""The map that knows nothing about the image: a bump in its middle."""

from __future__ import annotations

import numpy as np

from wsl.boxes import FloatArray
from wsl.maps import normalise


def centre_gaussian(size: tuple[int, int], sigma: float = 0.25) -> FloatArray:
    """A Gaussian in the middle of the image, ``sigma`` of each side wide, normalised to [0, 1].

    Shape:
        ``size`` is (width, height); the result is (height, width).

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 5.

    >>> centre_gaussian((5, 3)).argmax(), centre_gaussian((5, 3)).max()
    (np.int64(7), np.float32(1.0))
    """
    x, y = (np.exp(-((((np.arange(side) + 0.5) / side - 0.5) / sigma) ** 2) / 2) for side in size)
    return normalise(np.outer(y, x))
