"""Training of a box detector in rounds: first on the boxes of the decoder's maps, then on these fused with its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from wsl import config as settings
from wsl.checkpoints import model_digest
from wsl.config import BoxConfig, DetectConfig
from wsl.config.shared import BOX_DEFAULTS
from wsl.data import stacked_targets
from wsl.errors import RunError, UserError
from wsl.images import place
from wsl.inference import Predictor
from wsl.maps import nms
from wsl.models import Localizer, choose_dtype
from wsl.models.taps import MAP
from wsl.progress import progress
from wsl.results import Localization
from wsl.samples import SampleSet
from wsl.training.cache_room import affordable_part
from wsl.training.decoder_targets import training_views
from wsl.training.detector import Scene, Scenes, train_detector
from wsl.training.detector_targets import LabelledBoxes, Part
from wsl.training.features import FOLDER, FeatureCache, identify_files
from wsl.training.kept_rounds import KeptRounds
from wsl.training.located import localize_labelled
from wsl.training.mosaics import draw_mosaics, plan_mosaics

Layers = Sequence[npt.NDArray[np.float16]]

log = logging.getLogger("wsl")

# Boxes that score less than _LEAST times the best box of their class in the image are dropped, and may be found in the
# next round; of two boxes with an IoU above _OVERLAP the one with the lower score is dropped.
_LEAST, _OVERLAP = 0.5, 0.4


class DetectorTraining:
    """Training of a box detector for a model with a map decoder, in the folder of its run.

    Finished rounds are stored in the folder, and an interrupted training continues after the last one. ``skipped``
    holds the images that could not be read.

    Raises:
        UserError: the model has no map decoder.
        RunError: no image with a label could be read, or there is not enough disk space for the features.
    """

    def __init__(self, model: Localizer, samples: SampleSet, config: DetectConfig, device: torch.device) -> None:
        if not model.decodes:
            raise UserError(
                f"{config.run} has no map decoder, whose boxes a detector learns from: expected a run of wsl-train "
                "--decode, or wsl-train --decoder before"
            )
        self.model, self.config, self.device = model.to(device), config, device
        self._views = training_views(config.mirrors)
        self.samples = self._affordable(samples)
        self._labels, self._known = stacked_targets(self.samples)
        self.skipped: set[str] = set()
        self._features = self._cached()
        learnt = [settings.to_json(config.detecting), len(self._views)]
        known = [model_digest(config.run), config.seed, len(self.samples), *learnt]
        self._kept = KeptRounds(config.run, "detector", self.rounds, known)

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return self.config.detecting.detector_rounds

    def run(self) -> None:
        """Train the remaining rounds; the model then has the detector of the last one."""
        config, rounds = self.config, self.rounds
        for number in self._kept.resume(self.model.add_detector):
            found = self._found(number)
            scenes, boxes = self._scenes(found), [labelled_boxes(one, self.model.classes) for one in found]
            torch.manual_seed(config.seed)
            detector = self.model.add_detector()
            total = len(scenes.items) * config.detecting.detector_epochs
            with progress(f"detector, round {number}/{rounds}", total) as advance:
                loss = train_detector(
                    detector,
                    scenes,
                    boxes,
                    self._labels,
                    self._known,
                    config.detecting,
                    dtype=choose_dtype(config.runtime.precision, self.device),
                    seed=config.seed,
                    advance=advance,
                )
            self._kept.keep(number, detector)
            learnt = sum(len(one.weights) for one in boxes)
            log.info("detector, round %d/%d  loss %.4f  of %d boxes", number, rounds, loss, learnt)

    def finish(self) -> None:
        """Remove the stored rounds and mosaics; call this after the model is saved."""
        self._kept.remove()
        self._features = [], []  # Windows cannot remove open files
        for folder in (self.config.run / "last").glob("mosaics-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _found(self, number: int) -> list[Localization | None]:
        """The boxes of each image's classes: from the decoder, and after the first round also from the detector."""
        first = number == 1
        boxes = BoxConfig(box_rule="all" if first else None, box_score="height", detector=not first)
        predictor = Predictor.from_configs(
            self.model,
            boxes=boxes.resolved(BOX_DEFAULTS["decoder"]),
            runtime=self.config.runtime,
            refine="decoder",
            tta=["flip"] if self.config.mirrors else [],
        )
        name = f"boxes for round {number}"
        found = localize_labelled(predictor, self.samples, self.config.runtime, self.skipped, name)
        return [None if one is None else dataclasses.replace(one, maps=None, image=None) for one in found]

    def _cached(self) -> tuple[list[Layers], list[tuple[Part, ...]]]:
        """The features of all images in their views and of their mosaics, and the images in each mosaic."""
        side, layers = self.model.preprocessing.image_size, [*self.model.backbone.pyramid, MAP]
        cache = self._cache(self.config.run.parent / FOLDER)
        views: list[Layers] = [cache.levels(self.samples, view.mirrored, layers) for view in self._views]
        self.skipped |= cache.skipped
        readable = cache.readable(views[0][0])
        if not (readable & (self._labels == 1).any(1)).any():
            raise RunError("none of the images to train the detector on could be read: see the lines above")
        count = round(self.config.detecting.detector_mosaics * int(readable.sum()))
        seed, flip = self.config.seed, self.config.mirrors
        plans = plan_mosaics(self._labels, self._known, readable, count, side, seed, flip=flip)
        if plans:
            files = identify_files(self.samples)
            digest = hashlib.sha256(json.dumps([files, plans, side]).encode()).hexdigest()[:16]
            folder = self.config.run / "last" / f"mosaics-{digest}"
            drawn = draw_mosaics(plans, self.samples, side, folder)
            views.append(self._cache(folder).levels(drawn, False, layers))
        return views, plans

    def _cache(self, folder: Path) -> FeatureCache:
        return FeatureCache(folder, self.model, self.config.runtime, self.device)

    def _scenes(self, found: Sequence[Localization | None]) -> Scenes:
        """The training inputs: each readable image in one of its views, and the mosaics."""
        model, side = self.model, self.model.preprocessing.image_size
        views, plans = self._features
        items: list[tuple[Scene, ...]] = []
        for image, one in enumerate(found):
            if one is not None:
                geometry = place(one.size, model.preprocessing)
                parts = [Part(image, view.mirrored, view.geometry(geometry).content) for view in self._views]
                items.append(tuple(Scene(number, image, (part,)) for number, part in enumerate(parts)))
        items += [(Scene(len(self._views), row, parts),) for row, parts in enumerate(plans)]
        grids = model.backbone.grids((side, side))
        return Scenes(items, views, (*grids.pyramid, grids.map), (side, side))

    def _affordable(self, samples: SampleSet) -> SampleSet:
        """The samples whose features, with those of their mosaics, fit into the cache; chosen at random."""
        config = self.config.detecting
        room, views = config.detector_cache, len(self._views)
        images = room / (1 + config.detector_mosaics / views)
        return affordable_part(samples, self.model, images, "detector", room, self.config.seed, views=views)


