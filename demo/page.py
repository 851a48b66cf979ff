"""What the web page computes: one image, one model, one pooling, as a pure function."""

from __future__ import annotations

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
from wsl.config import BoxConfig, BoxRule
from wsl.data import fit, to_tensor
from wsl.draw import draw_boxes, fit_into, overlay, save_image
from wsl.errors import UserError
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.maps import peak
from wsl.models import Localizer
from wsl.predict import boxes_of_class

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
    head = _pooled_by(model, pooling)
    pixels, geometry = fit(image, model.preprocessing)
    batch = to_tensor(torch.from_numpy(pixels[None]), model.preprocessing, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        features = model.backbone(batch)
        scores = head(features).scores
        probabilities = model.probabilities(scores)[0]
        order = probabilities.argsort(descending=True, stable=True).tolist()
        number = order[0] if not label else _number(model, label)
        if method == "class map":
            score_map = head(features).maps[0, number]
        else:
            chosen = torch.tensor([[number]])
            score_map = gradient_maps(lambda x: head(x).scores, features, chosen, method=method).maps[0, 0]
    shown = geometry.crop_map(score_map.float().numpy(), model.grid)
    name, size = model.classes[number], geometry.original
    boxes = boxes_of_class(
        shown, name, float(probabilities[number]), size, BoxConfig(threshold=threshold, box_rule=rule)
    )
    return Prediction(
        picture=_picture(image, shown, boxes, opacity),
        size=size,
        label=name,
        boxes=boxes,
        point=peak(shown, size),
        top=tuple((model.classes[i], float(probabilities[i])) for i in order[:top_k]),
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
    enlarged = Boxes(xyxy=boxes.xyxy * (max(canvas.shape[:2]) / side), labels=boxes.labels, scores=boxes.scores)
    return draw_boxes(overlay(canvas, score_map, opacity=opacity), enlarged)


def _pooled_by(model: Localizer, pooling: str) -> torch.nn.Module:
    """The model's head, or the same with another pooling; the model stays as it is."""
    if not pooling:
        return model.head
    if not isinstance(model.head, MapClassifier):
        raise UserError(f"{model.recipe.pooling} has no class maps to pool anew: choose the model's own pooling")
    try:
        module = heads.create_pooling(pooling)
    except ValueError as error:
        raise UserError(str(error)) from error

    class Pooled(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> heads.HeadOutput:
            maps = model.head(features).maps
            return heads.HeadOutput(module(maps), maps)

    return Pooled().eval()


def _number(model: Localizer, label: str) -> int:
    if label not in model.classes:
        raise UserError(f"the model knows no class {label!r}; it knows {', '.join(model.classes[:20])}")
    return model.classes.index(label)


def choices(model: Localizer, prediction: Prediction) -> Sequence[str]:
    """Classes to choose from, those of highest score first."""
    top = [name for name, _ in prediction.top]
    return [*top, *(name for name in model.classes if name not in top)][:200]
