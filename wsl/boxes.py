"""Labelled boxes, and the box convention.

Boxes are float ``xyxy``, half-open, in pixels of the original image with its EXIF orientation applied. A box that
covers exactly the top left pixel is ``(0, 0, 1, 1)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """Labelled boxes of one image, predicted or annotated.

    Shape:
        ``xyxy`` is (n, 4) float32, ``labels`` n class names, ``scores`` (n,) float32 (by default ones), ``difficult``
        (n,) bool (by default all False).

    Raises:
        UserError: lengths differ, a coordinate or score is not a finite number, or a box is inverted.

    >>> boxes = Boxes(xyxy=[[0, 0, 10, 20]], labels=["dog"])
    >>> len(boxes), boxes.area.tolist(), boxes.scores.tolist()
    (1, [200.0], [1.0])
    """

    xyxy: FloatArray
    labels: tuple[str, ...]
    scores: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    difficult: BoolArray = field(default_factory=lambda: np.empty(0, np.bool_))

    def __post_init__(self) -> None:
        xyxy = as_numbers(self.xyxy, "boxes", np.float32)
        if xyxy.size % 4:
            raise UserError(f"boxes have shape {xyxy.shape}, expected (n, 4) as x0, y0, x1, y1")
        xyxy = xyxy.reshape(-1, 4)
        n = len(xyxy)
        scores = as_numbers(self.scores, "scores", np.float32)
        difficult = np.asarray(self.difficult, np.bool_)
        scores = np.ones(n, np.float32) if scores.size == 0 else scores
        difficult = np.zeros(n, np.bool_) if difficult.size == 0 else difficult
        if not (len(self.labels) == len(scores) == len(difficult) == n):
            raise UserError(
                f"{n} boxes with {len(self.labels)} labels, {len(scores)} scores and {len(difficult)} difficult "
                "flags: expected as many of each"
            )
        if not (np.isfinite(xyxy).all() and np.isfinite(scores).all()):
            raise UserError("a box coordinate or score is not finite: expected numbers")
        if n and (xyxy[:, 2:] < xyxy[:, :2]).any():
            bad = xyxy[(xyxy[:, 2:] < xyxy[:, :2]).any(axis=1)][0].tolist()
            raise UserError(f"box {bad} is inverted: expected (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1")
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "difficult", difficult)

    @classmethod
    def of_valid(cls, xyxy: FloatArray, labels: tuple[str, ...], scores: FloatArray) -> Boxes:
        """Boxes from float32 arrays that are known to be valid, without validation.

        >>> Boxes.of_valid(np.zeros((1, 4), np.float32), ("dog",), np.ones(1, np.float32)).labels
        ('dog',)
        """
        boxes = object.__new__(cls)
        object.__setattr__(boxes, "xyxy", xyxy)
        object.__setattr__(boxes, "labels", labels)
        object.__setattr__(boxes, "scores", scores)
        object.__setattr__(boxes, "difficult", np.zeros(len(xyxy), np.bool_))
        return boxes

    @classmethod
    def empty(cls) -> Boxes:
        """An empty set of boxes.

        >>> len(Boxes.empty())
        0
        """
        return cls(xyxy=np.empty((0, 4), np.float32), labels=())

    @classmethod
    def concatenate(cls, parts: Sequence[Boxes]) -> Boxes:
        """All boxes of ``parts`` in order.

        >>> one = Boxes(xyxy=[[0, 0, 1, 1]], labels=["dog"])
        >>> Boxes.concatenate([one, one]).labels
        ('dog', 'dog')
        """
        if not parts:
            return cls.empty()
        return cls(
            xyxy=np.concatenate([part.xyxy for part in parts]),
            labels=tuple(label for part in parts for label in part.labels),
            scores=np.concatenate([part.scores for part in parts]),
            difficult=np.concatenate([part.difficult for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.xyxy)

    @property
    def area(self) -> FloatArray:
        """Areas in square pixels, (n,)."""
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        return np.asarray(sides[:, 0] * sides[:, 1], np.float32)

    def select(self, index: npt.NDArray[Any] | Sequence[int]) -> Boxes:
        """The boxes at ``index`` (integers in the desired order, or a boolean mask).

        >>> Boxes(xyxy=[[0, 0, 1, 1], [0, 0, 2, 2]], labels=["cat", "dog"]).select([1]).labels
        ('dog',)
        """
        index = np.asarray(index)
        chosen = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.intp)
        # Not through the constructor, because validated boxes stay valid.
        taken = object.__new__(Boxes)
        object.__setattr__(taken, "xyxy", self.xyxy[chosen])
        object.__setattr__(taken, "labels", tuple(self.labels[i] for i in chosen.tolist()))
        object.__setattr__(taken, "scores", self.scores[chosen])
        object.__setattr__(taken, "difficult", self.difficult[chosen])
        return taken

    def scaled(self, size: Sequence[int], to: Sequence[int]) -> Boxes:
        """The boxes of an image of ``size`` (width, height) in pixels of a copy resized to ``to``.

        >>> Boxes(xyxy=[[0, 0, 4, 2]], labels=["dog"]).scaled((4, 2), to=(40, 20)).xyxy.tolist()
        [[0.0, 0.0, 40.0, 20.0]]
        """
        ratio = np.array([to[0] / size[0], to[1] / size[1]] * 2)
        return Boxes(xyxy=self.xyxy * ratio, labels=self.labels, scores=self.scores, difficult=self.difficult)

    def of(self, label: str) -> Boxes:
        """The boxes of one class.

        >>> len(Boxes(xyxy=[[0, 0, 1, 1]], labels=["cat"]).of("dog"))
        0
        """
        return self.select([i for i, name in enumerate(self.labels) if name == label])

    def best(self, label: str) -> FloatArray | None:
        """The highest-scored box of a class (ties go to the first), (4,); None if the class has no box.

        >>> boxes = Boxes(xyxy=[[0, 0, 1, 1], [0, 0, 2, 2]], labels=["cat", "cat"], scores=[0.3, 0.6])
        >>> boxes.best("cat").tolist(), boxes.best("dog")
        ([0.0, 0.0, 2.0, 2.0], None)
        """
        own = [i for i, name in enumerate(self.labels) if name == label]
        return self.xyxy[own[int(self.scores[own].argmax())]] if own else None

    def to_torch(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """The boxes as torchvision's detectors give them: tensors ``boxes``, ``labels``, ``scores``.

        Labels are positions in `classes` counted from 1, since 0 is the background; without `classes`, in the sorted
        names of the boxes' own classes.

        Raises:
            UserError: a box of a class that is not in `classes`.

        >>> Boxes(xyxy=[[0, 0, 1, 1]], labels=["dog"]).to_torch(["cat", "dog"])["labels"].tolist()
        [2]
        """
        from wsl.bridges import to_torch

        return to_torch(self, classes)

    @classmethod
    def from_torch(cls, detections: Mapping[str, Any], classes: Sequence[str]) -> Boxes:
        """The boxes of a detector's output or target: tensors ``boxes``, ``labels`` counted from 1, and ``scores``.

        Raises:
            UserError: a label outside 1 to the number of classes, or lengths that differ.
        """
        from wsl.bridges import from_torch

        return from_torch(detections, classes)

    def to_supervision(self, classes: Sequence[str] | None = None) -> Any:
        """The boxes as ``supervision.Detections``, to draw, track or count them.

        ``class_id`` is the position in `classes`; without `classes`, in the sorted names of the boxes' own classes.

        Raises:
            UserError: supervision is not installed, or a box of a class that is not in `classes`.
        """
        from wsl.bridges import to_supervision

        return to_supervision(self, classes)

    @classmethod
    def from_supervision(cls, detections: Any, classes: Sequence[str] | None = None) -> Boxes:
        """The boxes of ``supervision.Detections``, named by `classes` or by their ``data["class_name"]``.

        Raises:
            UserError: neither names nor `classes`, or a number that is not in them.
        """
        from wsl.bridges import from_supervision

        return from_supervision(detections, classes)