def labelled_boxes(found: Localization | None, classes: Sequence[str]) -> LabelledBoxes:
    """The boxes of an image as training targets of a detector; empty for an unreadable image.

    The weight of a box is its score divided by the best score of its class in the image.

    >>> from wsl import Boxes
    >>> two = Boxes(xyxy=[[0, 0, 50, 40], [60, 0, 90, 40]], labels=["dog", "dog"], scores=[0.8, 0.6])
    >>> boxes = labelled_boxes(Localization(path="a.jpg", size=(100, 40), scores={}, boxes=two), ["cat", "dog"])
    >>> boxes.classes.tolist(), boxes.xyxy.round(2).tolist()[0], boxes.weights.round(2).tolist()
    ([1, 1], [0.0, 0.0, 0.5, 1.0], [1.0, 0.75])
    """
    if found is None or not len(found.boxes):
        return LabelledBoxes.none()
    boxes = found.boxes
    index = np.array([classes.index(label) for label in boxes.labels], np.int64)
    best = np.zeros(len(classes), np.float32)
    np.maximum.at(best, index, boxes.scores)
    weights = np.asarray(boxes.scores / np.maximum(best[index], np.finfo(np.float32).tiny), np.float32)
    kept = nms(boxes.xyxy, weights, _OVERLAP, index)
    kept = kept[weights[kept] >= _LEAST]
    fractions = np.asarray(boxes.xyxy[kept] / np.array(found.size * 2), np.float32)
    return LabelledBoxes(index[kept], fractions, weights[kept])
