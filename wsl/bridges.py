"""Boxes as the objects of other libraries, and back.

Class numbers are positions in a list of names. Without one they are those of the sorted names of the boxes at hand,
which differ from image to image: give the model's ``classes`` where numbers have to agree.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.errors import UserError, listed
from wsl.results import Localization

_NAMES = "class_name"


def to_torch(boxes: Boxes, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Boxes as torchvision's detectors give them and torchmetrics takes them; labels are counted from 1.

    Shape:
        ``boxes`` (n, 4) float32, ``labels`` (n,) int64, ``scores`` (n,) float32.

    Raises:
        UserError: a box of a class that is not in `classes`.

    >>> to_torch(Boxes(xyxy=[[0, 0, 1, 1]], labels=["dog"]), ["cat", "dog"])["labels"]
    tensor([2])
    """
    import torch

    numbers = _numbers(boxes, classes) + 1
    return {
        "boxes": torch.from_numpy(boxes.xyxy.copy()),
        "labels": torch.from_numpy(numbers),
        "scores": torch.from_numpy(boxes.scores.copy()),
    }


def from_torch(detections: Mapping[str, Any], classes: Sequence[str]) -> Boxes:
    """The inverse of `to_torch`; targets have no scores.

    Raises:
        UserError: a label outside 1 to the number of classes, or lengths that differ.

    >>> import torch
    >>> from_torch({"boxes": torch.tensor([[0.0, 0, 1, 1]]), "labels": torch.tensor([2])}, ["cat", "dog"]).labels
    ('dog',)
    """
    arrays = {name: np.asarray(detections[name].detach().cpu()) for name in detections if name in _DETECTION}
    if not {"boxes", "labels"} <= set(arrays):
        raise UserError(f"detections have {listed(sorted(map(str, detections)))}, expected boxes and labels")
    return Boxes(
        xyxy=arrays["boxes"],
        labels=_named(arrays["labels"] - 1, classes, first=1),
        scores=arrays.get("scores", np.empty(0, np.float32)),
    )


_DETECTION = ("boxes", "labels", "scores")


def to_supervision(boxes: Boxes, classes: Sequence[str] | None = None) -> Any:
    """Boxes as ``supervision.Detections``, class names in ``data["class_name"]``, where its annotators look.

    Raises:
        UserError: supervision is not installed, or a box of a class that is not in `classes`.
    """
    supervision = _library("supervision")
    return supervision.Detections(
        xyxy=boxes.xyxy.copy(),
        confidence=boxes.scores.copy(),
        class_id=_numbers(boxes, classes),
        data={_NAMES: np.array(boxes.labels, dtype=np.str_)},
    )


def from_supervision(detections: Any, classes: Sequence[str] | None = None) -> Boxes:
    """The boxes of ``supervision.Detections``, whose names are ``data["class_name"]``, or numbers in `classes`.

    Raises:
        UserError: neither names nor `classes`, or a number that is not in them.
    """
    names = detections.data.get(_NAMES)
    if classes is None and names is None:
        raise UserError(f'detections without data["{_NAMES}"]: expected classes=[…], the names of their numbers')
    if classes is not None:
        if detections.class_id is None:
            raise UserError("detections without class_id: expected a number in classes for each box")
        names = _named(np.asarray(detections.class_id), classes, first=0)
    scores = np.empty(0, np.float32) if detections.confidence is None else detections.confidence
    return Boxes(xyxy=detections.xyxy, labels=tuple(map(str, names)), scores=scores)


def to_coco(
    found: Localization, classes: Sequence[str] | None = None, *, image_id: int | str | None = None
) -> list[dict[str, Any]]:
    """The boxes of an image in COCO's results format; `Localization.to_coco` says more.

    Raises:
        UserError: a box of a class that is not in `classes`.

    >>> to_coco(Localization(path="a.jpg", size=(8, 8), scores={}, boxes=Boxes.empty()))
    []
    """
    boxes = found.boxes
    rows = zip(_numbers(boxes, classes).tolist(), boxes.xyxy.tolist(), boxes.scores.tolist(), strict=True)
    return [
        {
            "image_id": found.id if image_id is None else image_id,
            "category_id": number + 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
            "score": score,
        }
        for number, (x0, y0, x1, y1), score in rows
    ]


def to_fiftyone(found: Localization) -> Any:
    """The boxes of an image as ``fiftyone.Detections``, in fractions of the image's sides.

    Raises:
        UserError: fiftyone is not installed.
    """
    fiftyone = _library("fiftyone")
    boxes, (width, height) = found.boxes, found.size
    rows = zip(boxes.labels, boxes.xyxy.tolist(), boxes.scores.tolist(), strict=True)
    return fiftyone.Detections(
        detections=[
            fiftyone.Detection(
                label=label,
                bounding_box=[x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
                confidence=score,
            )
            for label, (x0, y0, x1, y1), score in rows
        ]
    )


def _numbers(boxes: Boxes, classes: Sequence[str] | None) -> npt.NDArray[np.int64]:
    """The positions of the boxes' classes."""
    known = sorted(set(boxes.labels)) if classes is None else list(classes)
    places = {name: place for place, name in enumerate(known)}
    lost = sorted(set(boxes.labels) - set(places))
    if lost:
        raise UserError(f"boxes of {listed(lost)}, expected the classes {listed(known)}: give the model's classes")
    return np.array([places[name] for name in boxes.labels], np.int64)


def _named(numbers: npt.NDArray[Any], classes: Sequence[str], *, first: int) -> tuple[str, ...]:
    """The names of classes by their positions; ``first`` is how the first one is called."""
    wrong = [number for number in numbers.tolist() if not 0 <= number < len(classes)]
    if wrong:
        last = first + len(classes) - 1
        raise UserError(f"class number {wrong[0] + first}, expected {first} to {last} of {len(classes)} classes")
    return tuple(classes[number] for number in numbers.tolist())


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed: pip install {name}") from error
