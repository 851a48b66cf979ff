"""The console commands: flags, logging, progress, exit codes. No other room knows of any of them."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from rich.markdown import Markdown
from tyro.conf import Positional

from wsl import config as settings
from wsl.errors import RunError, UserError

C = TypeVar("C")
log = logging.getLogger("wsl")

TRAIN = """Train a classifier with a spatial pooling from image-level labels.

Examples:

  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50
  wsl-train --data VOCdevkit/VOC2012 --out runs/weldon --pooling "weldon(k_max=0.2, k_min=0.2)" --freeze-backbone
  wsl-train --data photos/ --train-split all --val-split None --out runs/mine --loss cross-entropy
  wsl-train --data VOCdevkit/VOC2012 --out runs/gap --backbone resnet50 --resume
"""
LOCALIZE = """Find the things in images: class scores, boxes and heatmaps.

Examples:

  wsl-localize photo.jpg --weights resnet50 --out found
  wsl-localize photos/ --weights runs/gap --out found --top-k 3 --heatmaps
  wsl-localize "photos/**/*.jpg" --weights runs/gap --out found --classes dog cat --maps
"""
EVALUATE = """Measure localizations, score maps, boxes, or a model, against annotations.

Examples:

  wsl-evaluate --predictions found --data VOCdevkit/VOC2012 --split val --out found
  wsl-evaluate --weights runs/gap --data VOCdevkit/VOC2012 --split val --select-threshold train --out runs/gap/val
  wsl-evaluate --predictions scoremaps/ --data metadata/CUB --split test --protocol wsolevaluation --out cub --plots
  wsl-evaluate --predictions results.json --data coco --split val2017 --out theirs
"""
VISUALIZE = """Draw localizations: overlays, boxes, contact sheets.

Examples:

  wsl-visualize --predictions found --out found/pictures
  wsl-visualize --predictions found --data VOCdevkit/VOC2012 --split val --per-class --file-format pdf --out sheets
"""


@dataclass(frozen=True, kw_only=True)
class _LocalizeFlags(settings.LocalizeConfig):
    """The images stand without a flag."""

    sources: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE|FOLDER|GLOB ...")]
    """Images, folders or globs."""


def train(args: Sequence[str] | None = None) -> int:
    """`wsl-train`."""

    def work(config: settings.TrainConfig) -> None:
        from wsl.verbs.train import train as run

        result = run(config)
        known = (("mAP", result.mAP), ("pointing", result.pointing))
        figures = [f"{name} {value:.3f}" for name, value in known if value is not None]
        print(f"best epoch {result.best_epoch}" + (f": {', '.join(figures)}" if figures else ""))
        print(f"{result.model}  ({result.seconds:.0f} s{_skipped(result.skipped)})")

    return _run(work, settings.TrainConfig, TRAIN, args)


def localize(args: Sequence[str] | None = None) -> int:
    """`wsl-localize`."""

    def work(config: settings.LocalizeConfig) -> None:
        from wsl.verbs.localize import run_localize

        result = run_localize(config)
        rate = result.images / result.seconds
        print(f"{result.boxes} boxes in {result.images} images{_skipped(result.skipped)}  ({rate:.1f} images/s)")
        print(result.localizations)

    return _run(work, _LocalizeFlags, LOCALIZE, args)


def evaluate(args: Sequence[str] | None = None) -> int:
    """`wsl-evaluate`."""

    def work(config: settings.EvaluateConfig) -> None:
        from wsl.metrics import report_table
        from wsl.verbs.evaluate import evaluate as run

        report = run(config)
        table = report_table(report)
        if sys.stdout.isatty():
            Console().print(Markdown(table))
        else:
            print(table)
        print(config.out / "evaluation.json")

    return _run(work, settings.EvaluateConfig, EVALUATE, args)


def visualize(args: Sequence[str] | None = None) -> int:
    """`wsl-visualize`."""

    def work(config: settings.VisualizeConfig) -> None:
        from wsl.verbs.visualize import visualize as run

        result = run(config)
        print(f"{result.pictures} pictures, {result.sheets} sheets{_skipped(result.skipped)}")
        print(config.out)

    return _run(work, settings.VisualizeConfig, VISUALIZE, args)


def _run(work: Callable[[C], None], kind: Any, description: str, args: Sequence[str] | None) -> int:
    """Parse, run, and turn every failure into one line and an exit code: 2 the user's, 1 the run's, 130 Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        style = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
        work(tyro.cli(kind, description=description, args=args, config=style))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        return 1
    except OSError as error:
        print(f"failed: {_explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: what was finished is kept", file=sys.stderr)
        return 130
    return 0


def _explain(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{where}; what was written before is whole, free some space and run it again"
    if isinstance(error, PermissionError):
        return f"not allowed to use {error.filename or 'a file'}: check who may write there"
    return f"{error.strerror or error}{where}"


def _skipped(count: int) -> str:
    return f", {count} unreadable images skipped" if count else ""
