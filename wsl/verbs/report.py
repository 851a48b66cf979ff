"""The HTML report of results files, annotations and evaluations."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from wsl.config import BoxConfig, VisualizeConfig
from wsl.data import read_samples
from wsl.documents import load_json, number, reading
from wsl.errors import BadImageError, UserError
from wsl.formats import count_localizations, find_localizations, read_localizations, results_folder
from wsl.formats.drawn import drawn_boxes, localize_settings
from wsl.images import read_image
from wsl.progress import track
from wsl.report import Head, ReportSummary, write_report
from wsl.report.items import encode_picture, gallery_item, gallery_pair
from wsl.results import Localization
from wsl.samples import SampleIndex, SampleSet
from wsl.verbs.paired_runs import PairedRuns

log = logging.getLogger("wsl")

PHOTO, PLOT = (400, 60), (1100, 80)
"""Longer side in pixels, and quality: a photograph takes about 12 kB."""

_DIGITS = 12  # beyond these decimals a difference is a rounding error


class _Run(NamedTuple):
    """The results of one run, the settings with which their boxes were drawn, and their evaluation, if there is one."""

    results: Path
    settings: Mapping[str, Any]
    rule: BoxConfig
    evaluation: Mapping[str, Any]
    plots: tuple[Path, ...]

    @property
    def model(self) -> str:
        """The name of the model, without the folders above it, which are not meant for readers of the page."""
        return Path(str(self.settings.get("weights") or results_folder(self.results).resolve())).name


def report(config: VisualizeConfig, names: tuple[str, str] | None = None) -> tuple[ReportSummary, int]:
    """Write ``report.html`` of a results file into ``config.out``.

    Metrics and plots are read from ``evaluation.json`` and ``plots/`` in ``config.evaluation``, by default beside the
    results; outcomes need the annotations of ``config.data``. With ``config.against``, each image is shown for both
    runs, which have these `names` (`pair_names`).

    Returns the summary of the pages and the number of images that were skipped because they cannot be read.

    Raises:
        UserError: results, annotations or an evaluation cannot be read.
    """
    first = _run(config.predictions, config.evaluation)
    if config.against is None or names is None:
        found = itertools.islice(read_localizations(first.results), config.limit)
        total = count_localizations(first.results)
        items = _Items(config, ((one,) for one in found), min(total, config.limit or total), [first.rule])
        return write_report(iter(items), _head(first, f"What {first.model} finds"), config.out), items.skipped
    second = _run(config.against, None)
    with tempfile.TemporaryFile(dir=config.out) as scratch:
        pairs = PairedRuns((first.results, second.results), names, config.limit, scratch)
        items = _Items(config, pairs, len(pairs), [first.rule, second.rule])
        return write_report(iter(items), _paired_head(first, second, names), config.out), items.skipped


class _Items:
    """Gallery items with their pictures, one image at a time; ``found`` yields the localizations of an image by run."""

    def __init__(
        self,
        config: VisualizeConfig,
        found: Iterable[tuple[Localization | None, ...]],
        total: int,
        rules: Sequence[BoxConfig],
    ) -> None:
        self.skipped = 0
        self._found, self._total, self._rules = found, total, rules
        samples = SampleSet(classes=(), samples=())
        if config.data is not None:
            samples = read_samples(config.data, config.split, images=False)
        self._index = SampleIndex(samples)

    def __iter__(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        for found in track(self._found, "report", self._total):
            image = next(one for one in found if one is not None)
            try:
                picture = encode_picture(read_image(image.path), *PHOTO)
            except BadImageError as error:
                log.warning("skipped: %s", error)
                self.skipped += 1
                continue
            sample = self._index.match(image.path)
            if len(found) == 1:
                yield gallery_item(image, sample, self._rules[0]), picture
            else:
                yield gallery_pair(found, sample, self._rules), picture


def _run(place: Path, evaluation: Path | None) -> _Run:
    results = find_localizations(place)
    folder = results_folder(results)
    settings = localize_settings(folder)
    measured, plots = _evaluation(evaluation, folder)
    return _Run(results, settings, drawn_boxes(settings, folder), measured, plots)


def _head(run: _Run, title: str) -> Head:
    return Head(
        title=title,
        boxes=run.rule.resolved(),
        facts=_facts(run),
        metrics=_metrics(run.evaluation),
        plots=[encode_picture(read_image(path), *PLOT) for path in run.plots],
    )


def _paired_head(first: _Run, second: _Run, names: tuple[str, str]) -> Head:
    title = f"What {names[0]} and {names[1]} find"
    head, against = (replace(_head(run, title), name=name) for run, name in zip((first, second), names, strict=True))
    head = replace(head, against=against)
    alike = first.evaluation.get("protocol") == second.evaluation.get("protocol")
    return replace(head, differences=_differences(head)) if alike else head


def _differences(head: Head) -> dict[str, float]:
    """How much higher each metric is for the first of two runs, if its counts are equal for both."""
    return {
        name: round(first["value"] - second["value"], _DIGITS)
        for name, (first, second) in head.rows
        if first and second and first["count"] == second["count"] and None not in (first["value"], second["value"])
    }


def _evaluation(given: Path | None, beside: Path) -> tuple[Mapping[str, Any], tuple[Path, ...]]:
    """The evaluation and its plots; empty if none is given and there is none beside the results."""
    place = given or beside
    path = place / "evaluation.json" if place.is_dir() else place
    if not path.is_file():
        if given is not None:
            raise UserError(f"no evaluation at {given}: expected evaluation.json as wsl-evaluate writes it")
        return {}, ()
    return _load(path), tuple(sorted((path.parent / "plots").glob("*.png")))


def _load(path: Path) -> dict[str, Any]:
    document = load_json(path, "what wsl-localize and wsl-evaluate write")
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a JSON object: expected what wsl-localize and wsl-evaluate write")
    return document


def _facts(run: _Run) -> dict[str, str]:
    settings, rule, evaluation = run.settings, run.rule, run.evaluation
    facts = {}
    if "weights" in settings:
        facts["model"] = run.model
    origin = settings.get("box_origin")
    if rule.threshold is not None:
        facts["threshold"] = f"{rule.threshold:g}" + (f", {origin}" if origin else "")
    if rule.box_rule:
        facts["boxes"] = rule.box_rule
    if settings.get("image_size"):
        facts["image size"] = f"{settings['image_size']} px"
    if "images" in evaluation:
        facts["evaluated"] = f"{evaluation['images']} images, protocol {evaluation.get('protocol', 'default')}"
    return facts


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of an evaluation by name, as `wsl.report.Head` expects them."""
    rows = {}
    with reading("evaluation.json", "what wsl-evaluate writes: evaluate again"):
        for name, metric in (evaluation.get("metrics") or {}).items():
            what = f"evaluation.json: {name}"
            interval = metric.get("interval")
            low_high = None if interval is None else [number(edge, f"{what}: interval") for edge in interval]
            if low_high is not None and len(low_high) != 2:
                raise UserError(f"{what}: interval is {interval!r:.80}, expected two numbers: evaluate again")
            rows[str(name)] = {
                "value": _number(metric["value"], what),
                "interval": low_high,
                "baseline": _number(metric.get("baseline"), what),
                "count": int(sum(number(count, what) for count in metric["counts"].values())),
                "note": str(metric.get("note", "")),
            }
    return rows


def _number(value: Any, what: str) -> float | None:
    return None if value is None else number(value, what)
