"""What there is to evaluate: what a model finds, our results files and other systems', each with its sample."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

from wsl.boxes import Boxes
from wsl.config import BoxConfig, EvaluateConfig, PickConfig
from wsl.data import coco_numbers, detect_format
from wsl.errors import UserError
from wsl.formats import (
    detect_predictions,
    find_localizations,
    read_coco_results,
    read_localizations,
    read_score_maps,
    read_voc_results,
)
from wsl.inference import Errors, Predictor, boxes_of_class
from wsl.models import Model, open_model, resolve_refine
from wsl.results import BoxOrigin, Localization
from wsl.samples import Sample, SampleSet

log = logging.getLogger("wsl")
Pairs = Iterator[tuple[Localization, Sample]]


class Findings:
    """The source that a configuration names, to be read once a split.

    ``kind`` is model, localizations, maps, coco or voc; ``rules`` counts what was put up with in reading.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        self.rules: Counter[str] = Counter()
        self.kind: str = "model"
        if config.predictions is not None:
            wanted = config.predictions_format
            self.kind = detect_predictions(config.predictions) if wanted == "auto" else wanted

    @property
    def origin(self) -> BoxOrigin:
        """How the boxes were drawn that come without any being asked for."""
        if self.kind in ("coco", "voc"):
            return BoxOrigin(origin="boxes of another system")
        if self.kind != "localizations":
            boxes = BoxConfig().settled()
            return BoxOrigin(threshold=boxes.threshold, box_rule=boxes.box_rule, origin="the default")
        assert self.config.predictions is not None
        return _recorded(find_localizations(self.config.predictions).parent / "localize.json")

    @cached_property
    def model(self) -> Model:
        """The model of ``--weights``."""
        assert self.config.weights is not None
        return open_model(self.config.weights, self.config.local_weights)

    @property
    def refine(self) -> Literal["none", "affinity"]:
        """How the model's maps are refined; nothing refines those that were read."""
        return "none" if self.config.weights is None else resolve_refine(self.config.refine, self.model)

    @property
    def stage(self) -> str:
        """What getting the next finding is called in the account of the run time."""
        return "reading and network" if self.kind == "model" else "reading"

    def pairs(self, samples: SampleSet, split: str, boxes: BoxConfig | None) -> Pairs:
        """The findings of a split; boxes are drawn anew from the maps where settings are given.

        Raises:
            UserError: findings and annotations do not belong together, or cannot be read.
        """
        if self.kind == "model":
            return self._computed(samples, boxes)
        if self.kind == "localizations":
            pairs = _stored(self._place(), samples, split, self.rules)
        elif self.kind == "maps":
            side = 224 if self.config.protocol == "wsolevaluation" else None
            pairs, boxes = read_score_maps(self._place(), samples.samples, self.rules, side=side), boxes or BoxConfig()
        elif self.kind == "voc":
            pairs = read_voc_results(self._place(), split, samples.samples, samples.classes, self.rules)
        else:
            pairs = self._coco(samples, split)
        if boxes is None:
            return pairs
        if self.kind in ("coco", "voc"):
            raise UserError(f"{self._place()} holds boxes and no maps: leave out threshold, box rule and selection")
        return _redrawn(pairs, boxes)

    def _place(self) -> Path:
        assert self.config.predictions is not None
        return self.config.predictions

    def _coco(self, samples: SampleSet, split: str) -> Pairs:
        data = self.config.data
        layout = detect_format(data.data) if data.format == "auto" else data.format
        if layout != "coco":
            raise UserError(
                f"{self._place()}: COCO results name images and categories by number, expected --data in COCO's layout "
                f"and not {layout}"
            )
        images, categories = coco_numbers(data.data, split)
        return read_coco_results(self._place(), samples.samples, images, categories, self.rules)

    def _computed(self, samples: SampleSet, boxes: BoxConfig | None) -> Pairs:
        """The model's localizations of every class in every image of the split."""
        config, model = self.config, self.model
        missing = sorted(set(samples.classes) - set(model.classes))
        if missing:
            raise UserError(
                f"{config.weights} does not know the class {missing[0]!r} of the annotations ({len(missing)} of "
                f"{len(samples.classes)} are unknown to it): expected a model trained on these classes"
            )
        predictor = Predictor.from_configs(
            model,
            pick=PickConfig(classes=samples.classes),
            boxes=boxes or config.boxes,
            refine=self.refine,
            runtime=config.runtime,
            batch_size=config.batch_size,
            image_size=config.image_size,
        )
        by_path = {sample.path: sample for sample in samples.samples}
        errors: Errors = "raise" if config.runtime.strict else "skip"
        for found in predictor.stream(by_path, errors=errors, workers=config.runtime.workers):
            yield found, by_path[found.path]


class _Names:
    """Samples by what a results file may call them: their id, the end of their path, their file's name."""

    def __init__(self, samples: SampleSet, split: str) -> None:
        self._by_id: dict[str, Sample] = {}
        self._by_stem: dict[str, Sample | None] = {}
        for sample in samples.samples:
            if sample.id in self._by_id:
                raise UserError(f"two images of split {split} are named {sample.id!r}: expected distinct names")
            self._by_id[sample.id] = sample
            stem = sample.path.stem
            self._by_stem[stem] = None if stem in self._by_stem else sample

    def find(self, found: Localization) -> Sample | None:
        parts = found.path.parts
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        by_id = (self._by_id[end] for end in ends if end in self._by_id)
        return next(by_id, None) or self._by_id.get(found.id) or self._by_stem.get(found.id)


def _stored(source: Path, samples: SampleSet, split: str, rules: Counter[str]) -> Pairs:
    """Localizations read from a file, each with the sample of its name."""
    names = _Names(samples, split)
    done: set[str] = set()
    extra = 0
    for found in read_localizations(find_localizations(source)):
        sample = names.find(found)
        name = found.id if sample is None else sample.id
        if name in done:
            raise UserError(f"{source} has two localizations of {name!r}: expected one an image")
        done.add(name)
        if sample is None:
            extra += 1
        else:
            yield found, sample
    if extra:
        rules["localizations of images outside the split: left out"] += extra
        log.warning("%d localizations are of images outside split %s and were left out", extra, split)


def _redrawn(pairs: Iterable[tuple[Localization, Sample]], boxes: BoxConfig) -> Pairs:
    for found, sample in pairs:
        if len(found.boxes) and not found.maps:
            raise UserError(
                f"{found.path} has boxes and no maps to draw others from: run wsl-localize with --maps, or leave out "
                "threshold, box rule and selection"
            )
        parts = [
            boxes_of_class(score_map, label, found.scores.get(label, 1.0), found.size, boxes)
            for label, score_map in (found.maps or {}).items()
        ]
        yield dataclasses.replace(found, boxes=Boxes.concatenate(parts)), sample


def _recorded(settings: Path) -> BoxOrigin:
    """What ``wsl-localize`` wrote down of its boxes; unknown where results were moved without their settings."""
    try:
        record = json.loads(settings.read_text(encoding="utf-8"))
        boxes = record["boxes"]
        return BoxOrigin(
            threshold=float(boxes["threshold"]), box_rule=str(boxes["box_rule"]), origin=str(record["box_origin"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return BoxOrigin(origin="boxes as wsl-localize drew them, its settings are not known")
