"""Train a classifier with spatial pooling from image-level labels."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wsl.checkpoints import FILE_NAME, check_weights, is_path, read_recipe
from wsl.config import DecodeConfig, DetectConfig, TrainConfig
from wsl.config.keywords import by_keywords
from wsl.data import as_trained, divided_samples, read_samples
from wsl.data.splits import UnknownSplit
from wsl.errors import UserError
from wsl.files import locked
from wsl.hub import hub_address
from wsl.progress import loading
from wsl.samples import SampleSet
from wsl.split_names import role
from wsl.training.label_check import check_labels
from wsl.training.run_check import check_run, recorded, to_resume
from wsl.training.starting import keywords_in, settings_of
from wsl.verbs.finished import train_part

# Keywords of `train` that are no settings, but are replaced by settings from a file or a run.
ALSO = MappingProxyType({"config": keywords_in, "from_": settings_of})
_KEPT = 0.2  # fraction of each class kept for validation


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The path of the model, and its metrics on the validation split in the best epoch.

    ``probe_mAP`` is the mAP with the linear probe, from which the scores come if the model has one.
    """

    model: Path
    best_epoch: int
    mAP: float | None
    pointing: float | None
    probe_mAP: float | None = None
    seconds: float
    skipped: int


def _to_resume(settings: Mapping[str, Any]) -> TrainConfig | None:
    """The settings of the run that keywords resume; None if they do not."""
    out = settings.get("out")
    if not settings.get("resume") or not out or not isinstance(out, (str, Path)):
        return None
    return dataclasses.replace(to_resume(Path(out)), overwrite=False)


@by_keywords(TrainConfig, "data", base=_to_resume, also=ALSO)
def train(config: TrainConfig) -> TrainResult:
    """Train, validate after each epoch, and save the best model in ``config.out``.

    Settings are a `TrainConfig`, or keywords with the names of the flags: ``wsl.train("photos/", out="runs/mine",
    epochs=10)``. ``wsl.train(out="runs/mine", resume=True)`` continues a run with its own settings. As on the command
    line, ``from_="runs/first"`` starts from a finished run, and ``config="runs/first/config.json"`` takes settings from
    a file; those that are given override them.

    Raises:
        UserError: a setting, the data or the weights cannot be used, or another run writes to the folder.
        RunError: the loss is no longer finite, no image could be read, or the disk is full.
    """
    started = time.perf_counter()
    if config.resume:
        config = dataclasses.replace(config, data=as_trained(config.data, config.out))
    check_run(config)
    config, samples, val = read_inputs(config)
    # Of the processes of one training, only the first writes files.
    with locked(config.out, "wsl-train") if is_first() else contextlib.nullcontext():
        if is_first():
            check_run(config)  # again, because another run may have finished in this folder meanwhile
        with loading(config.model.backbone):
            from wsl.verbs.epochs import Run

            run = Run(config, samples, val)
        best, probed = run.epochs(started), None
        if config.probing.probe:
            probed = run.probe()
        skipped = run.skipped
        if config.decoding.decode and is_first():
            del run  # frees the memory that it holds
            skipped = max(skipped, _train_parts(config, samples))
    return TrainResult(
        model=config.out / FILE_NAME,
        best_epoch=best["epoch"],
        mAP=best.get("mAP"),
        pointing=best.get("pointing"),
        probe_mAP=None if probed is None else probed.mAP,
        seconds=time.perf_counter() - started,
        skipped=skipped,
    )


def _train_parts(config: TrainConfig, samples: SampleSet) -> int:
    """Train the decoder and the detector that the settings ask for; returns the number of unreadable images.

    Those that a resumed run has already, trained with the same settings, are kept.
    """
    alike = {"runtime": config.runtime, "seed": config.seed, "flip": config.optim.flip}
    more: dict[str, Any] = {"run": config.out, **alike}
    has, before, skipped = read_recipe(config.out), recorded(config.out, "start the run again with --overwrite"), 0
    assert before is not None
    decoded = has.decoder is not None and before.decoding == config.decoding
    if not decoded:
        skipped = train_part(DecodeConfig(**more, decoding=config.decoding), samples).skipped
    if config.detecting.detect and not (decoded and has.detector and before.detecting == config.detecting):
        skipped = max(skipped, train_part(DetectConfig(**more, detecting=config.detecting), samples).skipped)
    return skipped


def check_trainings(configs: Sequence[TrainConfig]) -> None:
    """Check the folders and the specs of several trainings before the first of them starts.

    Raises:
        UserError: a folder holds another run, or a name or value in a spec is unknown or out of range.
    """
    for config in configs:
        if not config.resume:
            check_run(config)
    with loading(configs[0].model.backbone):
        from wsl.training.spec_check import check_train_specs
    for config in configs:
        check_train_specs(config)


def is_first() -> bool:
    """Whether this is the main process, by the variables that accelerate reads; determined without loading it.

    >>> is_first()
    True
    """
    names = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def read_inputs(config: TrainConfig) -> tuple[TrainConfig, SampleSet, SampleSet | None]:
    """Read the samples, and check everything about weights and labels that does not need torch, which is slow to load.

    Returns the settings, the samples to train on, and those to validate on. If the data set has no split to validate
    on, the settings contain the fraction of the training images that is kept for validation.

    Raises:
        UserError: the weights do not exist, the data cannot be read, or no training image shows any class.
    """
    weights = Path(config.model.weights)
    if hub_address(config.model.weights) is not None:
        check_weights(config.model.weights)
    elif is_path(config.model.weights):
        if not weights.exists():
            raise UserError(f"no weights at {weights}: expected a .safetensors or .pth file, or a run folder")
        if weights.is_dir():
            check_weights(config.model.weights)
    config, samples, val = _read(config)
    if is_first():
        check_labels(samples, val, config.best_by)
    return config, samples, val


def _read(config: TrainConfig) -> tuple[TrainConfig, SampleSet, SampleSet | None]:
    if config.val_split is None:
        return config, read_samples(config.data, config.train_split), None
    if config.data.val_fraction is None:
        try:
            val = read_samples(config.data, config.val_split, whole=False)
        except UnknownSplit as error:
            if role(config.val_split) != "val" or not (error.divisible or role(config.train_split) == "train"):
                raise
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, val_fraction=_KEPT))
    if config.data.val_fraction is not None:
        return config, *_divided(config)
    samples = read_samples(config.data, config.train_split)
    unknown = sorted(set(val.classes) - set(samples.classes))
    if unknown:
        raise UserError(
            f"split {config.val_split} has the class {unknown[0]!r}, and split {config.train_split} has not: expected "
            "training images of every class"
        )
    if val.classes != samples.classes:
        val = dataclasses.replace(val, classes=samples.classes)
    return config, samples, val


def _divided(config: TrainConfig) -> tuple[SampleSet, SampleSet]:
    """Divide the training images into samples to train on and samples to validate on.

    Raises:
        UserError: the data cannot be read, or the splits are not named train and val.
    """
    if role(config.train_split) != "train" or role(config.val_split) != "val":
        raise UserError(
            f"{config.data.data}: val is kept from the images of train, and the splits to train and validate on are "
            f"{config.train_split} and {config.val_split}: expected train and val, or --val-split None to train "
            "without validation"
        )
    parts = divided_samples(config.data)
    return parts["train"], parts["val"]
