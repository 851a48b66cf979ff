"""The map that the WSOL benchmark evaluates: stored score maps unchanged, class maps converted to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps import benchmark_map

SIDE = 224


def benchmark_input(score_map: npt.ArrayLike) -> npt.NDArray[np.floating[Any]]:
    """A map at 224x224 in [0, 1]: unchanged if it was stored so, else resized and normalised by `benchmark_map`.

    The benchmark's score maps need not reach 0 and 1, and stretching them would shift its 8-bit levels.

    >>> stored = np.full((224, 224), 0.5)
    >>> benchmark_input(stored) is stored, benchmark_input([[0.0, 3.0]]).shape
    (True, (224, 224))
    """
    values = np.asarray(score_map)
    ready = values.shape == (SIDE, SIDE) and np.issubdtype(values.dtype, np.floating)
    if ready and float(values.min()) >= 0 and float(values.max()) <= 1:
        return values
    return benchmark_map(values, (SIDE, SIDE))
