"""Flags of the commands that differ from the settings in `wsl.config`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro.conf import Positional

from wsl import config as settings
from wsl.errors import UserError
from wsl.files import UniqueNames
from wsl.training.starting import settings_of

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class DataFlags(settings.DataConfig):
    """An optional data set; tyro would offer `DataConfig | None` as two subcommands."""

    data: Path | None = None  # type: ignore[assignment] # becomes a DataConfig or None as a whole
    """A data set, as wsl-evaluate takes it."""

    def resolved(self) -> settings.DataConfig | None:
        """The settings of the data set; None without one.

        Raises:
            UserError: there are settings of a data set without --data.
        """
        values = {one.name: getattr(self, one.name) for one in fields(settings.DataConfig)}
        if self.data is not None:
            return settings.DataConfig(**values)
        if self != type(self)():
            raise UserError(
                "--format, --image-root, --year, --download, --uncertain, --val-fraction and --split-seed describe "
                "--data: expected it too"
            )
        return None


@dataclass(frozen=True, kw_only=True)
class DrawnData(DataFlags):
    """Optional annotations."""

    data: Path | None = None
    """Annotations, as wsl-evaluate takes them, to draw the ground-truth boxes beside the predicted ones."""


@dataclass(frozen=True, kw_only=True)
class LocalizedData(DataFlags):
    """A data set to localize instead of images."""

    data: Path | None = None
    """A data set, as wsl-evaluate takes it; the images of its --split are localized instead of the sources."""


@dataclass(frozen=True, kw_only=True)
class TrainedData(DataFlags):
    """The data set of a training; for a decoder or detector the default is that of the run."""

    data: Path | None = None
    """Where the images and their labels are: a VOC folder (VOCdevkit/VOC2012), a COCO folder or JSON, an image folder
    (class/image.jpg), a CSV, or metadata lists of the WSOL benchmark (<split>/image_ids.txt). With --decoder and
    --detector, the default is the data set on which the run was trained."""


@dataclass(frozen=True, kw_only=True)
class ModelFlags(settings.ModelConfig):
    """The network, with one pooling or several."""

    pooling: tuple[str, ...] = ("gap",)  # type: ignore[assignment] # one at a time becomes a ModelConfig
    """Spatial pooling of the class maps: gap, gmp, kmax(k=10), lse(beta=4), weldon(k_max=0.2), wildcat(alpha=0.7),
    mixed(lam=0.5), add, cat, gem(p=3, of=probabilities), softpool, stochastic(probability=softmax), median,
    attention(hidden=128), csra(heads=4, lam=0.5), pcam, gndp, exp, linear, adaptive(size=2).
    Or an encoder, whose maps are gradient maps: spp, netvlad(clusters=16), bilinear, compactbilinear(dim=4096).
    Several are trained one after the other, each in a folder of its name in --out; with a frozen backbone they share
    its features."""

    def __post_init__(self) -> None:
        """Check nothing: `TrainFlags.resolved` gives the settings, which check themselves."""

    def resolved(self, pooling: str) -> settings.ModelConfig:
        """The settings of the network with one of the poolings."""
        values = {one.name: getattr(self, one.name) for one in fields(settings.ModelConfig)}
        return settings.ModelConfig(**{**values, "pooling": pooling})

    def going_on(self, pooling: str, **others: Any) -> ModelFlags:
        """These settings, with those at their defaults replaced by the given ones of a finished run."""
        default, run = type(self)(), {"pooling": (pooling,), **others}
        return replace(self, **{name: run[name] for name in run if getattr(self, name) == getattr(default, name)})


@dataclass(frozen=True, kw_only=True)
class TrainFlags(settings.TrainConfig):
    """A training of a run, or of a map decoder or box detector for a finished run."""

    model: ModelFlags = field(default_factory=ModelFlags)
    data: TrainedData = field(default_factory=TrainedData)
    out: Path | None = None  # type: ignore[assignment]
    """Run folder: config.json, metrics.jsonl, model.safetensors, classes.json, confusions.json, README.md, last/."""
    config: Path | None = None
    """Take the settings in this file as defaults: config.json of a run, or a JSON object with some of its settings.
    Flags override them."""
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Start from the finished run in this folder, for other classes or with other settings: backbone, pooling and
    preprocessing are those of the run unless given, and so are the weights (those of the head only if the classes are
    the same)."""
    find_lr: bool = False
    """Instead of training, take steps at increasing learning rates, print the loss at some of them and suggest a rate;
    the plot is lr_search.png in --out."""
    find_lr_steps: int = 100
    """Maximum number of steps of --find-lr."""
    decoder: Path | None = None
    """Instead of --out: train a map decoder for the finished run in this folder, and save it there. It can be combined
    only with --data, --train-split, --seed, and the settings of the decoder and the runtime."""
    detector: Path | None = None
    """Instead of --out: train a box detector for the finished run in this folder, which must have a map decoder. It can
    be combined only with --data, --train-split, --seed, and the settings of the detector and the runtime."""

    def __post_init__(self) -> None:
        """Check nothing: `resolved` gives the settings, which check themselves."""

    def resolved(self) -> tuple[settings.TrainConfig, ...] | settings.DecodeConfig | settings.DetectConfig:
        """The settings of each training, without flags.

        Raises:
            UserError: none of --out, --decoder and --detector is given, or flags cannot be combined.
        """
        data = self.data.resolved()
        if self.decoder is None and self.detector is None:
            if self.resume and self.out is not None and data is None:
                raise UserError(
                    f"no run to resume in {self.out}: expected its config.json; leave out --resume to start a run"
                )
            if self.out is None or data is None:
                missing = "--out" if self.out is None else "--data"
                raise UserError(f"no {missing} given: expected it, or --decoder and the folder of a run")
            if self.start is not None:
                return replace(self._going_on(self.start), start=None).resolved()
            poolings = tuple(dict.fromkeys(self.model.pooling))
            if not poolings:
                raise UserError("--pooling has no value: expected one or several poolings, such as gap")
            if len(poolings) == 1:
                model = self.model.resolved(poolings[0])
                return (_resolved(self, settings.TrainConfig, self.data, out=self.out, model=model),)
            folders = self._folders(poolings)
            begun = [folder for _, folder in folders if (folder / "config.json").is_file()]
            # The runs that were not begun start when the others are resumed.
            return tuple(
                _resolved(
                    self,
                    settings.TrainConfig,
                    self.data,
                    out=folder,
                    model=self.model.resolved(pooling),
                    resume=self.resume and (folder in begun or not begun),
                )
                for pooling, folder in folders
            )
        return self._part_of(data)

    def _folders(self, poolings: Sequence[str]) -> list[tuple[str, Path]]:
        """The poolings of several runs, each with its folder."""
        assert self.out is not None
        name = UniqueNames()
        return [(pooling, self.out / name(pooling)) for pooling in poolings]

    def _part_of(self, data: settings.DataConfig | None) -> settings.DecodeConfig | settings.DetectConfig:
        """The settings for training a decoder or detector of a finished run."""
        flag, group = ("decoder", "decoding") if self.detector is None else ("detector", "detecting")
        go_with_it = ("data", "config", flag, group, "runtime", "seed", "train_split")
        plain = type(self)(**{name: getattr(self, name) for name in go_with_it})
        for one in fields(self):
            if getattr(self, one.name) != getattr(plain, one.name):
                raise UserError(
                    f"--{flag} trains for a finished run and cannot be combined with settings of {one.name}"
                )
        split = None if data is None and self.train_split == type(self).train_split else self.train_split
        alike: dict[str, Any] = {"data": data, "train_split": split, "runtime": self.runtime, "seed": self.seed}
        if self.detector is not None:
            return settings.DetectConfig(run=self.detector, detecting=self.detecting, **alike)
        assert self.decoder is not None
        return settings.DecodeConfig(run=self.decoder, decoding=self.decoding, **alike)

    def _going_on(self, run: Path) -> TrainFlags:
        network = settings_of(run, {"weights": self.model.weights})
        preprocessing = network.pop("preprocessing")
        if self.preprocessing != settings.Preprocessing():
            preprocessing = self.preprocessing
        return replace(self, model=self.model.going_on(**network), preprocessing=preprocessing)


