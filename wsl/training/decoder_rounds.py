"""Training of a map decoder in rounds: first on the refined maps of the classifier, then on its own refined maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch

from wsl import config as settings
from wsl.checkpoints import model_digest
from wsl.config import DecodeConfig
from wsl.data import stacked_targets
from wsl.errors import RunError, UserError, listed
from wsl.images import place
from wsl.inference import Predictor
from wsl.maps.refine import REFINEMENTS, Refinement
from wsl.maps.refine import decoder as walk
from wsl.models import Features, Localizer
from wsl.models.decoder import finest
from wsl.models.taps import MAP
from wsl.progress import progress
from wsl.samples import SampleSet
from wsl.training.cache_room import affordable_part
from wsl.training.decoder import Levels, train_decoder
from wsl.training.decoder_targets import Cells, Targets, training_views
from wsl.training.features import FOLDER, FeatureCache
from wsl.training.kept_rounds import KeptRounds
from wsl.training.located import localize_labelled

log = logging.getLogger("wsl")

# The first round whose target maps are means over two sizes, and how much larger the second one is: by this part of the
# side, in steps of so many pixels.
_SIZES_FROM, _LARGER, _STEP = 4, 2 / 9, 32


class DecoderTraining:
    """Training of a map decoder for a trained model, in the folder of its run.

    Finished rounds are stored in the folder, and an interrupted training continues after the last one. ``skipped``
    holds the images that could not be read.

    Raises:
        RunError: no image with a label could be read, or there is not enough disk space for the features.
    """

    def __init__(self, model: Localizer, samples: SampleSet, config: DecodeConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model.to(device), config, device
        room, seen = config.decoding.decoder_cache, training_views(config.mirrors)
        self.samples = affordable_part(samples, model, room, "decoder", room, config.seed, views=len(seen))
        self._labels, self._known = map(torch.from_numpy, stacked_targets(self.samples))
        self._warn_of_missing()
        side = model.preprocessing.image_size
        grids = model.backbone.grids((side, side))
        shapes = model.backbone.level_shapes((side, side))
        every = (*grids.pyramid, grids.map)
        cache = FeatureCache(config.run.parent / FOLDER, model, config.runtime, device)
        layers = [*model.backbone.pyramid, MAP]
        views = [cache.levels(self.samples, view.mirrored, layers) for view in seen]
        self._levels = Levels(views, every, (side, side))
        best = finest([Features(torch.empty(1, *shape), grid) for shape, grid in zip(shapes, every, strict=True)])
        self._cells = Cells((best.values.shape[2], best.values.shape[3]), best.grid, side)
        self.skipped = cache.skipped
        known = [model_digest(config.run), config.seed, len(self.samples), settings.to_json(config.decoding), len(seen)]
        self._kept = KeptRounds(config.run, "decoder", self.rounds, known)

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return self.config.decoding.decoder_rounds

    def run(self) -> None:
        """Train the remaining rounds; the model then has the decoder of the last one."""
        rounds = self.rounds
        for number in self._kept.resume(self.model.add_decoder):
            targets = self._targets(number)
            if not targets.known.any():
                raise RunError("none of the images to train the decoder on could be read: see the lines above")
            torch.manual_seed(self.config.seed)
            decoder = self.model.add_decoder()
            total = int(targets.known.sum()) * self.config.decoding.decoder_epochs
            with progress(f"decoder, round {number}/{rounds}", total) as advance:
                loss = train_decoder(
                    decoder,
                    self._levels,
                    targets,
                    self._labels,
                    self._known,
                    self.config.decoding,
                    seed=self.config.seed,
                    advance=advance,
                )
            self._kept.keep(number, decoder)
            log.info("decoder, round %d/%d  loss %.4f", number, rounds, loss)

    def finish(self) -> None:
        """Remove the stored rounds; call this after the model is saved."""
        self._kept.remove()

    def _targets(self, number: int) -> Targets:
        """The target maps of a round."""
        model, config = self.model, self.config
        labels = [sample.labels for sample in self.samples.samples]
        indices = [[model.classes.index(label) for label in some] for some in labels]
        targets = Targets(indices, self._cells, padded=model.preprocessing.resize == "letterbox", flip=config.mirrors)
        predictor = Predictor(
            model,
            refine=self._refinement(number),
            tta=round_views(number, self._sides if number >= _SIZES_FROM else [], flip=config.mirrors),
            device=str(self.device),
            precision=config.runtime.precision,
        )
        name = f"maps for round {number}"
        found = localize_labelled(predictor, self.samples, config.runtime, self.skipped, name)
        for image, one in enumerate(found):
            if one is None:
                continue
            maps = one.maps or {}
            targets.add(image, [maps[label] for label in labels[image]], place(one.size, model.preprocessing))
        return targets

    def _refinement(self, number: int) -> Refinement | Literal["affinity", "none"]:
        """The refinement of a round's target maps: affinity in the first, then a walk of ever fewer steps."""
        if number == 1:
            return "affinity" if self.model.levels else "none"
        steps = max(1, 4 - number)
        return REFINEMENTS["decoder"]._replace(apply=partial(walk.refine, steps=steps))

    @property
    def _sides(self) -> list[int]:
        """The sides of the inputs in the last rounds: the model's own and a larger one, if the network takes it."""
        side = self.model.preprocessing.image_size
        larger = side + _STEP * max(1, round(side * _LARGER / _STEP))
        try:
            self.model.backbone.grids((larger, larger))
        except UserError:
            return []
        return [side, larger]

    def _warn_of_missing(self) -> None:
        missing = [
            name
            for name, column in zip(self.samples.classes, self._labels.T, strict=True)
            if not bool((column == 1).any())
        ]
        if missing:
            log.warning("no training image shows %s: the decoder's maps of such a class are 0", listed(missing))


def round_views(number: int, sides: Sequence[int], *, flip: bool) -> list[str | int]:
    """The test-time augmentation of a round's target maps.

    >>> round_views(1, [], flip=True), round_views(2, [], flip=True), round_views(4, [288, 352], flip=True)
    ([], ['flip'], ['flip', 288, 352])
    """
    return [*(["flip"] if flip and number > 1 else []), *sides]
