"""Predictions to evaluate, paired with their samples: from a model, from localizations or from other systems."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wsl.config import BoxConfig, EvaluateConfig, PickConfig, Refine
from wsl.data import coco_numbers, detect_format
from wsl.documents import load_json
from wsl.errors import BadImageError, UserError
from wsl.formats import READERS, Numbers, Pairs, Split, find_localizations, results_folder
from wsl.formats.localizations import RECORD
from wsl.formats.predictions.matching import unpredicted
from wsl.inference import redrawn
from wsl.results import BoxOrigin, Localization
from wsl.samples import Sample, SampleSet
from wsl.verbs.checks import check_annotated, predictions_kind

if TYPE_CHECKING:
    from wsl.inference import Predictor
    from wsl.models import Model

log = logging.getLogger("wsl")


class Predictions:
    """The predictions of the source in a configuration, to be read once per split.

    ``kind`` is "model" or a format of `wsl.formats.READERS`; ``warnings`` counts what was tolerated in reading.
    ``model`` is that of ``--weights``, ``refine`` the refinement of its maps, and ``predictor`` makes the pairs that
    were last requested. Predictions read from files need none of the three.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        self.warnings: Counter[str] = Counter()
        self.kind: str = "model"
        self.model: Model | None = None
        self.predictor: Predictor | None = None
        self.refine: Refine = "none"
        if config.predictions is not None:
            self.kind = predictions_kind(config)
        elif config.weights is not None:
            # Imported here because stored predictions do not need torch, which takes seconds to load.
            from wsl.models import open_model, resolve_refine

            self.model = open_model(
                config.weights,
                config.local_weights,
                method=config.cam.cam,
                layers=config.cam.layers,
                model=config.cam.model,
            )
            self.refine = resolve_refine(config.refine, self.model)

    @property
    def origin(self) -> BoxOrigin:
        """How the boxes were drawn if no settings for boxes are given."""
        if self.kind == "localizations":
            return _recorded(results_folder(find_localizations(self._place())) / RECORD)
        if self._holds in ("model", "maps"):
            boxes = BoxConfig().resolved()
            return BoxOrigin(threshold=boxes.threshold, box_rule=boxes.box_rule, origin="the default")
        return BoxOrigin(origin="boxes of another system")

    @property
    def aligned(self) -> bool:
        """Whether a model's maps are placed at the centres of the receptive fields of their cells."""
        return self.config.protocol == "default" if self.config.aligned is None else self.config.aligned

    @property
    def drawn(self) -> str:
        """A note for the report: how maps are drawn if not as in the protocol, and whether a detector is used."""
        if self.kind != "model" or self.model is None:
            return ""
        said = ""
        if self.aligned != (self.config.protocol == "default"):
            said = ", maps placed at receptive-field centres" if self.aligned else ", maps resized to the image"
        if self.refine == "decoder" and self.config.boxes.detector and self.model.detects:
            said += ", boxes fused with those of the detector"
        return said

    @property
    def stage(self) -> str:
        """The name under which the time for getting predictions is reported."""
        return "reading and network" if self.kind == "model" else "reading"

    def pairs(self, samples: SampleSet, split: str, boxes: BoxConfig | None, *, read_boxes: bool = True) -> Pairs:
        """The predictions of a split; if settings are given, boxes are redrawn from the maps.

        An image that a model cannot read is a miss, as it is in stored localizations.

        Without ``read_boxes`` the boxes will not be used, and none are drawn from stored maps.

        Raises:
            UserError: predictions and annotations do not belong together, or cannot be read.
        """
        if self.kind == "model":
            return self._computed(samples, boxes)
        if boxes is not None and self._holds == "boxes":
            raise UserError(f"{self._place()} holds boxes and no maps: leave out threshold, box rule and selection")
        if self._holds == "maps":
            boxes = boxes or BoxConfig()
        pairs = READERS[self.kind].read(self._place(), self._split(samples, split), self.warnings)
        return _redrawn(pairs, boxes) if boxes is not None and read_boxes else pairs

    @property
    def _holds(self) -> str:
        return "model" if self.kind == "model" else READERS[self.kind].holds

    def _place(self) -> Path:
        assert self.config.predictions is not None
        return self.config.predictions

    def _split(self, samples: SampleSet, split: str) -> Split:
        data = self.config.data
        layout = detect_format(data.data) if data.format == "auto" and not data.download else data.format
        numbers = (lambda: Numbers(*coco_numbers(data.data, split))) if layout == "coco" else None
        side = 224 if self.config.protocol == "wsolevaluation" else None
        return Split(samples=samples, name=split, numbers=numbers, side=side)

    def _computed(self, samples: SampleSet, boxes: BoxConfig | None) -> Pairs:
        """The model's localizations of all classes in all images of the split."""
        self.predictor = self._predictor(samples, boxes)
        return self._localized(self.predictor, samples)

    def _predictor(self, samples: SampleSet, boxes: BoxConfig | None) -> Predictor:
        from wsl.inference import Predictor

        config, model = self.config, self.model
        assert model is not None
        assert config.weights is not None
        check_annotated(samples, config.weights, model.classes)
        return Predictor.from_configs(
            model,
            pick=PickConfig(classes=samples.classes),
            boxes=boxes or config.boxes,
            refine=self.refine,
            tta=config.tta,
            aligned=self.aligned,
            runtime=config.runtime,
            batch_size=config.batch_size,
            image_size=config.image_size,
        )

    def _localized(self, predictor: Predictor, samples: SampleSet) -> Pairs:
        from wsl.inference import Source

        runtime = self.config.runtime
        images = (Source(sample.path, id=sample.id) for sample in samples.samples)
        stream = predictor.stream(images, errors="return", workers=runtime.workers)
        done: set[Path] = set()
        for found, sample in zip(stream, samples.samples, strict=True):
            if not isinstance(found, BadImageError):
                done.add(sample.path)
                yield found, sample
            elif runtime.strict:
                raise found
            else:
                log.warning("skipped: %s", found)
        if done:
            yield from unpredicted(samples, done, self.warnings, "localization")


def _redrawn(pairs: Iterable[tuple[Localization, Sample]], boxes: BoxConfig) -> Pairs:
    for found, sample in pairs:
        yield dataclasses.replace(found, boxes=redrawn(found, boxes)), sample


def _recorded(settings: Path) -> BoxOrigin:
    """The origin of boxes as recorded by ``wsl-localize``; unknown if the results were moved without their settings."""
    try:
        record = load_json(settings, "the settings of wsl-localize")
        boxes = record["boxes"]
        return BoxOrigin(
            threshold=float(boxes["threshold"]), box_rule=str(boxes["box_rule"]), origin=str(record["box_origin"])
        )
    except (ValueError, KeyError, TypeError):
        return BoxOrigin(origin="boxes as wsl-localize drew them, with unknown settings")
