"""Targets of a box detector at each of its locations: boxes of the present classes, and the absence of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Corners = tuple[float, float, float, float]
# In strides: the largest distance of a location from the middle of its box, and the range of its distance to the
# farthest side of the box.
_RADIUS = 1.5
_NEAREST, _FARTHEST = 2.0, 4.0


class LabelledBoxes(NamedTuple):
    """The boxes of one image, as training targets.

    Shape:
        ``classes`` (n,) are indices, ``xyxy`` (n, 4) are fractions of the image's sides, ``weights`` (n,) are in [0,
        1].
    """

    classes: npt.NDArray[np.int64]
    xyxy: FloatArray
    weights: FloatArray

    @classmethod
    def none(cls) -> LabelledBoxes:
        """An instance without boxes.

        >>> len(LabelledBoxes.none().weights)
        0
        """
        return cls(np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.float32))


class Part(NamedTuple):
    """The position of a training image in the network's input, xyxy in pixels, and whether it is mirrored."""

    image: int
    mirrored: bool
    corners: Corners

    def place(self, xyxy: FloatArray) -> FloatArray:
        """Convert boxes from fractions of the image's sides to pixels of the input.

        >>> Part(0, True, (0, 10, 100, 30)).place(np.float32([[0, 0, 0.25, 0.5]])).tolist()
        [[75.0, 10.0, 100.0, 20.0]]
        """
        left, top, right, bottom = self.corners
        if self.mirrored:
            xyxy = np.stack([1 - xyxy[:, 2], xyxy[:, 1], 1 - xyxy[:, 0], xyxy[:, 3]], 1)
        scale = np.array([right - left, bottom - top] * 2, np.float32)
        return np.asarray(xyxy * scale + np.array([left, top] * 2, np.float32), np.float32)


class Goals(NamedTuple):
    """Targets at L locations, and their weights in the loss.

    Shape:
        ``wanted`` and ``counted`` (L, K) are the targets and weights of the classes; ``sides`` (L, 4) and ``positive``
        (L,) are those of the boxes, which count only where ``positive`` is above 0.
    """

    wanted: FloatArray
    counted: FloatArray
    sides: FloatArray
    positive: FloatArray


class Assigner:
    """Assigns targets to a detector's locations: ``places`` (L, 2) on levels with ``strides`` (L,), in pixels.

    An absent class is a negative at every location of the image, and an unknown class is ignored. A present class is a
    positive near the middle of each of its boxes, on the level that fits the size of the box, with the weight of the
    box; it is a negative at all other locations inside its boxes, and is ignored outside them. Outside all images,
    every class is a negative.

    >>> one = Assigner(np.float32([[8, 8], [40, 8]]), np.float32([16, 16]))
    >>> dog = LabelledBoxes(np.array([1]), np.float32([[0, 0, 0.25, 0.25]]), np.float32([0.5]))
    >>> labels, known = np.float32([[0, 1, 0]]), np.float32([[1, 1, 1]])
    >>> goals = one.assign([Part(0, False, (0, 0, 64, 64))], [dog], labels, known)
    >>> goals.wanted.tolist(), goals.counted.tolist()
    ([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[1.0, 0.5, 1.0], [1.0, 0.0, 1.0]])
    """

    def __init__(self, places: FloatArray, strides: FloatArray) -> None:
        self._places, self._strides = places, strides
        finest, coarsest = strides.min(), strides.max()
        self._least = np.where(strides == finest, 0, _NEAREST * strides)
        self._most = np.where(strides == coarsest, np.inf, _FARTHEST * strides)

    def assign(
        self, parts: Sequence[Part], boxes: Sequence[LabelledBoxes], labels: FloatArray, known: FloatArray
    ) -> Goals:
        """The targets of one input, whose ``parts`` are images with these boxes.

        Shape:
            ``boxes`` has one entry for each image; ``labels`` and ``known`` are (images, K).
        """
        counted = np.ones((len(self._places), labels.shape[1]), np.float32)
        for part in parts:
            counted[self._inside(part.corners)] = (1 - labels[part.image]) * known[part.image]
        xyxy = np.concatenate([part.place(boxes[part.image].xyxy) for part in parts])
        classes = np.concatenate([boxes[part.image].classes for part in parts])
        weights = np.concatenate([boxes[part.image].weights for part in parts])
        return self._fill(counted, xyxy, classes, weights)

    def _fill(
        self, counted: FloatArray, xyxy: FloatArray, classes: npt.NDArray[np.int64], weights: FloatArray
    ) -> Goals:
        wanted = np.zeros_like(counted)
        goal_sides, positive = np.zeros((len(counted), 4), np.float32), np.zeros(len(counted), np.float32)
        sides = self._sides(xyxy)
        within = sides.min(2) > 0
        fits = within & self._central(xyxy) & self._fitting(sides)
        for box, label in enumerate(classes):
            counted[within[:, box], label] = 1
        for box, label in enumerate(classes):  # of two boxes at one location the smaller one is the target
            counted[fits[:, box], label] = 0
        places = np.flatnonzero(fits.any(1))
        if len(places):
            areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
            chosen = np.where(fits, areas, np.inf)[places].argmin(1)
            wanted[places, classes[chosen]] = 1
            counted[places, classes[chosen]] = weights[chosen]
            positive[places], goal_sides[places] = weights[chosen], sides[places, chosen]
        return Goals(wanted, counted, goal_sides, positive)

    def _inside(self, corners: Corners) -> npt.NDArray[np.bool_]:
        x, y = self._places.T
        left, top, right, bottom = corners
        return np.asarray((x >= left) & (x < right) & (y >= top) & (y < bottom))

    def _sides(self, xyxy: FloatArray) -> FloatArray:
        """The distances of each location to the left, top, right and bottom of each box, (L, n, 4)."""
        places = self._places[:, None]
        return np.concatenate([places - xyxy[:, :2], xyxy[:, 2:] - places], 2)

    def _central(self, xyxy: FloatArray) -> npt.NDArray[np.bool_]:
        """Which locations lie near the middle of which boxes, (L, n)."""
        middles = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        off = np.abs(self._places[:, None] - middles).max(2)
        return np.asarray(off < _RADIUS * self._strides[:, None])

    def _fitting(self, sides: FloatArray) -> npt.NDArray[np.bool_]:
        """Which locations are on the level that fits the size of which boxes, (L, n)."""
        farthest = sides.max(2)
        return np.asarray((farthest >= self._least[:, None]) & (farthest < self._most[:, None]))
