"""Computations of the page as pure functions: variants of a model, its result for an image, and the drawing."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import heads
from heads import MapClassifier
from wsl.boxes import Boxes
from wsl.config import BoxConfig, BoxRule, Refine
from wsl.draw import draw_boxes, fit_into, overlay
from wsl.errors import UserError
from wsl.inference import Predictor
from wsl.inference.drawing import boxes_of_maps
from wsl.models import CamLocalizer, Localizer, resolve_refine
from wsl.models.create_head import check_affordable, user_errors
from wsl.results import Localization
from wsl.thresholds.stored import resolve_boxes

UInt8Array = npt.NDArray[np.uint8]
AUTO = "auto"
_SHOWN = (480, 1280)  # sides of a picture: large enough for labels, small enough for a browser


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """The result of a model for an image: its class scores, and the map of one class.

    ``boxes`` are the default settings for drawing its boxes.
    """

    image: UInt8Array
    found: Localization
    label: str
    boxes: BoxConfig

    def boxes_at(self, threshold: float | None = None, rule: BoxRule | None = None) -> Boxes:
        """The boxes of the class at a threshold and by a rule; None takes the defaults.

        Raises:
            UserError: a threshold out of range.
        """
        assert self.found.maps is not None
        own = self.boxes
        settings = dataclasses.replace(
            own,
            threshold=own.threshold if threshold is None else threshold,
            box_rule=own.box_rule if rule is None else rule,
        )
        maps = {self.label: self.found.maps[self.label]}
        return boxes_of_maps(maps, self.found.scores, self.found.size, settings)


def variant(model: Localizer | CamLocalizer, *, pooling: str = "", method: str = AUTO) -> Localizer | CamLocalizer:
    """The same network with another pooling of its class maps, or with maps by a CAM method; else the model itself.

    Raises:
        UserError: an unknown pooling or method, or another pooling for a model without class maps.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none").eval()
    >>> variant(model, pooling="gmp").head.pooling, variant(model) is model
    (gmp, True)
    """
    pooled = _pooled_by(model, pooling) if pooling else model
    if method == AUTO:
        return pooled
    return pooled.by(method) if isinstance(pooled, CamLocalizer) else CamLocalizer.of(pooled, method=method)


def look(
    image: UInt8Array,
    model: Localizer | CamLocalizer,
    *,
    name: str = "",
    label: str = "",
    method: str = AUTO,
    refine: Refine = "auto",
) -> Look:
    """Localize one class in an image: that with the highest score if no label is given.

    ``name`` is that of the run or classifier, and ``method`` the CAM method of the model's maps, for which a threshold
    may have been selected.

    Raises:
        UserError: an unknown class or refinement.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none").eval()
    >>> seen = look(np.zeros((40, 60, 3), np.uint8), model, label="dog")
    >>> seen.found.maps["dog"].shape, draw(seen, seen.boxes_at(0.3)).shape
    ((28, 28), (320, 480, 3))
    """
    if label and label not in model.classes:
        raise UserError(f"the model knows no class {label!r}; it knows {', '.join(model.classes[:20])}")
    boxes, refine = own_boxes(model, name=name, method=method, refine=refine)
    predictor = Predictor(model, classes=(label,) if label else (), refine=refine, device="cpu", precision="fp32")
    found = predictor(image)
    return Look(image=image, found=found, label=label or next(iter(found.maps or ())), boxes=boxes)


def own_boxes(model: Localizer | CamLocalizer, *, name: str, method: str, refine: Refine) -> tuple[BoxConfig, Refine]:
    """The settings of boxes selected for a model or for its refinement, and the refinement; as for `look`.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none").eval()
    >>> own_boxes(model, name="", method=AUTO, refine="guided")[0].threshold
    0.3
    """
    refine = resolve_refine(refine, model)
    return resolve_boxes(BoxConfig(), name, refine, method)[0], refine


def draw(seen: Look, boxes: Boxes, *, opacity: float = 0.5) -> UInt8Array:
    """Heatmap and boxes over the image. Small images are enlarged so that labels fit, large ones are reduced."""
    assert seen.found.maps is not None
    image, (least, most) = seen.image, _SHOWN
    side = max(image.shape[:2])
    canvas = image if least <= side <= most else fit_into(image, (least, least) if side < least else (most, most))
    placed = boxes.scaled(image.shape[1::-1], to=canvas.shape[1::-1])
    return draw_boxes(overlay(canvas, seen.found.maps[seen.label], opacity=opacity), placed)


def _pooled_by(model: Localizer | CamLocalizer, pooling: str) -> Localizer:
    """The same network with another pooling; the model is not changed."""
    if not isinstance(model, Localizer) or not isinstance(model.head, MapClassifier):
        raise UserError("the model has no class maps to pool anew: choose the model's own pooling")
    with user_errors():
        check_affordable(lambda: heads.create_pooling(pooling), f"the pooling {pooling[:80]}")
        module = heads.create_pooling(pooling)
    other = copy.deepcopy(model)
    other.head.pooling = module
    # A probe's scores do not depend on the pooling.
    other.probe, other.recipe = None, dataclasses.replace(other.recipe, probe=None)
    return other.eval()
