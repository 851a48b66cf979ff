"""Localization of the labelled classes of training images, for decoders and detectors that learn from it."""

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
    """Localize the labelled classes of each image; None for an unreadable image, which is added to `skipped`.

    `name` is the label of the progress bar.

    Raises:
        BadImageError: an image cannot be read, and ``runtime.strict`` is set.
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
