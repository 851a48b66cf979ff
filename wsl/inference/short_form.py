"""Localization in one call: from a model and images to localizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from wsl.config import BoxRule, BoxScore, Precision, Refine
from wsl.inference.inputs import Sources
from wsl.inference.predictor import Predictor
from wsl.inference.stream import Stream
from wsl.maps.refine import Refinement
from wsl.models import Model
from wsl.results import Localization


class PredictorSettings(TypedDict, total=False):
    """The keyword arguments of `Predictor`, all of them optional."""

    top_k: int | None
    classes: Sequence[str]
    score_threshold: float
    threshold: float | None
    box_rule: BoxRule | None
    min_area: float | None
    box_score: BoxScore | None
    nms_iou: float
    detector: bool
    refine: Refine | Refinement
    tta: Sequence[str | int]
    image_size: int | None
    device: str
    precision: Precision
    batch_size: int | None
    max_scores: int | None
    max_pixels: int


def localize(
    model: Model, sources: Sources, *, strict: bool = False, **settings: Unpack[PredictorSettings]
) -> Stream[Localization]:
    """Localize classes in images: an iterator over `Localization`, one per image, in constant memory.

    `sources` is a file, folder or glob, or an iterable of images: paths, bytes, arrays, Pillow images, tensors.
    `settings` are those of `Predictor`: ``top_k``, ``classes``, ``score_threshold``, ``threshold``, ``box_rule``,
    ``refine``, ``tta``, ``image_size``, ``device``, ``precision``, ``batch_size``. Images that cannot be read are
    logged and left out unless `strict`.

    Raises:
        UserError: a source has no images, a class or setting is unknown, or a setting is out of range.

    >>> import tempfile, cv2, numpy as np
    >>> from wsl.models import Localizer
    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = cv2.imwrite(f"{folder}/a.png", np.zeros((40, 60, 3), np.uint8))
    ...     [(found.id, found.size) for found in localize(model, folder)]
    [('a', (60, 40))]
    """
    return Predictor(model, **settings).stream(sources, errors="raise" if strict else "skip")
