"""Measure localizations, or a model, against annotations."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from wsl.config import EvaluateConfig, PickConfig
from wsl.data import read_samples
from wsl.errors import RunError, UserError
from wsl.files import write_text
from wsl.formats import find_localizations, read_localizations
from wsl.metrics import Evaluation, report_table
from wsl.models import open_model
from wsl.predict import Predictor
from wsl.progress import track
from wsl.results import EvaluationReport, Localization
from wsl.samples import Sample, SampleSet

log = logging.getLogger("wsl")
Pairs = Iterator[tuple[Localization, Sample]]


def evaluate(config: EvaluateConfig) -> EvaluationReport:
    """All metrics of one split; also written to ``evaluation.json`` and ``evaluation.md`` in ``config.out``.

    Raises:
        UserError: predictions and annotations do not belong together, or neither can be read.
        RunError: no image could be evaluated.
    """
    samples = read_samples(config.data, config.split)
    unknown = [name for name in config.report_classes if name not in samples.classes]
    if unknown:
        raise UserError(f"unknown class {unknown[0]!r} to report; known: {', '.join(samples.classes)}")
    evaluation = Evaluation(samples.classes, report_classes=config.report_classes)
    pairs = _stored(config, samples) if config.predictions is not None else _computed(config, samples)
    seen = 0
    for found, sample in track(pairs, "evaluate", len(samples)):
        evaluation.update(found, sample)
        seen += 1
    if not seen:
        raise RunError(f"none of the {len(samples)} images of split {config.split} has a localization")
    source = str(config.predictions or config.weights)
    report = evaluation.compute(source=source, missing=len(samples) - seen)
    if report.missing:
        log.warning("%d of %d images of split %s have no localization", report.missing, len(samples), config.split)
    write_text(config.out / "evaluation.json", json.dumps(report.to_json(), indent=2) + "\n")
    write_text(config.out / "evaluation.md", report_table(report) + "\n")
    return report


def _computed(config: EvaluateConfig, samples: SampleSet) -> Pairs:
    """The model's localizations of every class in every image of the split."""
    assert config.weights is not None
    model = open_model(config.weights, config.local_weights)
    missing = sorted(set(samples.classes) - set(model.classes))
    if missing:
        raise UserError(
            f"{config.weights} does not know the class {missing[0]!r} of the annotations "
            f"({len(missing)} of {len(samples.classes)} are unknown to it): expected a model trained on these classes"
        )
    predictor = Predictor(
        model,
        pick=PickConfig(classes=samples.classes),
        boxes=config.boxes,
        refine=config.refine,
        runtime=config.runtime,
        batch_size=config.batch_size,
        image_size=config.image_size,
    )
    by_path = {sample.path: sample for sample in samples.samples}
    for found in predictor.stream((path, ()) for path in by_path):
        yield found, by_path[found.path]


def _stored(config: EvaluateConfig, samples: SampleSet) -> Pairs:
    """Localizations read from a file, each with the sample of its name."""
    assert config.predictions is not None
    by_id: dict[str, Sample] = {}
    for sample in samples.samples:
        if sample.id in by_id:
            raise UserError(f"two images of split {config.split} are named {sample.id!r}: expected distinct names")
        by_id[sample.id] = sample
    done: set[str] = set()
    extra = 0
    for found in read_localizations(find_localizations(config.predictions)):
        if found.id in done:
            raise UserError(f"{config.predictions} has two localizations of {found.id!r}: expected one an image")
        done.add(found.id)
        if found.id in by_id:
            yield found, by_id[found.id]
        else:
            extra += 1
    if extra:
        log.warning("%d localizations are of images outside split %s and were left out", extra, config.split)
