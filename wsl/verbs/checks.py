"""Checks of the arguments of commands that do not need torch."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from wsl.checkpoints import check_classes
from wsl.config import EvaluateConfig, LocalizeConfig
from wsl.config.evaluate import PredictionsFormat
from wsl.errors import UserError
from wsl.formats import detect_predictions
from wsl.samples import SampleSet


def check_labels(config: LocalizeConfig, samples: SampleSet, known: Collection[str]) -> None:
    """Check that a model has the classes with which the images of a split are labelled.

    Raises:
        UserError: the model lacks one of them.
    """
    labels = dict.fromkeys(label for sample in samples.samples for label in sample.labels)
    place = "" if config.data is None else f"{config.data.data}, split {config.split}: "
    check_classes(labels, known, f"{place}the model of {config.weights}")


def check_annotated(samples: SampleSet, weights: str, known: Collection[str]) -> None:
    """Check that a model has the classes on which it is to be evaluated.

    Raises:
        UserError: the model lacks one of them.

    >>> check_annotated(SampleSet(classes=["dog"], samples=[]), "resnet50", ["cat"])
    Traceback (most recent call last):
    wsl.errors.UserError: resnet50 does not know the class 'dog' of the annotations (1 of 1 are unknown to it): ...
    """
    missing = sorted(set(samples.classes).difference(known))
    if missing:
        raise UserError(
            f"{weights} does not know the class {missing[0]!r} of the annotations ({len(missing)} of "
            f"{len(samples.classes)} are unknown to it): expected a model trained on these classes"
        )


def predictions_kind(config: EvaluateConfig) -> PredictionsFormat:
    """The format of ``--predictions``, as configured or detected from the files.

    Raises:
        UserError: the files do not exist, or their format is unknown.
    """
    assert config.predictions is not None
    if config.predictions_format != "auto":
        return config.predictions_format
    return cast(PredictionsFormat, detect_predictions(config.predictions))
