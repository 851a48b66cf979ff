"""The peak of a map, in pixels of the image, usually without resizing the map to the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.scale import as_map, as_size, resize_map


def peak(score_map: npt.ArrayLike, size: tuple[int, int]) -> tuple[float, float]:
    """Pixel (x, y) that holds the maximum of the map resized bilinearly to ``size``.

    Equal to the argmax of ``resize_map(score_map, size)``, but usually without resizing: the maximum of a bilinear
    interpolation lies near the centre of a cell. Ties between separate maxima go to the first in row-major order.
    Cells at the border extend outwards in a resized map; there the peak is the pixel nearest to the cell's centre, and
    equal rows (or columns) at a border are treated as one that extends. If all rows are equal, as in a map of one row,
    the middle row of pixels is taken. A map that is constant or holds a NaN or an infinity has no peak: (0, 0).

    Shape:
        ``score_map`` is (h, w), ``size`` (width, height) in pixels.

    Raises:
        UserError: the map is not (h, w), or the size is not positive.

    >>> peak([[0, 0, 0], [0, 0, 5], [0, 0, 0]], (300, 300))
    (250.0, 149.0)
    >>> peak([[0, 5, 0]], (300, 99)), peak([[5, 0], [0, 0]], (100, 100))
    ((149.0, 49.0), (24.0, 24.0))
    """
    # Imported here because numba takes half a second to load.
    from wsl.maps.kernels.peaks import highest_pixel, window

    values, (width, height) = as_map(score_map), as_size(size)
    x, y, certain = highest_pixel(values, width, height)
    if not certain:
        left, right, top, bottom = window(values, width, height)
        pixels = resize_map(values, (width, height))[top : bottom + 1, left : right + 1]
        y, x = divmod(int(pixels.argmax()), pixels.shape[1])
        x, y = x + left, y + top
    return float(x), float(y)


def peaks(maps: FloatArray, sizes: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """`peak` for many maps of the same shape in one call, which releases the interpreter's lock.

    Shape:
        ``maps`` is (M, h, w), float32 and C-contiguous; ``sizes`` are the (width, height) of the M images.

    >>> peaks(np.float32([[[0, 0, 0], [0, 0, 5], [0, 0, 0]]]), [(300, 300)])
    [(250.0, 149.0)]
    """
    from wsl.maps.kernels.peaks import highest_pixels

    pixels, certain = highest_pixels(maps, np.array(sizes, np.int64).reshape(-1, 2))
    found = [(float(x), float(y)) for x, y in pixels.tolist()]
    for i in np.flatnonzero(~certain).tolist():
        found[i] = peak(maps[i], sizes[i])
    return found
