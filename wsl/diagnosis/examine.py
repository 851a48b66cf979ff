"""Examination of one image, with the same predictor that localizes."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wsl.boxes import FloatArray
from wsl.diagnosis.evidence import Decoded, Evidence, Hidden, Seen
from wsl.diagnosis.failures import short_of_memory
from wsl.images import Geometry, to_rgb
from wsl.images.facts import image_facts
from wsl.inference import Predictor, Source
from wsl.inference.inputs import Input
from wsl.inference.opening import OpenedModel
from wsl.maps import normalise, resize_map
from wsl.models import made_by
from wsl.results import Localization

# Seconds from which on a first call is repeated, because it may include compilation.
_WORTH_REPEATING = 0.5


def decode(path: Path) -> Decoded:
    """Read a picture and the facts from the header of its file.

    Raises:
        BadImageError: the image cannot be read.
    """
    facts = image_facts(path)
    return Decoded(to_rgb(path), facts)


def examine(opened: OpenedModel, decoded: Decoded, path: Path, label: str = "") -> Evidence:
    """Examine one image for the class `label`, by default the class of highest probability.

    An out-of-memory error is recorded as the ``failure`` of the evidence.

    Raises:
        UserError: the model does not know the class.
    """
    predictor = opened.predictor(max_scores=None)
    since = time.perf_counter()
    prepared = predictor.prepare(Source(path, classes=[label] if label else None))
    evidence = Evidence(
        image=path,
        decoded=decoded,
        boxes=opened.boxes,
        refine=opened.refine,
        method=made_by(opened.model),
        device=predictor.device.type,
        arithmetic=str(predictor.dtype).removeprefix("torch."),
        accelerated=torch.cuda.is_available(),
        seconds={"decoding": time.perf_counter() - since},
    )
    try:
        images = predictor.images([prepared])
        evidence = dataclasses.replace(evidence, seen=_seen(predictor, prepared.geometry, images))
        return _localized(evidence, opened, predictor, prepared, images)
    except Exception as error:
        if not short_of_memory(error):
            raise
        return dataclasses.replace(evidence, failure=error)


def _localized(
    evidence: Evidence, opened: OpenedModel, predictor: Predictor, prepared: Input, images: torch.Tensor
) -> Evidence:
    plain = predictor if opened.refine == "none" else opened.predictor(refine="none", max_scores=None)
    raw, found = _timed(plain, prepared), _timed(predictor, prepared)
    total = sum(raw.found.scores.values())
    if not raw.found.maps:  # no score is finite, so no class is selected
        return dataclasses.replace(evidence, scores=raw.found.scores)
    label, score_map = next(iter(raw.found.maps.items()))
    refining = 0.0 if plain is predictor else max(0.0, found.seconds - raw.seconds)
    return dataclasses.replace(
        evidence,
        scores=raw.found.scores,
        exclusive=abs(total - 1) < 1e-6,
        label=label,
        raw=score_map,
        found=found.found,
        hidden=_hidden(predictor, prepared.geometry, images, score_map, label),
        seconds={**evidence.seconds, "the network": raw.seconds, "refinement": refining},
    )


class _Timed(NamedTuple):
    found: Localization
    seconds: float


def _timed(predictor: Predictor, prepared: Input) -> _Timed:
    """A localization and its time in seconds, without compilation."""
    for last in (False, True):
        since = time.perf_counter()
        (found,) = predictor.predict([prepared])
        seconds = time.perf_counter() - since
        if last or seconds < _WORTH_REPEATING:
            break
    return _Timed(found, seconds)


def _seen(predictor: Predictor, geometry: Geometry, images: torch.Tensor) -> Seen:
    """The network's input without normalisation."""
    settings = predictor.preprocessing
    pixels = images[0].float().cpu().numpy().transpose(1, 2, 0)
    pixels = 255 * (pixels * np.asarray(settings.std, np.float32) + np.asarray(settings.mean, np.float32))
    shown = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Seen(shown, geometry, settings.resize, settings.mean, settings.std)


def _hidden(
    predictor: Predictor, geometry: Geometry, images: torch.Tensor, score_map: FloatArray, label: str
) -> Hidden | None:
    """The probability of a class for the whole image, and without the hottest or the coldest quarter of its map."""
    if not normalise(score_map).any():
        return None
    several = images.repeat(3, 1, 1, 1)
    own = geometry.crop_pixels(images)
    mean, (rows, columns) = own.mean((0, 2, 3))[:, None], own.shape[-2:]
    order = resize_map(score_map, (columns, rows)).ravel().argsort(kind="stable")
    quarter = len(order) // 4
    for number, places in ((1, order[len(order) - quarter :]), (2, order[:quarter])):
        mask = np.zeros(rows * columns, bool)
        mask[places] = True
        part = geometry.crop_pixels(several)[number]  # a view
        part[:, torch.from_numpy(mask.reshape(rows, columns)).to(part.device)] = mean
    column = predictor.classes.index(label)
    return Hidden(*predictor.probabilities(several)[:, column].tolist())
