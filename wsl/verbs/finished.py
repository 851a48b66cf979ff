"""Train a map decoder or a box detector for a finished run."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsl.checkpoints import FILE_NAME, check_weights
from wsl.config import DecodeConfig, DetectConfig
from wsl.config.keywords import by_keywords
from wsl.data import as_trained, read_samples
from wsl.errors import UserError, listed, quoted
from wsl.files import locked
from wsl.progress import loading
from wsl.samples import SampleSet
from wsl.training.run_check import CONFIG, record, recorded

if TYPE_CHECKING:
    from wsl.models import Localizer
    from wsl.training.decoder_rounds import DecoderTraining
    from wsl.training.detector_rounds import DetectorTraining


@dataclass(frozen=True, slots=True, kw_only=True)
class PartResult:
    """The path of the model with its new part, and the rounds, seconds and skipped images of the training."""

    model: Path
    rounds: int
    seconds: float
    skipped: int


@by_keywords(DecodeConfig, "run")
def decode(config: DecodeConfig) -> PartResult:
    """Train a map decoder on the training images of a run, or others of the same classes, and save it in the run.

    Settings are a `DecodeConfig`, or keywords with the names of the flags: ``wsl.decode("runs/mine")``.

    The run's scores and class maps do not change. A training that was stopped continues after its last finished round
    if it is started again with the same settings.

    Raises:
        UserError: there is no finished run, its data cannot be read, or another command writes to its folder.
        RunError: no image could be read, or the disk is full.
    """
    return _part(config)


@by_keywords(DetectConfig, "run")
def detect(config: DetectConfig) -> PartResult:
    """Train a box detector on the training images of a run, or others of the same classes, and save it in the run.

    Settings are a `DetectConfig`, or keywords with the names of the flags: ``detect("runs/mine")``.

    The boxes of the run's map decoder are its positive examples, and the labels say which classes are absent. The run's
    scores and maps do not change. A training that was stopped continues after its last finished round if it is started
    again with the same settings.

    Raises:
        UserError: there is no finished run, it has no map decoder, its data cannot be read, or another command writes
            to its folder.
        RunError: no image could be read, or the disk is full.
    """
    return _part(config)


def _part(config: DecodeConfig | DetectConfig) -> PartResult:
    samples = _samples(config)
    with locked(config.run, "wsl-train"):
        return train_part(config, samples)


def train_part(config: DecodeConfig | DetectConfig, samples: SampleSet) -> PartResult:
    """Train the part on samples that are already read, in a folder that is already locked."""
    started = time.perf_counter()
    part = "decoder" if isinstance(config, DecodeConfig) else "detector"
    with loading(f"the {part}'s training"):
        from wsl.models import load, save

        model = load(config.run)
        if model.classes != samples.classes:
            raise UserError(
                f"{config.run} has the classes {listed(model.classes)}, and the images to train its {part} on "
                f"{listed(samples.classes)}: expected the same in the same order"
            )
        training = _training(model, samples, config)
    training.run()
    path = config.run / FILE_NAME
    save(model, path)
    training.finish()
    before = recorded(config.run, "start the run again with --overwrite")
    if before is not None:
        # The decoder of a run with a detector may have been added in Python.
        decoding = config.decoding if isinstance(config, DecodeConfig) else before.decoding
        parts: dict[str, Any] = {"decoding": dataclasses.replace(decoding, decode=True)}
        if isinstance(config, DetectConfig):
            parts["detecting"] = dataclasses.replace(config.detecting, detect=True)
        record(config.run, **parts)
    return PartResult(
        model=path,
        rounds=training.rounds,
        seconds=time.perf_counter() - started,
        skipped=len(training.skipped),
    )


def _training(
    model: Localizer, samples: SampleSet, config: DecodeConfig | DetectConfig
) -> DecoderTraining | DetectorTraining:
    from wsl.models import choose_device
    from wsl.training.decoder_rounds import DecoderTraining
    from wsl.training.detector_rounds import DetectorTraining

    device = choose_device(config.runtime.device)
    if config.flip is None:
        before = recorded(config.run, "repair or remove it")
        config = dataclasses.replace(config, flip=before is None or before.optim.flip)
    if isinstance(config, DecodeConfig):
        return DecoderTraining(model, samples, config, device)
    return DetectorTraining(model, samples, config, device)


def _samples(config: DecodeConfig | DetectConfig) -> SampleSet:
    """Check everything that does not need torch, which takes seconds to load, and read the samples to train on."""
    recipe = check_weights(str(config.run))
    if recipe is None or not config.run.is_dir():
        raise UserError(f"{config.run} is not a run: expected a folder of wsl-train with model.safetensors")
    if isinstance(config, DetectConfig) and recipe.decoder is None:
        raise UserError(
            f"{config.run} has no map decoder, from whose boxes a detector learns: train one first with wsl-train "
            f"--decoder {quoted(config.run)}"
        )
    data, split = config.data, config.train_split
    if data is None or split is None:
        before = recorded(config.run, "give --data and --train-split")
        if before is None and data is None:
            raise UserError(f"{config.run} does not record its training data (no {CONFIG}): give --data")
        if before is not None:
            data, split = data or before.data, split or before.train_split
    assert data is not None
    return read_samples(as_trained(data, config.run), split or "train")
