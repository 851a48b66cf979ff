"""Where a model finds the labelled classes of the training images, for a part that learns from it."""

from __future__ import annotations

from collections.abc import Iterator

from wsl.config import RuntimeConfig
from wsl.errors import BadImageError
from wsl.inference import Predictor, Source
from wsl.progress import track
from wsl.results import Localization
from wsl.samples import SampleSet
from wsl.training.features import report_skipped


def localize_labelled(
    predictor: Predictor, samples: SampleSet, runtime: RuntimeConfig, skipped: set[str], name: str
) -> Iterator[Localization | None]:
    """The labelled classes of each image, localized; None for an image that cannot be read, which joins ``skipped``.

    ``name`` is what the progress bar says.

    Raises:
        BadImageError: an image cannot be read, and ``runtime.strict``.
    """
    found = predictor.stream(
        (Source(sample.path, classes=sample.labels) for sample in samples.samples),
        errors="return",
        workers=runtime.workers,
    )
    for one in track(found, name, len(samples)):
        if isinstance(one, BadImageError):
            report_skipped([str(one)], skipped, runtime.strict)
            yield None
        else:
            yield one
