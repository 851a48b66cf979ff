"""Where a map is highest, in pixels of the image, as a rule without building the image-sized map."""

from __future__ import annotations

import cv2
import numpy.typing as npt

from wsl.maps.scale import as_map, as_size
from wsl.stopwatch import stage


def peak(score_map: npt.ArrayLike, size: tuple[int, int]) -> tuple[float, float]:
    """Pixel (x, y) that holds the maximum of the map resized bilinearly to ``size``.

    Equal to the argmax of ``resize_map(score_map, size)``, where ties go to the first in row-major order, but usually
    without resizing: the maximum of a bilinear interpolation lies near the centre of a cell. A constant map and one
    with a NaN or an infinity have no peak: (0, 0).

    Shape:
        ``score_map`` is (h, w), ``size`` (width, height) in pixels.

    Raises:
        UserError: the map is not (h, w) or the size not positive.

    >>> peak([[0, 0, 0], [0, 0, 5], [0, 0, 0]], (300, 300))
    (250.0, 149.0)
    """
    # Loaded here: numba takes half a second.
    from wsl.maps.kernels.peaks import highest_pixel

    values, (width, height) = as_map(score_map), as_size(size)
    x, y, certain = highest_pixel(values, width, height)
    if not certain:
        with stage("upsampling"):
            resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
        y, x = divmod(int(resized.argmax()), width)
    return float(x), float(y)
