"""The console commands. No other room knows of flags, exit codes and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markdown import Markdown
from tyro.conf import Positional

from wsl import config as settings
from wsl.cli import examples
from wsl.cli.running import Outcome, run
from wsl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class _LocalizeFlags(settings.LocalizeConfig):
    """The images stand without a flag."""

    sources: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE|FOLDER|GLOB ...")]
    """Images, folders or globs."""


@dataclass(frozen=True, kw_only=True)
class _OptionalData(settings.DataConfig):
    """Annotations that may be left out."""

    data: Path | None = None  # type: ignore[assignment] # becomes a DataConfig or None as a whole
    """Annotations, as wsl-evaluate takes them, to draw the true boxes beside the predicted ones."""


@dataclass(frozen=True, kw_only=True)
class _VisualizeFlags(settings.VisualizeConfig):
    """Draw localizations: overlays, boxes, contact sheets."""

    # Not DataConfig | None, which tyro offers as two subcommands.
    data: _OptionalData = field(default_factory=_OptionalData)

    def resolved(self) -> settings.VisualizeConfig:
        """The settings without flags.

        Raises:
            UserError: settings of annotations without --data.
        """
        values = {one.name: getattr(self, one.name) for one in fields(settings.VisualizeConfig)}
        if self.data.data is None:
            if self.data != _OptionalData():
                raise UserError("--format, --image-root, --year and --download describe --data: expected it too")
            return settings.VisualizeConfig(**{**values, "data": None})
        data = {one.name: getattr(self.data, one.name) for one in fields(settings.DataConfig)}
        return settings.VisualizeConfig(**{**values, "data": settings.DataConfig(**data)})


@dataclass(frozen=True, kw_only=True)
class _ExportFlags(settings.ExportConfig):
    """The source stands without a flag."""

    source: Annotated[Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Localizations (a folder of wsl-localize, or another tool's with --source-format), or for onnx and torch a run."""


@dataclass(frozen=True, kw_only=True)
class _Nothing:
    """No settings at all."""


def train(args: Sequence[str] | None = None) -> int:
    """`wsl-train`."""

    def work(config: settings.TrainConfig) -> Outcome:
        from wsl.verbs.train import train as verb

        result = verb(config)
        known = (("mAP", result.mAP), ("pointing", result.pointing))
        figures = [f"{name} {value:.3f}" for name, value in known if value is not None]
        best = f"best epoch {result.best_epoch}" + (f": {', '.join(figures)}" if figures else "")
        return Outcome(f"{best}\n{result.model}  ({result.seconds:.0f} s{_skipped(result.skipped)})", _plain(result))

    return run(work, settings.TrainConfig, examples.TRAIN, args)


def localize(args: Sequence[str] | None = None) -> int:
    """`wsl-localize`."""

    def work(config: settings.LocalizeConfig) -> Outcome:
        from wsl.verbs.localize import plan_localize, run_localize

        if config.dry_run:
            plan = plan_localize(config)
            return Outcome(str(plan), _plain(plan))
        result = run_localize(config)
        rate = result.images / result.seconds
        summary = f"{result.boxes} boxes in {result.images} images{_skipped(result.skipped)}  ({rate:.1f} images/s)"
        return Outcome(f"{summary}\n{result.localizations}", _plain(result))

    return run(work, _LocalizeFlags, examples.LOCALIZE, args)


def evaluate(args: Sequence[str] | None = None) -> int:
    """`wsl-evaluate`."""

    def work(config: settings.EvaluateConfig) -> Outcome:
        from wsl.metrics import report_table
        from wsl.verbs.evaluate import evaluate as verb

        report = verb(config)
        table = report_table(report, config.table)
        if config.table == "markdown" and sys.stdout.isatty():
            console = Console()
            with console.capture() as capture:
                console.print(Markdown(table))
            table = capture.get()
        where = f"\n{config.out / 'evaluation.json'}" if config.table == "markdown" else ""
        return Outcome(table + where, report.to_json())

    return run(work, settings.EvaluateConfig, examples.EVALUATE, args)


def visualize(args: Sequence[str] | None = None) -> int:
    """`wsl-visualize`."""

    def work(flags: _VisualizeFlags) -> Outcome:
        from wsl.verbs.visualize import visualize as verb

        config = flags.resolved()
        result = verb(config)
        summary = f"{result.pictures} pictures, {result.sheets} sheets{_skipped(result.skipped)}\n{config.out}"
        if config.report:
            pages = "\n".join(map(str, result.paths))
            summary = f"{result.pictures} images in the report{_skipped(result.skipped)}\n{pages}"
        return Outcome(summary, _plain(result))

    return run(work, _VisualizeFlags, examples.VISUALIZE, args)


def export(args: Sequence[str] | None = None) -> int:
    """`wsl-export`."""

    def work(config: settings.ExportConfig) -> Outcome:
        from wsl.verbs.export import export as verb

        result = verb(config)
        what = f"{result.boxes} boxes in {result.images} images"
        if result.max_difference is not None:
            what = f"outputs within {result.max_difference:.2g} of PyTorch's"
        return Outcome(f"{what}\n{result.path}", _plain(result))

    return run(work, _ExportFlags, examples.EXPORT, args)


def info(args: Sequence[str] | None = None) -> int:
    """`wsl-info`."""

    def work(_: _Nothing) -> Outcome:
        from wsl.verbs.info import info as verb

        result = verb()
        return Outcome(str(result), _plain(result))

    return run(work, _Nothing, examples.INFO, args)


def _plain(result: Any) -> dict[str, Any]:
    """A result's fields as plain values."""
    plain: dict[str, Any] = json.loads(settings.to_json(result))
    return plain


def _skipped(count: int) -> str:
    return f", {count} unreadable images skipped" if count else ""
