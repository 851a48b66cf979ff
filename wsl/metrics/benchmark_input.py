"""What the WSOL benchmark evaluates: the map it takes, and the true boxes in that map's cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps import benchmark_map
from wsl.metrics.overlap import as_xyxy

SIDE = 224


def benchmark_input(score_map: npt.ArrayLike) -> npt.NDArray[np.floating[Any]]:
    """A map at 224x224 in [0, 1]: as it is where it was stored so, else resized and normalised by `benchmark_map`.

    The benchmark's score maps need not reach 0 and 1, and stretching them would move its 8-bit levels.

    >>> stored = np.full((224, 224), 0.5)
    >>> benchmark_input(stored) is stored, benchmark_input([[0.0, 3.0]]).shape
    (True, (224, 224))
    """
    values = np.asarray(score_map)
    ready = values.shape == (SIDE, SIDE) and np.issubdtype(values.dtype, np.floating)
    if ready and float(values.min()) >= 0 and float(values.max()) <= 1:
        return values
    return benchmark_map(values, (SIDE, SIDE))


def benchmark_boxes(xyxy: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """True boxes of an image of ``size`` (width, height) in cells of the 224x224 map, cut to whole numbers.

    >>> benchmark_boxes([10, 20, 100, 99], (200, 100)).tolist()
    [[11.0, 44.0, 112.0, 221.0]]
    """
    scale = np.array([SIDE / size[0], SIDE / size[1]] * 2)
    return np.asarray(np.trunc(as_xyxy(xyxy) * scale))
