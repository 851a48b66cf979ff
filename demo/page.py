"""What the web page computes: one image, one model, one pooling, as a pure function."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

import heads
from heads import MapClassifier
from wsl.boxes import Boxes
from wsl.config import BoxRule
from wsl.draw import draw_boxes, fit_into, overlay, save_image
from wsl.errors import UserError
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.inference import Predictor
from wsl.models import CamLocalizer, Localizer
from wsl.models.create_head import check_affordable

UInt8Array = npt.NDArray[np.uint8]
Method = Literal["the model's own", "gradcam", "xgradcam", "layercam", "eigencam"]
METHODS: tuple[Method, ...] = get_args(Method)
OWN_MAPS: Method = METHODS[0]
SMALLEST = 480


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a model says of an image: one class drawn and in boxes, and the classes of highest score.

    ``size`` is the image's (width, height), in whose pixels boxes and point are; a small image's picture is larger.
    """

    picture: UInt8Array
    size: tuple[int, int]
    label: str
    boxes: Boxes
    point: tuple[float, float]
    top: tuple[tuple[str, float], ...]


def predict(
    image: UInt8Array,
    model: Localizer | CamLocalizer,
    *,
    pooling: str = "",
    label: str = "",
    method: Method = OWN_MAPS,
    threshold: float = 0.2,
    rule: BoxRule = "largest",
    opacity: float = 0.5,
    top_k: int = 5,
) -> Prediction:
    """Localize one class in an image; the one of highest score when no label is given.

    With ``pooling``, the spec of another pooling than the model's own, the same class maps are pooled anew. ``method``
    is a CAM method in the place of the model's own maps.

    Raises:
        UserError: an unknown class, pooling or method, or another pooling for a model without class maps.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none").eval()
    >>> predict(np.zeros((40, 60, 3), np.uint8), model, pooling="gmp").picture.shape
    (320, 480, 3)
    """
    if method not in METHODS:
        raise UserError(f"method is {method!r}, expected one of: {', '.join(METHODS)}")
    shown = _shown(model, pooling, method)
    if label and label not in model.classes:
        raise UserError(f"the model knows no class {label!r}; it knows {', '.join(model.classes[:20])}")
    predictor = Predictor(
        shown,
        classes=(label,) if label else (),
        threshold=threshold,
        box_rule=rule,
        refine="none",
        device="cpu",
        precision="fp32",
    )
    found = predictor(image)
    name = label or next(iter(found.scores))
    return Prediction(
        picture=_picture(image, found.maps[name], found.boxes, opacity),
        size=found.size,
        label=name,
        boxes=found.boxes,
        point=found.points[name],
        top=tuple(found.scores.items())[:top_k],
    )


def write_downloads(prediction: Prediction, name: str, folder: Path) -> list[Path]:
    """The boxes as COCO's, VOC's and YOLO's files, and the picture, in ``folder``."""
    image = Labelled(name=name, size=prediction.size, boxes=prediction.boxes)
    stem = Path(name).stem
    files = []
    written = {"coco": "annotations/instances_all.json", "voc": f"Annotations/{stem}.xml", "yolo": f"labels/{stem}.txt"}
    for known, file in written.items():
        FORMATS[known].write(iter([image]), folder / known, [prediction.label])
        target = folder / f"{stem}-{known}{Path(file).suffix}"
        files.append((folder / known / file).replace(target))
    save_image(folder / f"{stem}-overlay.png", prediction.picture)
    return [*files, folder / f"{stem}-overlay.png"]


def _picture(image: UInt8Array, score_map: npt.ArrayLike, boxes: Boxes, opacity: float) -> UInt8Array:
    """Heatmap and boxes over the image, which is enlarged when letters would not fit on it."""
    side = max(image.shape[:2])
    canvas = image if side >= SMALLEST else fit_into(image, (SMALLEST, SMALLEST))
    enlarged = boxes.scaled(image.shape[1::-1], to=canvas.shape[1::-1])
    return draw_boxes(overlay(canvas, score_map, opacity=opacity), enlarged)


def _pooled_by(model: Localizer | CamLocalizer, pooling: str) -> Localizer:
    """The same network with another pooling; the model stays as it is."""
    if not isinstance(model, Localizer) or not isinstance(model.head, MapClassifier):
        raise UserError("the model has no class maps to pool anew: choose the model's own pooling")
    try:
        check_affordable(lambda: heads.create_pooling(pooling), f"the pooling {pooling[:80]}")
        module = heads.create_pooling(pooling)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error
    other = copy.deepcopy(model)
    other.head.pooling = module
    # A probe's scores would be the same whatever pools the maps.
    other.probe, other.recipe = None, dataclasses.replace(other.recipe, probe=None)
    return other.eval()


def _shown(model: Localizer | CamLocalizer, pooling: str, method: Method) -> Localizer | CamLocalizer:
    """The model with another pooling, or with maps by another method."""
    if pooling:
        model = _pooled_by(model, pooling)
    if method == OWN_MAPS:
        return model
    return model.by(method) if isinstance(model, CamLocalizer) else CamLocalizer.of(model, method=method)


def choices(model: Localizer | CamLocalizer, prediction: Prediction) -> Sequence[str]:
    """Classes to choose from, those of highest score first."""
    top = [name for name, _ in prediction.top]
    return [*top, *(name for name in model.classes if name not in top)][:200]