@dataclass(frozen=True, kw_only=True)
class LocalizeFlags(settings.LocalizeConfig):
    """The flags of `wsl-localize`; images are positional arguments, or come from --data."""

    sources: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="[IMAGE|FOLDER|GLOB ...]")] = ()
    """Images, folders, globs or archives (.tar, .zip, .parquet); with --engine also lists (.txt, .csv, .parquet) and
    addresses in stores."""
    data: LocalizedData = field(default_factory=LocalizedData)

    def __post_init__(self) -> None:
        """Check nothing: `resolved` gives the settings, which check themselves."""

    def resolved(self) -> settings.LocalizeConfig:
        """The settings without flags.

        Raises:
            UserError: a setting is out of range, or settings contradict each other.
        """
        return _resolved(self, settings.LocalizeConfig, self.data)


@dataclass(frozen=True, kw_only=True)
class CompareFlags(settings.CompareConfig):
    """The flags of `wsl-compare`; the runs are positional arguments."""

    runs: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN RUN [RUN ...]")]
    """Two or more: run folders of wsl-train, models by name, or what wsl-evaluate reads as --predictions."""


@dataclass(frozen=True, kw_only=True)
class VisualizeFlags(settings.VisualizeConfig):
    """Draw localizations: overlays, boxes, contact sheets."""

    data: DrawnData = field(default_factory=DrawnData)

    def resolved(self) -> settings.VisualizeConfig:
        """The settings without flags.

        Raises:
            UserError: there are settings of annotations without --data.
        """
        return _resolved(self, settings.VisualizeConfig, self.data)


