"""From a results file, annotations and an evaluation to the HTML report."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.config import BoxConfig, VisualizeConfig
from wsl.config.shared import BOX_DEFAULTS
from wsl.data import read_samples
from wsl.errors import BadImageError, UserError
from wsl.formats import count_localizations, find_localizations, read_localizations, results_folder
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
    settings = _localize_settings(folder)
    evaluation = _evaluation(config, folder)
    boxes = settings.get("boxes") or {}
    threshold = boxes.get("threshold")
    rule = BoxConfig(**{key: value for key, value in boxes.items() if key in BoxConfig.__dataclass_fields__})
    items = _Items(config, results, rule)
    head = Head(
        title=f"What {Path(settings.get('weights') or folder.resolve()).name} finds",
        threshold=BOX_DEFAULTS["none"].threshold if threshold is None else float(threshold),
        facts=_facts(settings, evaluation[0]),
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


def _localize_settings(folder: Path) -> dict[str, Any]:
    """What ``localize.json`` says of the run; nothing where another system made the results."""
    path = folder / "localize.json"
    return _load(path) if path.is_file() else {}


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
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): expected what wsl-localize and wsl-evaluate write"
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a JSON object: expected what wsl-localize and wsl-evaluate write")
    return document


def _facts(settings: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    if "weights" in settings:
        facts["model"] = Path(settings["weights"]).name  # whoever gets the page need not know where runs lie
    boxes, origin = settings.get("boxes") or {}, settings.get("box_origin")
    if boxes.get("threshold") is not None:
        facts["threshold"] = f"{boxes['threshold']:g}" + (f", {origin}" if origin else "")
    if boxes.get("box_rule"):
        facts["boxes"] = str(boxes["box_rule"])
    if settings.get("image_size"):
        facts["image size"] = f"{settings['image_size']} px"
    if "images" in evaluation:
        facts["evaluated"] = f"{evaluation['images']} images, protocol {evaluation.get('protocol', 'default')}"
    return facts


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics as the page's table takes them."""
    rows = {}
    for name, metric in (evaluation.get("metrics") or {}).items():
        try:
            rows[str(name)] = {
                "value": metric["value"],
                "interval": metric.get("interval"),
                "baseline": metric.get("baseline"),
                "count": sum(metric["counts"].values()),
                "note": str(metric.get("note", "")),
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"metric {name!r} of evaluation.json is malformed ({error}): evaluate again") from error
    return rows
