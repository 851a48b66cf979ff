"""Predictions for tasks of Label Studio: finding the images, localizing, and writing the results."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl.config import PickConfig
from wsl.errors import BadImageError, UserError
from wsl.formats.exchange.label_studio import image_name, own_name, rectangle
from wsl.formats.exchange.parsing import rows_of
from wsl.images.archives import is_image_file
from wsl.images.sources import inside
from wsl.inference import Predictor, Source
from wsl.labelling.interface import Interface
from wsl.results import Localization

log = logging.getLogger("wsl")

MOST_TASKS = 1000
_BEST = PickConfig()


class Annotator:
    """Answers the tasks of projects with a predictor, for images below a folder.

    `pick` selects the classes of each image among those that a project asks for. `version` is the model version shown
    in Label Studio.

    >>> import numpy as np
    >>> from wsl.models import Localizer
    >>> predictor = Predictor(Localizer("tinynet", classes=["cat", "dog"], weights="none"), device="cpu")
    >>> asked = "<RectangleLabels name='box' toName='photo'><Label value='dog'/></RectangleLabels>"
    >>> interface = f"<View><Image name='photo' value='$image'/>{asked}</View>"
    >>> Annotator(predictor, Path("photos"), "mine").answer([], interface)
    []
    """

    def __init__(self, predictor: Predictor, image_root: Path, version: str, *, pick: PickConfig = _BEST) -> None:
        self.predictor, self.image_root, self.version, self.pick = predictor, image_root, version, pick

    def answer(self, tasks: Sequence[Any], interface: str) -> list[dict[str, Any]]:
        """A prediction for each task, in order; for an unreadable image it is empty, and a warning is logged.

        Raises:
            UserError: the interface asks for nothing that the model knows, a task has no image field, or there are too
                many tasks.
        """
        asked = Interface.read(interface, self.predictor.classes)
        if len(tasks) > MOST_TASKS:
            raise UserError(f"{len(tasks)} tasks at once, expected at most {MOST_TASKS}")
        files = [self._file(task, asked.field) for task in tasks]
        wanted = [name for name in asked.classes if name in self.pick.classes or not self.pick.classes]
        there = [Source(file, classes=wanted) for file in files if isinstance(file, Path)]
        found = iter(self.predictor(there, errors="return"))
        seen = [next(found) if isinstance(file, Path) else file for file in files]
        return [self._prediction(one, asked) for one in seen]

    def _file(self, task: Any, field: str) -> Path | BadImageError:
        """The image file of a task, below the image root."""
        data = task.get("data") if isinstance(task, Mapping) else None
        url = data.get(field) if isinstance(data, Mapping) else None
        if not isinstance(url, str):
            raise UserError(f"a task has no data.{field}, in which the project's interface expects the image")
        name = own_name(task, image_name(url))
        try:
            file = inside(self.image_root, name, "a task")
        except UserError as error:
            return BadImageError(str(error))
        if not is_image_file(file):
            return BadImageError(f"{file}: no such image; --image-root is the folder with the project's images")
        return file

    def _prediction(self, found: Localization | BadImageError, asked: Interface) -> dict[str, Any]:
        if isinstance(found, BadImageError):
            log.warning("no prediction: %s", found)
            return {"model_version": self.version, "score": 0.0, "result": []}
        kept = self._picked(found)
        results = [*_rectangles(found, asked, kept), *_choices(found, asked, kept)]
        best = max((result["score"] for result in results), default=0.0)
        return {"model_version": self.version, "score": best, "result": results}

    def _picked(self, found: Localization) -> Sequence[str]:
        """The classes selected for an image by their probabilities."""
        if self.pick.classes:
            return tuple(found.points)
        best = sorted(found.points, key=lambda name: -found.scores[name])
        likely = [name for name in best if found.scores[name] >= self.pick.score_threshold]
        return likely[: self.pick.top_k]


def _rectangles(found: Localization, asked: Interface, kept: Sequence[str]) -> list[dict[str, Any]]:
    control = asked.rectangles
    if control is None:
        return []
    rows = [row for row in rows_of(found.boxes) if row[0] in kept and row[0] in control.labels]
    return [
        {
            **rectangle(found.size, f"box-{number}", control.labels[label], score, xyxy),
            "from_name": control.name,
            "to_name": control.image,
        }
        for number, (label, score, xyxy) in enumerate(rows)
    ]


def _choices(found: Localization, asked: Interface, kept: Sequence[str]) -> list[dict[str, Any]]:
    """The classes of an image as choices for the whole image."""
    control = asked.choices
    named = [label for label in kept if control is not None and label in control.labels]
    if control is None or not named:
        return []
    return [
        {
            "id": "choices",
            "type": "choices",
            "from_name": control.name,
            "to_name": control.image,
            "value": {"choices": [control.labels[label] for label in named]},
            "score": max(found.scores[label] for label in named),
        }
    ]
