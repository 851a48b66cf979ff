"""Checks of what commands are given, made before torch is loaded."""

from __future__ import annotations

from collections.abc import Collection

from wsl.checkpoints import check_classes
from wsl.config import EvaluateConfig, LocalizeConfig
from wsl.errors import UserError
from wsl.formats import detect_predictions
from wsl.samples import SampleSet


def check_labels(config: LocalizeConfig, samples: SampleSet, known: Collection[str]) -> None:
    """Check that a model knows the classes that the images of a split are labelled with.

    Raises:
        UserError: it does not know one of them.
    """
    labels = dict.fromkeys(label for sample in samples.samples for label in sample.labels)
    place = "" if config.data is None else f"{config.data.data}, split {config.split}: "
    check_classes(labels, known, f"{place}the model of {config.weights}")


def check_annotated(samples: SampleSet, weights: str, known: Collection[str]) -> None:
    """Check that a model knows the classes that it is to be evaluated on.

    Raises:
        UserError: it does not know one of them.

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


def predictions_kind(config: EvaluateConfig) -> str:
    """The format of ``--predictions``, as the configuration says or by what is there.

    Raises:
        UserError: nothing is there, or nothing that is known.
    """
    assert config.predictions is not None
    return detect_predictions(config.predictions) if config.predictions_format == "auto" else config.predictions_format
