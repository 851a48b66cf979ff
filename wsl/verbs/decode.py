"""Train a map decoder for a run that is finished."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from wsl.checkpoints import FILE_NAME, check_weights
from wsl.config import DecodeConfig
from wsl.config.keywords import by_keywords
from wsl.data import as_trained, read_samples
from wsl.errors import UserError, listed
from wsl.files import locked
from wsl.progress import loading
from wsl.samples import SampleSet
from wsl.training.run_check import CONFIG, record, recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeResult:
    """Where the model with its decoder is."""

    model: Path
    rounds: int
    seconds: float
    skipped: int


@by_keywords(DecodeConfig, "run")
def decode(config: DecodeConfig) -> DecodeResult:
    """Train a map decoder on the images of a run's training, or others of the same classes, and keep it in the run.

    Settings can be given by keyword: ``wsl.decode("runs/mine")``.

    The run's scores and class maps stay what they were. A training that was stopped goes on after its last finished
    round when it is started with the same settings again.

    Raises:
        UserError: there is no finished run, its data cannot be read, or another command writes to its folder.
        RunError: no image could be read, or the disk is full.
    """
    samples = _samples(config)
    with locked(config.run, "wsl-train"):
        return train_decoder(config, samples)


def train_decoder(config: DecodeConfig, samples: SampleSet) -> DecodeResult:
    """The same for samples that are read already, in a folder that is locked already."""
    started = time.perf_counter()
    with loading("the decoder's training"):
        from wsl.models import choose_device, load, save
        from wsl.training.decoder_rounds import DecoderTraining

        model = load(config.run)
        if model.classes != samples.classes:
            raise UserError(
                f"{config.run} has the classes {listed(model.classes)}, and the images to train its decoder on "
                f"{listed(samples.classes)}: expected the same in the same order"
            )
        training = DecoderTraining(model, samples, config, choose_device(config.runtime.device))
    training.run()
    path = config.run / FILE_NAME
    save(model, path)
    training.finish()
    if (config.run / CONFIG).is_file():
        record(config.run, decoding=dataclasses.replace(config.decoding, decode=True))
    return DecodeResult(
        model=path,
        rounds=config.decoding.decoder_rounds,
        seconds=time.perf_counter() - started,
        skipped=len(training.skipped),
    )


def _samples(config: DecodeConfig) -> SampleSet:
    """Check all that needs no torch, which takes seconds to load; the samples to train on."""
    if check_weights(str(config.run)) is None or not config.run.is_dir():
        raise UserError(f"{config.run} is no run: expected a folder of wsl-train with model.safetensors")
    data, split = config.data, config.train_split
    if data is None or split is None:
        before = recorded(config.run, "give --data and --train-split")
        if before is None and data is None:
            raise UserError(f"{config.run} does not say what it was trained on (no {CONFIG}): give --data")
        if before is not None:
            data, split = data or before.data, split or before.train_split
    assert data is not None
    return read_samples(as_trained(data, config.run), split or "train")
