"""What can be trained beside a run's head (probe, map decoder, box detector), with the run or for a finished one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsl.config.checks import check, check_batch_size, check_types
from wsl.config.shared import DataConfig, RuntimeConfig


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """The linear probe: class probabilities of a frozen backbone's pooled features, beside the head's maps."""

    probe: bool = False
    """After the last epoch, fit one logistic regression per class to the square roots of the frozen backbone's mean
    features, of their maxima, and of the posteriors of its own classifier if it has one (with --from, that of the
    run's probe). The probe gives the probabilities, the head the maps."""
    probe_penalty: float = 0.02
    """L2 penalty of the probe, on the weights of standardised features."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.probe_penalty > 0, f"probe penalty is {self.probe_penalty}, expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The map decoder: a small network from intermediate features to maps of whole objects, for --refine decoder."""

    decode: bool = False
    """After the last epoch, train a map decoder on the classifier's own maps, so that boxes hold whole objects, one
    box each. The backbone is not changed."""
    decoder_rounds: int = 6
    """Rounds of training, each from scratch: the first learns the classifier's refined maps, each later one the
    refined maps of the decoder before it, of the image and its mirror image, and from the fourth on also of a larger
    size."""
    decoder_epochs: int = 4
    """Passes over the training images in each round."""
    decoder_batch_size: int = 32
    """Images per step of the decoder's training."""
    decoder_lr: float = 3e-3
    """Peak learning rate of the decoder."""
    decoder_weight_decay: float = 0.05
    """Weight decay of the decoder."""
    decoder_cache: float = 20.0
    """Gigabytes of disk for cached features, beside the run; if they need more, a random part of the images is used.
    With about four times the space, the network runs once for all rounds, instead of once for each."""

    def __post_init__(self) -> None:
        check_types(self)
        _check_training(self, "decoder", "3e-3")


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """The box detector: a small network from intermediate features to boxes, beside those of the decoder's maps."""

    detect: bool = False
    """After --decode, train a box detector on the boxes of the decoder's maps and on what the labels rule out: a second
    opinion on each box, and a score that ranks them. The backbone and the maps stay as they are."""
    detector_rounds: int = 2
    """Rounds of training, each from scratch: the first learns the decoder's boxes, each later one those boxes fused
    with the detector's own."""
    detector_epochs: int = 3
    """Passes over the training images and mosaics in each round."""
    detector_batch_size: int = 16
    """Images and mosaics per step of the detector's training."""
    detector_lr: float = 2e-3
    """Peak learning rate of the detector."""
    detector_weight_decay: float = 0.05
    """Weight decay of the detector."""
    detector_mosaics: float = 0.75
    """Mosaics of four photographs of one class each, for each training image; 0 for none."""
    detector_cache: float = 20.0
    """Gigabytes of disk for the cached features of images and mosaics, beside the run; if they need more, a random part
    of the images is used."""

    def __post_init__(self) -> None:
        check_types(self)
        _check_training(self, "detector", "2e-3")
        check(self.detector_mosaics >= 0, f"detector mosaics is {self.detector_mosaics}, expected 0 or more an image")


def _check_training(config: Any, part: str, usual_lr: str) -> None:
    """Check the settings that the trainings of all parts have, each under the part's name."""

    def value(name: str) -> Any:
        return getattr(config, f"{part}_{name}")

    for name in ("rounds", "epochs"):
        check(value(name) >= 1, f"{part} {name} is {value(name)}, expected 1 or more")
    check_batch_size(value("batch_size"))
    check(value("lr") > 0, f"{part} lr is {value('lr')}, expected a positive number such as {usual_lr}")
    check(value("weight_decay") >= 0, f"{part} weight decay is {value('weight_decay')}, expected 0 or more")
    check(value("cache") > 0, f"{part} cache is {value('cache')}, expected gigabytes above 0")


@dataclass(frozen=True, kw_only=True)
class FinishedConfig:
    """Train a further part for a finished run."""

    run: Path
    """Run folder of wsl-train; the part is added to its model.safetensors."""
    data: DataConfig | None = None
    """The images to train on; None takes those the run was trained on."""
    train_split: str | None = None
    """Split to train on; None takes the one the run was trained on."""
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    seed: int = 0
    """The same seed gives the same numbers on the same kind of device, version of torch and number of threads."""
    flip: bool | None = None
    """Also train on mirror images; None does if the run was trained on them."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.seed >= 0, f"seed is {self.seed}, expected 0 or more")

    @property
    def mirrors(self) -> bool:
        """Whether to train on mirror images: True unless ``flip`` is False."""
        return self.flip is not False


@dataclass(frozen=True, kw_only=True)
class DecodeConfig(FinishedConfig):
    """Train a map decoder for a finished run."""

    decoding: DecoderConfig = field(default_factory=DecoderConfig)


@dataclass(frozen=True, kw_only=True)
class DetectConfig(FinishedConfig):
    """Train a box detector for a finished run with a map decoder."""

    detecting: DetectorConfig = field(default_factory=DetectorConfig)
