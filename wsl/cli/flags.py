"""Settings as flags, where a command line says them otherwise than the settings themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro.conf import Positional

from wsl import config as settings
from wsl.errors import UserError

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class DataFlags(settings.DataConfig):
    """A data set that may be left out. `DataConfig | None` would be offered as two subcommands."""

    data: Path | None = None  # type: ignore[assignment] # becomes a DataConfig or None as a whole
    """A data set, as wsl-evaluate takes it."""

    def resolved(self) -> settings.DataConfig | None:
        """The settings of the data set; None without one.

        Raises:
            UserError: settings of a data set without --data.
        """
        values = {one.name: getattr(self, one.name) for one in fields(settings.DataConfig)}
        if self.data is not None:
            return settings.DataConfig(**values)
        if self != type(self)():
            raise UserError("--format, --image-root, --year and --download describe --data: expected it too")
        return None


@dataclass(frozen=True, kw_only=True)
class DrawnData(DataFlags):
    """Annotations that may be left out."""

    data: Path | None = None
    """Annotations, as wsl-evaluate takes them, to draw the true boxes beside the predicted ones."""


@dataclass(frozen=True, kw_only=True)
class LocalizedData(DataFlags):
    """A data set in the place of images."""

    data: Path | None = None
    """A data set, as wsl-evaluate takes it, whose images of --split are localized in the place of the sources."""


@dataclass(frozen=True, kw_only=True)
class LocalizeFlags(settings.LocalizeConfig):
    """Images stand without a flag, or are those of --data."""

    sources: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="[IMAGE|FOLDER|GLOB ...]")] = ()
    """Images, folders or globs."""
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
class VisualizeFlags(settings.VisualizeConfig):
    """Draw localizations: overlays, boxes, contact sheets."""

    data: DrawnData = field(default_factory=DrawnData)

    def resolved(self) -> settings.VisualizeConfig:
        """The settings without flags.

        Raises:
            UserError: settings of annotations without --data.
        """
        return _resolved(self, settings.VisualizeConfig, self.data)


@dataclass(frozen=True, kw_only=True)
class ExportFlags(settings.ExportConfig):
    """The source stands without a flag."""

    source: Annotated[Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Localizations (a folder of wsl-localize, or another tool's with --source-format), or for onnx and torch a run."""


@dataclass(frozen=True, kw_only=True)
class InfoFlags:
    """What to describe."""

    source: Annotated[Positional[str], tyro.conf.arg(metavar="[MODEL]")] = ""
    """A model, as --weights of wsl-localize names it, to say how its maps are made; nothing for what is installed."""
    local_weights: Path | None = None
    """With a model name: its weights from this file; without, they are random and nothing is downloaded."""
    cam: settings.CamConfig = field(default_factory=settings.CamConfig)


def _resolved(flags: Any, kind: type[C], data: DataFlags) -> C:
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type] # a dataclass
    return kind(**{**{name: getattr(flags, name) for name in names}, "data": data.resolved()})
