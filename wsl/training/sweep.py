"""Evaluation of many poolings on the same class maps: the network runs once, each pooling takes milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from heads import create_pooling
from wsl.config import RuntimeConfig
from wsl.data import stacked_targets
from wsl.errors import BadImageError, RunError, UserError
from wsl.inference import Predictor
from wsl.inference.reading import Reader
from wsl.metrics import average_precision
from wsl.models import Localizer
from wsl.progress import track
from wsl.samples import Sample, SampleSet
from wsl.training.features import report_skipped
from wsl.training.validation import localize_present, validate


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMaps:
    """The class maps of a data set in memory, with the labels of its images.

    ``maps`` (N, K, h, w) is float32; ``targets`` (N, K) is 1 for present and 0 for absent classes; ``known`` (N, K) is
    0 where the label is unknown, else 1. ``pointing`` is the pointing accuracy of the maps, which does not depend on
    the pooling (None without annotated boxes). ``skipped`` is the number of images that could not be read.
    """

    classes: tuple[str, ...]
    maps: torch.Tensor
    targets: np.ndarray
    known: np.ndarray
    pointing: float | None
    multi_label: bool
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingFigures:
    """The figures of one pooling of given class maps; None where undefined."""

    pooling: str
    mAP: float | None
    pointing: float | None


def class_maps(
    model: Localizer, samples: SampleSet, *, runtime: RuntimeConfig | None = None, batch_size: int = 16
) -> ClassMaps:
    """Run the model on the images once, for `sweep_poolings`.

    Raises:
        UserError: the samples have other classes than the model.
        RunError: no image could be read.
    """
    if samples.classes != model.classes:
        raise UserError(f"the samples' classes ({len(samples.classes)}) are not the model's ({len(model.classes)})")
    runtime = runtime or RuntimeConfig()
    predictor = Predictor(
        model, refine="none", device=runtime.device, precision=runtime.measuring, batch_size=batch_size
    )
    known: set[str] = set()
    rows: list[int] = []
    maps: list[torch.Tensor] = []
    every = predictor.class_maps((sample.path for sample in samples.samples), workers=runtime.workers)
    for row, one in enumerate(track(every, "class maps", len(samples))):
        if isinstance(one, BadImageError):
            report_skipped([str(one)], known, runtime.strict)
        else:
            rows.append(row)
            maps.append(one)
    if not rows:
        raise RunError("none of the images could be read")
    readable = SampleSet(classes=samples.classes, samples=tuple(samples.samples[row] for row in rows))
    values, certain = stacked_targets(readable)
    return ClassMaps(
        classes=samples.classes,
        maps=torch.stack(maps),
        targets=values,
        known=certain,
        pointing=_pointing(model, readable.samples, maps),
        multi_label=model.recipe.multi_label,
        skipped=len(known),
    )


def _pointing(model: Localizer, samples: Sequence[Sample], maps: Sequence[torch.Tensor]) -> float | None:
    reader, unknown = Reader(model.classes, boxes=None), np.zeros(len(model.classes))
    found = (
        (localize_present(model, reader, sample, unknown, one.numpy()), sample)
        for sample, one in zip(samples, maps, strict=True)
    )
    return validate(model.classes, found).pointing


def sweep_poolings(maps: ClassMaps, poolings: Sequence[str]) -> list[PoolingFigures]:
    """Pool the same class maps by each of the spec strings, and evaluate the scores.

    The maps are those of one trained head. Other values of k, beta, alpha or a temperature are tried on them without
    training or running the network again. A pooling with learnt parameters has its initial values. The mAP is the mean
    over classes with positive images. The pointing accuracy is that of the maps, which the pooling does not change.

    Raises:
        UserError: a pooling is unknown, needs more than the class maps (``attention``, ``cat``, ``adaptive``), or takes
            only non-negative maps.

    >>> maps = torch.tensor([[[[4.0, 0.0]]], [[[3.0, 3.0]]]])
    >>> known = ClassMaps(
    ...     classes=("dog",),
    ...     maps=maps,
    ...     targets=np.array([[1], [0]]),
    ...     known=np.ones((2, 1)),
    ...     pointing=None,
    ...     multi_label=True,
    ...     skipped=0,
    ... )
    >>> [(row.pooling, row.mAP) for row in sweep_poolings(known, ["gmp", "gap"])]
    [('gmp', 1.0), ('gap', 0.5)]
    """
    figures = []
    for spec in poolings:
        scores = _pool(maps, spec)
        figures.append(PoolingFigures(pooling=spec, mAP=_mean_ap(scores, maps), pointing=maps.pointing))
    return figures


@torch.inference_mode()
def _pool(maps: ClassMaps, spec: str) -> np.ndarray:
    """Probabilities in double precision, (N, K)."""
    try:
        pooling = create_pooling(spec, classes=len(maps.classes), channels=len(maps.classes)).eval()
        if pooling.reads_features or pooling.values_per_map != 1:
            raise ValueError(
                f"pooling {spec!r} has learnt weights of its own: expected a pooling that reads only class maps, "
                "such as kmax(k=0.2); train and evaluate this one instead"
            )
        if pooling.for_signed_maps is not None:
            raise ValueError(f"pooling {spec!r} takes maps of 0 or more: give it {pooling.for_signed_maps}")
        scores = pooling(maps.maps).double()
    except ValueError as error:
        raise UserError(str(error)) from error
    # A sigmoid preserves the ranking of images, a softmax may change it.
    return np.asarray(scores if maps.multi_label else scores.softmax(-1))


def _mean_ap(scores: np.ndarray, maps: ClassMaps) -> float | None:
    known = maps.known > 0
    present = np.flatnonzero((known & (maps.targets == 1)).any(axis=0))
    if not len(present):
        return None
    rows = ((k, known[:, k]) for k in present)
    return float(np.mean([average_precision(scores[some, k], maps.targets[some, k]) for k, some in rows]))
