"""Evaluate several runs on the same images and compare them by paired differences."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from wsl.comparison import ComparedRun, Comparison
from wsl.config import CompareConfig, EvaluateConfig
from wsl.config.keywords import by_keywords
from wsl.errors import RunError, UserError
from wsl.files import check_folder, locked, write_text
from wsl.hub import hub_address
from wsl.metrics.agreement import Marks, agreement
from wsl.metrics.evaluation import check_metrics
from wsl.metrics.paired import paired_differences
from wsl.progress import loading
from wsl.results import EvaluationReport, Localization
from wsl.samples import Sample, SampleSet
from wsl.tables import comparison_table, key_metrics
from wsl.verbs.checks import check_annotated
from wsl.verbs.compared_runs import Source, baseline_name, check_distinct, find_run, short_names
from wsl.verbs.evaluate import with_split_of_run
from wsl.verbs.splits import read_splits

log = logging.getLogger("wsl")


@by_keywords(CompareConfig, "runs")
def compare(config: CompareConfig) -> Comparison:
    """Compute the chosen metrics of several runs on one split, and the paired difference of each two runs.

    Settings are a `CompareConfig`, or keywords with the names of the flags:
    ``wsl.compare("runs/gap", "runs/gmp", data="VOC2012")``.

    Each run is evaluated once. With ``config.out`` the comparison is written as ``comparison.json``, ``.md``, ``.tex``,
    ``.csv`` and a figure, after all runs have been evaluated; the folders of the runs are not modified.

    Raises:
        UserError: a run, a metric or a name is invalid, the runs were evaluated on different images, or another run
            writes to the folder.
        RunError: no image could be evaluated, or no metric computed.
    """
    plan = _plan(config)
    with contextlib.ExitStack() as locks:
        if config.out is not None:
            locks.enter_context(locked(config.out, "wsl-compare"))
        comparison = _compared(config, plan)
        if config.out is not None:
            _write(config.out, comparison, config)
    return comparison


class _Plan(NamedTuple):
    """The inputs of a comparison, known before a model is loaded."""

    sources: Sequence[Source]
    names: Sequence[str]
    baseline: str
    samples: SampleSet
    others: SampleSet | None


@dataclass
class _Watch:
    """The images on which a run was evaluated, and its predictions for them if agreement is to be computed."""

    marks: Marks | None
    seen: dict[Path, str] = field(default_factory=dict)

    def __call__(self, found: Localization, sample: Sample) -> None:
        self.seen[sample.path] = sample.id
        if self.marks is not None:
            self.marks.update(found, sample)


def _plan(config: CompareConfig) -> _Plan:
    """Check everything that does not need torch, which takes seconds to load."""
    if config.out is not None:
        check_folder(config.out, "the results")
    check_metrics(config.metrics)
    sources = [find_run(given) for given in config.runs]
    check_distinct(sources)
    names = config.names or short_names([source.place for source in sources])
    baseline = baseline_name(config, names)
    settings = [with_split_of_run(source.settings(config, config.metrics)) for source in sources]
    _check_divided_alike(names, settings)
    samples, others = read_splits(settings[0], images=any(source.is_model for source in sources))
    for source in sources:
        if source.classes is not None:
            check_annotated(samples, source.given, source.classes)
    return _Plan(sources, names, baseline, samples, others)


def _check_divided_alike(names: Sequence[str], settings: Sequence[EvaluateConfig]) -> None:
    """Refuse runs that kept different images for validation: one would be evaluated on the training images of another.

    Raises:
        UserError: the runs kept different images.
    """
    kept = {
        name: (one.data.val_fraction, one.data.split_seed)
        for name, one in zip(names, settings, strict=True)
        if one.data.val_fraction is not None
    }
    if len(set(kept.values())) > 1:
        told = ", ".join(f"{name}: {fraction:g} with seed {seed}" for name, (fraction, seed) in kept.items())
        raise UserError(
            f"the runs kept different images for validation ({told}): expected runs with the same --val-fraction and "
            "--split-seed, or these settings here"
        )


def _require_models(sources: Sequence[Source]) -> None:
    """Refuse an unknown name of a model before the runs ahead of it are measured.

    Raises:
        UserError: a name is unknown.
    """
    names = [source.given for source in sources if source.is_model and not Path(source.given).exists()]
    if names:
        # Imported here because stored predictions do not need torch, which takes seconds to load.
        from wsl.models import require_classifier

        for name in names:
            if hub_address(name) is None:
                require_classifier(name)


def _compared(config: CompareConfig, plan: _Plan) -> Comparison:
    _require_models(plan.sources)
    reports: list[EvaluationReport] = []
    watches: list[_Watch] = []
    wanted: tuple[str, ...] = config.metrics
    for number, (source, name) in enumerate(zip(plan.sources, plan.names, strict=True), 1):
        log.info("%s (%d of %d)", name, number, len(plan.sources))
        watch = _Watch(Marks() if config.agreement else None)
        reports.append(_measured(config, plan, source, wanted, watch))
        watches.append(watch)
        _check_same(plan.names[0], watches[0].seen, name, watch.seen)
        # By default the metrics of the first run are computed for the others.
        wanted = wanted or tuple(dict.fromkeys(reports[0].computed_by[one.name] for one in key_metrics(reports[0])))
    columns = _columns(reports, config.metrics)
    if not columns and not config.agreement:
        raise RunError("nothing to compare: no metric could be computed from the annotations and predictions")
    runs = [
        ComparedRun(
            name=name,
            source=source.given,
            metrics={metric.name: metric for metric in report.metrics if metric.name in columns},
            boxes=str(report.boxes or ""),
            warnings=report.warnings,
        )
        for name, source, report in zip(plan.names, plan.sources, reports, strict=True)
    ]
    found = [(name, watch.marks) for name, watch in zip(plan.names, watches, strict=True) if watch.marks is not None]
    return Comparison(
        runs=tuple(runs),
        metrics=columns,
        differences=paired_differences(runs, columns),
        baseline=plan.baseline,
        images=len(watches[0].seen),
        split=config.split,
        protocol=config.protocol,
        agreement=tuple(agreement(run, marks, name, others) for (name, others), (run, marks) in combinations(found, 2)),
    )


def _measured(
    config: CompareConfig, plan: _Plan, source: Source, metrics: Sequence[str], watch: _Watch
) -> EvaluationReport:
    settings = with_split_of_run(source.settings(config, metrics))
    with loading(source.given):
        from wsl.verbs.measurement import measure
        from wsl.verbs.predictions import Predictions

        predictions = Predictions(settings)
    return measure(settings, predictions, plan.samples, plan.others, keep=False, watch=watch)


def _check_same(first: str, seen: dict[Path, str], second: str, others: dict[Path, str]) -> None:
    """Refuse to compare runs on different images: a format may leave out an image, such as one map for two classes.

    Raises:
        UserError: the images differ; the message names the first such image.
    """
    differ = [*(seen.keys() - others.keys()), *(others.keys() - seen.keys())]
    if differ:
        path = min(differ)
        one, other = (first, second) if path in seen else (second, first)
        raise UserError(
            f"{first} and {second} were not measured on the same images: {len(differ)} differ, such as {path}, which "
            f"was measured for {one} and left out for {other} (wsl-evaluate says why): add predictions for it to "
            f"{other}, or remove it from the split"
        )


def _columns(reports: Sequence[EvaluationReport], chosen: Sequence[str]) -> tuple[str, ...]:
    """The metrics to show: for each chosen one its main number, or all its numbers; by default the key metrics."""
    if not chosen:
        return tuple(metric.name for metric in key_metrics(reports[0]))
    columns: dict[str, None] = {}
    for name in chosen:
        own = [one for report in reports for one, by in report.computed_by.items() if by == name]
        columns |= dict.fromkeys([one for one in own if _words(one) == _words(name)] or own)
    return tuple(columns)


def _words(name: str) -> str:
    """A normalised metric name: point-AP becomes point AP, and MaxBoxAccV2 is the same under either protocol."""
    return " ".join(re.findall(r"[\w@.]+", name.removesuffix("(wsolevaluation)")))


def _write(folder: Path, comparison: Comparison, config: CompareConfig) -> None:
    for kind in ("pdf", "svg"):  # of an earlier comparison
        (folder / f"comparison.{kind}").unlink(missing_ok=True)
    if config.figure is not None and comparison.metrics:
        # Imported here because matplotlib is slow to load and the numbers do not need it.
        from wsl.draw.comparison import plot_comparison

        plot_comparison(folder / f"comparison.{config.figure}", comparison, config.figure)
    write_text(folder / "comparison.tex", comparison_table(comparison, "latex") + "\n")
    write_text(folder / "comparison.csv", comparison_table(comparison, "csv") + "\n")
    write_text(folder / "comparison.md", comparison_table(comparison) + "\n")
    write_text(folder / "comparison.json", json.dumps(comparison.to_json(), indent=2) + "\n")
