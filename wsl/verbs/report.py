"""From a results file, annotations and an evaluation to the HTML report."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.config import BoxConfig, VisualizeConfig
from wsl.data import read_samples
from wsl.documents import load_json, number, reading
from wsl.errors import BadImageError, UserError
from wsl.formats import count_localizations, find_localizations, read_localizations, results_folder
from wsl.formats.drawn import drawn_boxes, localize_settings
from wsl.images import read_image
from wsl.progress import track
from wsl.report import Head, ReportSummary, write_report
from wsl.report.items import encode_picture, gallery_item
from wsl.samples import SampleIndex, SampleSet

log = logging.getLogger("wsl")

PHOTO, PLOT = (400, 60), (1100, 80)
"""Long side in pixels and quality: a photograph takes about 12 kB."""


def report(config: VisualizeConfig) -> tuple[ReportSummary, int]:
    """Write ``report.html`` of a results file into ``config.out``; also the number of images left out.

    Numbers and plots on top come from ``evaluation.json`` and ``plots/`` beside the results (or where
    ``config.evaluation`` says), outcomes from the annotations of ``config.data``.

    Raises:
        UserError: results, annotations or the evaluation cannot be read.
    """
    results = find_localizations(config.predictions)
    folder = results_folder(results)
    settings = localize_settings(folder)
    evaluation = _evaluation(config, folder)
    rule = drawn_boxes(settings, folder)
    items = _Items(config, results, rule)
    head = Head(
        title=f"What {Path(str(settings.get('weights') or folder.resolve())).name} finds",
        boxes=rule.resolved(),
        facts=_facts(settings, rule, evaluation[0]),
        metrics=_metrics(evaluation[0]),
        plots=[encode_picture(read_image(path), *PLOT) for path in evaluation[1]],
    )
    return write_report(iter(items), head, config.out), items.skipped


class _Items:
    """Gallery items with their pictures, one image at a time."""

    def __init__(self, config: VisualizeConfig, results: Path, rule: BoxConfig) -> None:
        self.skipped = 0
        self._config, self._results, self._rule = config, results, rule
        samples = SampleSet(classes=(), samples=())
        if config.data is not None:
            samples = read_samples(config.data, config.split, images=False)
        self._index = SampleIndex(samples)

    def __iter__(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        total = count_localizations(self._results)
        total = min(total, self._config.limit or total)
        found = itertools.islice(read_localizations(self._results), self._config.limit)
        for localization in track(found, "report", total):
            try:
                picture = encode_picture(read_image(localization.path), *PHOTO)
            except BadImageError as error:
                log.warning("skipped: %s", error)
                self.skipped += 1
                continue
            yield gallery_item(localization, self._index.match(localization.path), self._rule), picture


def _evaluation(config: VisualizeConfig, beside: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The evaluation and its plots, where there is one."""
    place = config.evaluation or beside
    path = place / "evaluation.json" if place.is_dir() else place
    if not path.is_file():
        if config.evaluation is not None:
            raise UserError(f"no evaluation at {config.evaluation}: expected evaluation.json as wsl-evaluate writes it")
        return {}, ()
    return _load(path), tuple(sorted((path.parent / "plots").glob("*.png")))


def _load(path: Path) -> dict[str, Any]:
    document = load_json(path, "what wsl-localize and wsl-evaluate write")
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a JSON object: expected what wsl-localize and wsl-evaluate write")
    return document


def _facts(settings: Mapping[str, Any], rule: BoxConfig, evaluation: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    if "weights" in settings:
        facts["model"] = Path(str(settings["weights"])).name  # whoever gets the page need not know where runs lie
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
    """The metrics as the page's table takes them."""
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
