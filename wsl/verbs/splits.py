"""The splits of an evaluation: the one to evaluate on, and the one to select a threshold on."""

from __future__ import annotations

from wsl.config import EvaluateConfig
from wsl.data import read_samples
from wsl.errors import UserError
from wsl.samples import SampleSet


def read_splits(config: EvaluateConfig, *, images: bool) -> tuple[SampleSet, SampleSet | None]:
    """Read the samples to evaluate on, and those to select the threshold on if it is to be selected.

    `images` says whether a model will read the images, which must then exist.

    Raises:
        UserError: a split cannot be read, a class to report is unknown, or the splits share images.
    """
    samples = read_samples(config.data, config.split, images=images, outlines=True)
    unknown = [name for name in config.report_classes if name not in samples.classes]
    if unknown:
        raise UserError(f"unknown class {unknown[0]!r} to report; known: {', '.join(samples.classes)}")
    return samples, _others(config, samples, images)


def _others(config: EvaluateConfig, samples: SampleSet, images: bool) -> SampleSet | None:
    """The samples of the split to select the threshold on.

    Raises:
        UserError: it shares images with the split to evaluate.
    """
    if config.select_threshold is None:
        return None
    others = read_samples(config.data, config.select_threshold, images=images)
    evaluated = {sample.path for sample in samples.samples}
    shared = [sample.id for sample in others.samples if sample.path in evaluated]
    if shared:
        raise UserError(
            f"split {config.select_threshold} shares {len(shared)} images with split {config.split}, {shared[0]!r} "
            "first: expected a split of other images to select the threshold on"
        )
    return others
