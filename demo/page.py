"""What the web page computes: one image, one model, one pooling, as a pure function."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

import heads
from heads import MapClassifier
from wsl.boxes import Boxes
from wsl.cam import gradient_maps
from wsl.config import BoxRule
from wsl.draw import draw_boxes, fit_into, overlay, save_image
from wsl.errors import UserError
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.inference import Predictor
from wsl.models import LazyOutput, Localizer

UInt8Array = npt.NDArray[np.uint8]
Method = Literal["class map", "grad-cam", "xgrad-cam"]
METHODS: tuple[Method, ...] = get_args(Method)
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
    model: Localizer,
    *,
    pooling: str = "",
    label: str = "",
    method: Method = "class map",
    threshold: float = 0.2,
    rule: BoxRule = "largest",
    opacity: float = 0.5,
    top_k: int = 5,
) -> Prediction:
    """Localize one class in an image; the one of highest score when no label is given.

    With ``pooling``, the spec of another pooling than the model's own, the same class maps are pooled anew. ``method``
    says how the map is made: the model's own class map, or the gradient of the class's score on the features.

    Raises:
        UserError: an unknown class, pooling or method, or a class map asked of a model that has none.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none").eval()
    >>> predict(np.zeros((40, 60, 3), np.uint8), model, pooling="gmp").picture.shape
    (320, 480, 3)
    """
    if method not in METHODS:
        raise UserError(f"method is {method!r}, expected one of: {', '.join(METHODS)}")
    shown = model if not pooling else _pooled_by(model, pooling)
    if label and label not in model.classes:
        raise UserError(f"the model knows no class {label!r}; it knows {', '.join(model.classes[:20])}")
    predictor = Predictor(
        shown if method == "class map" else _ByGradient(shown, method),
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
    written = {"coco": "instances.json", "voc": f"Annotations/{stem}.xml", "yolo": f"labels/{stem}.txt"}
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


def _pooled_by(model: Localizer, pooling: str) -> Localizer:
    """The same network with another pooling; the model stays as it is."""
    if not isinstance(model.head, MapClassifier):
        raise UserError(f"{model.recipe.pooling} has no class maps to pool anew: choose the model's own pooling")
    try:
        module = heads.create_pooling(pooling)
    except ValueError as error:
        raise UserError(str(error)) from error
    other = copy.deepcopy(model)
    other.head.pooling = module
    return other.eval()


class _ByGradient:
    """A localizer that shows gradient maps in the place of its class maps."""

    def __init__(self, model: Localizer, method: Method) -> None:
        self.classes, self.preprocessing, self.levels = model.classes, model.preprocessing, 0
        self.probabilities = model.probabilities
        self._model, self._method = model, method

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> _ByGradient:
        return self

    def __call__(self, images: torch.Tensor, *, taps: bool = False) -> LazyOutput:
        model, method = self._model, self._method
        features = model.backbone(images)

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            return gradient_maps(lambda x: model.head(x).scores, features, classes, method=method).maps

        return LazyOutput(model.head(features).scores, maps_of, model.grid((images.shape[-2], images.shape[-1])))


def choices(model: Localizer, prediction: Prediction) -> Sequence[str]:
    """Classes to choose from, those of highest score first."""
    top = [name for name, _ in prediction.top]
    return [*top, *(name for name in model.classes if name not in top)][:200]
