"""The console commands. Flags, exit codes and printed text are handled only in this package."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from wsl import config as settings
from wsl.checkpoints import POOLINGS, check_weights
from wsl.cli import examples
from wsl.cli.defaults import train_defaults
from wsl.cli.flags import (
    CompareFlags,
    DemoFlags,
    DoctorFlags,
    ExportFlags,
    InfoFlags,
    LocalizeFlags,
    TrainFlags,
    VisualizeFlags,
)
from wsl.cli.running import Outcome, run
from wsl.errors import counted
from wsl.files import write_text
from wsl.progress import loading

log = logging.getLogger("wsl")

# A server has no results that could be kept.
_SERVED = "stopped"


def train(args: Sequence[str] | None = None) -> int:
    """`wsl-train`."""

    def work(flags: TrainFlags) -> Outcome | None:
        from wsl.verbs.train import is_first

        if not is_first():  # of several processes, one tells what all do
            log.setLevel(logging.WARNING)
        outcome = _train(flags)
        return outcome if is_first() else None

    return run(work, TrainFlags, examples.TRAIN, args, first=examples.FIRST_TRAIN, defaults=train_defaults)


def _train(flags: TrainFlags) -> Outcome | None:
    """Train what the flags of `wsl-train` name; a decoder or detector is trained in one process only."""
    from wsl.verbs.train import is_first

    config = flags.resolved()
    if not isinstance(config, tuple):
        return _part(config) if is_first() else None
    if flags.find_lr:
        return _learning_rates(config, flags.find_lr_steps)
    from wsl.verbs.train import check_trainings
    from wsl.verbs.train import train as verb

    if len(config) > 1:
        check_trainings(config)
        if is_first() and flags.out is not None:
            poolings = json.dumps([one.model.pooling for one in config])
            write_text(flags.out / POOLINGS, poolings + "\n")  # for --resume
    results, texts = [], []
    for number, one in enumerate(config, 1):
        if len(config) > 1:
            log.info("%s (%d of %d)", one.model.pooling, number, len(config))
        results.append(verb(one))
    for result in results:
        known = (("mAP", result.mAP), ("pointing", result.pointing), ("with the probe mAP", result.probe_mAP))
        figures = [f"{name} {value:.3f}" for name, value in known if value is not None]
        best = f"best epoch {result.best_epoch}: {', '.join(figures)}" if figures else "trained, not validated"
        by_class = f"\nby class: {result.model.with_name('README.md')}" if figures else ""
        texts.append(f"{best}\n{result.model}  ({result.seconds:.0f} s{_skipped(result.skipped)}){by_class}")
    record = _plain(results[0]) if len(results) == 1 else {"runs": [_plain(result) for result in results]}
    return Outcome("\n".join(texts), record)


def _part(config: settings.DecodeConfig | settings.DetectConfig) -> Outcome:
    """Train a map decoder or box detector for a finished run."""
    from wsl.verbs.finished import decode, detect

    if isinstance(config, settings.DecodeConfig):
        part, result = "decoder", decode(config)
    else:
        part, result = "detector", detect(config)
    took = f"({result.seconds:.0f} s{_skipped(result.skipped)})"
    return Outcome(f"{part} of {counted(result.rounds, 'round')}\n{result.model}  {took}", _plain(result))


def _learning_rates(configs: Sequence[settings.TrainConfig], steps: int) -> Outcome:
    """Search for the learning rate of each training."""
    from wsl.verbs.train_lr import find_lr, search_table

    searches = [find_lr(config, steps=steps) for config in configs]
    texts = [f"{search_table(found)}\n{path}" for found, path in searches]
    records = [{**_plain(found), "plot": str(path)} for found, path in searches]
    return Outcome("\n\n".join(texts), records[0] if len(records) == 1 else {"runs": records})


def localize(args: Sequence[str] | None = None) -> int:
    """`wsl-localize`."""

    def work(flags: LocalizeFlags) -> Outcome:
        from wsl.verbs.localize import plan_localize, run_localize

        config = flags.resolved()
        if config.sharding.engine is not None:
            return _in_shards(config)
        if config.dry_run:
            plan = plan_localize(config)
            return Outcome(str(plan), _plain(plan))
        result = run_localize(config)
        new = result.images + result.skipped - result.resumed
        rate = f"{new / result.seconds:.1f} images/s" if new else "nothing was left to do"
        there = f", {result.resumed} of them localized before" if result.resumed and new else ""
        summary = f"{_boxes(result.boxes, result.images)}{_skipped(result.skipped)}{there}  ({rate})"
        chosen = config.refine != "auto" and config.boxes.threshold is not None
        method = "" if chosen else f"{result.method}\n"
        return Outcome(f"{summary}\n{method}{result.localizations}", _plain(result))

    return run(work, LocalizeFlags, examples.LOCALIZE, args, first=examples.FIRST_LOCALIZE)


def evaluate(args: Sequence[str] | None = None) -> int:
    """`wsl-evaluate`."""

    def work(config: settings.EvaluateConfig) -> Outcome:
        from wsl.verbs.evaluate import evaluate as verb

        report = verb(config, side_by_side=True)
        from wsl.tables import key_metrics, report_table

        every = config.all or bool(config.metrics) or config.table != "markdown"
        table = report_table(
            report, config.table, every=every, per_class=config.per_class or config.table != "markdown"
        )
        if config.table == "markdown":
            table = _rendered(table)
        where = f"\n{config.out / 'evaluation.json'}" if config.table == "markdown" and config.out is not None else ""
        left = len(report.metrics) - len(key_metrics(report))
        if left and not every:
            file = "" if config.out is None else f", or {config.out / 'evaluation.md'}"
            where = f"\n\n{left} more metrics: --all{file}; by class: --per-class{where}"
        return Outcome(table + where, report.to_json())

    return run(work, settings.EvaluateConfig, examples.EVALUATE, args, first=examples.FIRST_EVALUATE)


def compare(args: Sequence[str] | None = None) -> int:
    """`wsl-compare`."""

    def work(config: CompareFlags) -> Outcome:
        from wsl.verbs.compare import compare as verb

        result = verb(config)
        from wsl.tables import comparison_table

        table = comparison_table(result, config.table)
        if config.table == "markdown":
            where = "" if config.out is None else f"\n\n{config.out / 'comparison.json'}"
            table = _rendered(table) + where
        return Outcome(table, result.to_json())

    return run(work, CompareFlags, examples.COMPARE, args, first=examples.FIRST_COMPARE)


def visualize(args: Sequence[str] | None = None) -> int:
    """`wsl-visualize`."""

    def work(flags: VisualizeFlags) -> Outcome:
        from wsl.verbs.visualize import visualize as verb

        config = flags.resolved()
        result = verb(config)
        summary = f"{counted(result.pictures, 'picture')}, {counted(result.sheets, 'sheet')}"
        summary += f"{_skipped(result.skipped)}\n{config.out}"
        if config.report:
            pages = "\n".join(map(str, result.paths))
            summary = f"{counted(result.pictures, 'image')} in the report{_skipped(result.skipped)}\n{pages}"
        return Outcome(summary, _plain(result))

    return run(work, VisualizeFlags, examples.VISUALIZE, args, first=examples.FIRST_VISUALIZE)


def export(args: Sequence[str] | None = None) -> int:
    """`wsl-export`."""

    def work(config: settings.ExportConfig) -> Outcome:
        from wsl.verbs.export import export as verb

        result = verb(config)
        what = _boxes(result.boxes, result.images)
        if result.left_out:
            what += f"; {counted(result.left_out, 'image')} without a box left out (--keep-empty keeps them)"
        if result.unreviewed:
            what += f"; {result.unreviewed} not reviewed and left out (--keep-unreviewed keeps them)"
        if result.note:
            what += f"\n{result.note}"
        if result.max_difference is not None:
            what = f"outputs within {result.max_difference:.2g} of PyTorch's"
        return Outcome(f"{what}\n{result.path}", _plain(result))

    return run(work, ExportFlags, examples.EXPORT, args, first=examples.FIRST_EXPORT)


def info(args: Sequence[str] | None = None) -> int:
    """`wsl-info`."""

    def work(flags: InfoFlags) -> Outcome:
        data = flags.data.resolved()
        if data is not None:
            from wsl.verbs.data_info import data_info

            described = data_info(data, flags.split)
            return Outcome(_rendered(str(described)), _plain(described))
        if flags.source:
            check_weights(flags.source, flags.local_weights, flags.cam.model)  # before torch, which takes seconds
        with loading("torch"):
            from wsl.verbs.info import info as verb
            from wsl.verbs.info import model_info

        result = model_info(flags.source, flags.local_weights, flags.cam) if flags.source else verb()
        return Outcome(str(result), _plain(result))

    return run(work, InfoFlags, examples.INFO, args)


def doctor(args: Sequence[str] | None = None) -> int:
    """`wsl-doctor`."""

    def work(config: DoctorFlags) -> Outcome:
        from wsl.verbs.doctor import doctor as verb

        diagnosis = verb(config)
        return Outcome(str(diagnosis), diagnosis.to_json())

    return run(work, DoctorFlags, examples.DOCTOR, args, first=examples.FIRST_DOCTOR)


def demo(args: Sequence[str] | None = None) -> int:
    """`wsl-demo`."""

    def work(config: DemoFlags) -> Outcome:
        from wsl.page.server import serve

        serve(config)
        return Outcome("", {})

    return run(work, DemoFlags, examples.DEMO, args, stopped=_SERVED)


def label_studio(args: Sequence[str] | None = None) -> int:
    """`wsl-label-studio`."""

    def work(config: settings.LabellingConfig) -> Outcome:
        from wsl.labelling.server import serve

        serve(config)
        return Outcome("", {})

    first = examples.FIRST_LABEL_STUDIO
    return run(work, settings.LabellingConfig, examples.LABEL_STUDIO, args, first=first, stopped=_SERVED)


def _in_shards(config: settings.LocalizeConfig) -> Outcome:
    from wsl.verbs.localize_shards import make_job_manifest, plan_shards, run_shards

    if config.dry_run or config.sharding.manifest_only:
        planned = (plan_shards if config.dry_run else make_job_manifest)(config)
        return Outcome(str(planned), _plain(planned))
    result = run_shards(config)
    return Outcome(str(result), _plain(result))


def _rendered(table: str) -> str:
    """The Markdown table, rendered if the output is a terminal."""
    if not sys.stdout.isatty():
        return table
    from rich.console import Console  # imported here because `--help` does not need a Markdown parser
    from rich.markdown import Markdown

    console = Console()
    with console.capture() as capture:
        console.print(Markdown(table))
    return capture.get()


def _plain(result: Any) -> dict[str, Any]:
    """The fields of a result as plain values."""
    plain: dict[str, Any] = json.loads(settings.to_json(result))
    return plain


def _skipped(count: int) -> str:
    return f", {counted(count, 'unreadable image')} skipped" if count else ""


def _boxes(boxes: int, images: int) -> str:
    return f"{counted(boxes, 'box', 'boxes')} in {counted(images, 'image')}"