@dataclass(frozen=True, kw_only=True)
class ExportFlags(settings.ExportConfig):
    """The flags of `wsl-export`; the sources are positional arguments."""

    sources: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SOURCE [SOURCE ...]")]
    """Localizations (a folder of wsl-localize) or annotations of other tools: files or folders, several of which are
    combined into one export; for onnx and torch a run."""


@dataclass(frozen=True, kw_only=True)
class DoctorFlags(settings.DoctorConfig):
    """The flags of `wsl-doctor`; the image is a positional argument."""

    image: Annotated[Positional[Path], tyro.conf.arg(metavar="IMAGE")]
    """The image whose result looks wrong."""


@dataclass(frozen=True, kw_only=True)
class DemoFlags(settings.DemoConfig):
    """The flags of `wsl-demo`; the models are positional arguments."""

    models: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="[MODEL ...]")] = ()
    """Run folders, folders with runs below them, and classifiers by name (resnet50, timm/NAME); by default
    mobilenet_v2, resnet50 and densenet121, downloaded when they are chosen."""


@dataclass(frozen=True, kw_only=True)
class DescribedData(DataFlags):
    """A data set to describe."""

    data: Path | None = None
    """A data set, as wsl-train takes it, to summarise: images, labels, splits, boxes, masks."""


@dataclass(frozen=True, kw_only=True)
class InfoFlags:
    """The flags of `wsl-info`."""

    source: Annotated[Positional[str], tyro.conf.arg(metavar="[MODEL]")] = ""
    """A model, as in --weights of wsl-localize, to show how its maps are made; by default, show what is installed."""
    data: DescribedData = field(default_factory=DescribedData)
    split: str | None = None
    """With --data: summarise only this split."""
    local_weights: Path | None = None
    """With the name of a model: load its weights from this file. Otherwise they are random; nothing is downloaded."""
    cam: settings.CamConfig = field(default_factory=settings.CamConfig)


def _resolved(flags: Any, kind: type[C], data: DataFlags, **others: Any) -> C:
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type] # a dataclass
    return kind(**{**{name: getattr(flags, name) for name in names}, "data": data.resolved(), **others})
