"""Check that boxes are in the coordinates of their format, by their positions in the images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

Corners = Literal["xyxy", "xywh", "inclusive", "fractions"]
_FEW = 4
_SLACK = 1.0
_UNIT = 1 + 1e-6


class Coordinates:
    """The boxes of predictions, checked all together because a single box is not sufficient evidence.

    ``corners`` is the format of a box: two corners ("xyxy"), one corner and sides ("xywh"), inclusive corners with
    pixels counted from 1 as in VOC ("inclusive"), or fractions of the image ("fractions"), which are not checked here.

    >>> coordinates = Coordinates("found.json", "xyxy")
    >>> coordinates.see(np.array([[0.25, 0.5, 0.75, 1]]), (500, 375))
    >>> coordinates.check()
    Traceback (most recent call last):
    wsl.errors.UserError: found.json: all of its boxes are within 0..1 in images such as one of 500x375 pixels: they ...
    """

    def __init__(self, place: Path | str, corners: Corners) -> None:
        self._place = place
        self._corners = corners
        self._count = 0
        self._within_unit = True
        self._whole = True
        self._outside = 0
        self._inverted = 0
        self._fit_otherwise = 0
        self._size: tuple[int, int] | None = None

    def see(self, xyxy: npt.NDArray[np.floating], size: tuple[int, int]) -> None:
        """Add the boxes of an image: (n, 4) half-open corners, as read from the file."""
        if not len(xyxy):
            return
        if self._size is None or min(size) < min(self._size):
            self._size = size
        corners = xyxy + np.array([1, 1, 0, 0]) if self._corners == "inclusive" else xyxy
        self._count += len(corners)
        self._within_unit = self._within_unit and bool((corners >= 0).all() and (corners <= _UNIT).all())
        self._whole = self._whole and bool((corners == np.floor(corners)).all())
        near, far = corners[:, :2], corners[:, 2:]
        self._outside += int((far > np.array(size) + _SLACK).any(axis=1).sum())
        self._inverted += int((far < near).any(axis=1).sum())
        # The same numbers in the other format: sides read as a corner, or a corner read as sides.
        far, proper = (far - near, far > 2 * near) if self._corners == "xywh" else (near + far, far > 0)
        fits = (near >= -_SLACK) & (far <= np.array(size) + _SLACK) & proper
        self._fit_otherwise += int(fits.all(axis=1).sum())

    @property
    def look_like_sides(self) -> bool:
        """Whether boxes are inverted as corners, and all of them fit their images as [x, y, width, height]."""
        enough = self._count >= _FEW or 2 * self._inverted > self._count
        corners = self._corners in ("xyxy", "inclusive")
        return corners and enough and self._inverted > 0 and self._fit_otherwise == self._count

    @property
    def outside(self) -> str:
        """The end of a warning about boxes outside their image, if all boxes fit it as corners; else empty."""
        corners = self._corners == "xywh" and self._count >= _FEW and self._fit_otherwise == self._count
        return " as [x, y, width, height] and fit it as [x0, y0, x1, y1]" if corners else ""

    def check(self) -> None:
        """Check, after all boxes were added, that they are in pixels and in the format.

        Raises:
            UserError: they look like fractions of their image, or like corners instead of a corner and sides.
        """
        if not self._count or self._size is None or self._corners == "fractions":
            return
        if self._within_unit and not self._whole and min(self._size) > 2:
            raise UserError(
                f"{self._place}: all of its boxes are within 0..1 in images such as one of "
                f"{self._size[0]}x{self._size[1]} pixels: they look like fractions of the image, expected pixels: "
                "multiply x by the width and y by the height"
            )
        if self._corners != "xywh" or self._count < _FEW:
            return
        if 2 * self._outside > self._count and self._fit_otherwise >= 0.95 * self._count:
            raise UserError(
                f"{self._place}: {self._outside} of its {self._count} boxes leave their image as [x, y, width, height] "
                "and fit it as [x0, y0, x1, y1]: they look like corners, expected a corner and sides: write "
                "[x0, y0, x1 - x0, y1 - y0]"
            )
