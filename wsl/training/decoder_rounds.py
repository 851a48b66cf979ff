"""The rounds in which a map decoder is trained: on the classifier's refined maps, then on its own, refined."""

from __future__ import annotations

import hashlib
import json
import logging
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsl import config as settings
from wsl.checkpoints import model_digest
from wsl.config import DecodeConfig
from wsl.data import stacked_targets
from wsl.errors import BadImageError, RunError, listed
from wsl.files import replacing
from wsl.images import place
from wsl.inference import Predictor, Source
from wsl.maps.refine import REFINEMENTS, Refinement
from wsl.maps.refine import decoder as walk
from wsl.models import Features, Localizer
from wsl.models.decoder import finest
from wsl.models.taps import MAP
from wsl.progress import progress, track
from wsl.samples import SampleSet
from wsl.training.decoder import Levels, train_decoder
from wsl.training.decoder_targets import VIEWS, Cells, Targets
from wsl.training.features import FeatureCache, affordable, report_skipped

log = logging.getLogger("wsl")


class DecoderTraining:
    """The training of a map decoder for a trained model, in a run's folder.

    Each round that is finished is kept there, and a training that was stopped goes on after it. ``skipped`` counts the
    images that could not be read.

    Raises:
        RunError: no image with a label could be read, or the disk has not the room for features.
    """

    def __init__(self, model: Localizer, samples: SampleSet, config: DecodeConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model.to(device), config, device
        self.samples = self._affordable(samples)
        self._labels, self._known = map(torch.from_numpy, stacked_targets(self.samples))
        self._warn_of_missing()
        side = model.preprocessing.image_size
        grids = model.backbone.grids((side, side))
        shapes = model.backbone.level_shapes((side, side))
        every = (*grids.pyramid, grids.map)
        cache = FeatureCache(config.run.parent / ".features", model, config.runtime, device)
        layers = [*model.backbone.pyramid, MAP]
        views = [cache.levels(self.samples, view.mirrored, layers) for view in VIEWS]
        self._levels = Levels(views, every, (side, side))
        best = finest([Features(torch.empty(1, *shape), grid) for shape, grid in zip(shapes, every, strict=True)])
        self._cells = Cells((best.values.shape[2], best.values.shape[3]), best.grid, side)
        self.skipped = cache.skipped

    def run(self) -> None:
        """Train all rounds that are left; the model then has the last one's decoder."""
        rounds = self.config.decoding.decoder_rounds
        done = self._resume()
        for number in range(done + 1, rounds + 1):
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
            self._keep(number)
            log.info("decoder, round %d/%d  loss %.4f", number, rounds, loss)

    def finish(self) -> None:
        """Remove the rounds that were kept; call it once the model is saved."""
        for number in range(1, self.config.decoding.decoder_rounds + 1):
            self._path(number).unlink(missing_ok=True)

    def _targets(self, number: int) -> Targets:
        """The target maps of a round."""
        model, config = self.model, self.config
        labels = [sample.labels for sample in self.samples.samples]
        indices = [[model.classes.index(label) for label in some] for some in labels]
        targets = Targets(indices, self._cells, padded=model.preprocessing.resize == "letterbox")
        predictor = Predictor(
            model,
            refine=self._refinement(number),
            tta=["flip"] if number > 1 else [],
            device=str(self.device),
            precision=config.runtime.precision,
        )
        found = predictor.stream(
            (Source(sample.path, classes=sample.labels) for sample in self.samples.samples),
            errors="return",
            workers=config.runtime.workers,
        )
        name = f"maps for round {number}"
        for image, one in enumerate(track(found, name, len(labels))):
            if isinstance(one, BadImageError):
                report_skipped([str(one)], self.skipped, config.runtime.strict)
                continue
            maps = one.maps or {}
            targets.add(image, [maps[label] for label in labels[image]], place(one.size, model.preprocessing))
        return targets

    def _refinement(self, number: int) -> Refinement | Literal["affinity", "none"]:
        """How the maps are refined that a round learns: those of a classifier far, those of a decoder less and less."""
        if number == 1:
            return "affinity" if self.model.levels else "none"
        steps = max(1, 4 - number)
        return REFINEMENTS["decoder"]._replace(apply=partial(walk.refine, steps=steps))

    def _affordable(self, samples: SampleSet) -> SampleSet:
        """So many images, chosen at random, that their features fit into the room given for them."""
        most = affordable(self.model, self.config.decoding)
        if most >= len(samples):
            return samples
        chosen = np.sort(np.random.default_rng(self.config.seed).permutation(len(samples))[:most])
        log.warning(
            "the decoder is trained on %d of %d images, since the features of no more fit into --decoder-cache %g "
            "(gigabytes)",
            most,
            len(samples),
            self.config.decoding.decoder_cache,
        )
        return SampleSet(classes=samples.classes, samples=tuple(samples.samples[row] for row in chosen))

    def _warn_of_missing(self) -> None:
        missing = [
            name
            for name, column in zip(self.samples.classes, self._labels.T, strict=True)
            if not bool((column == 1).any())
        ]
        if missing:
            log.warning("no training image shows %s: the decoder's maps of such a class are 0", listed(missing))

    def _path(self, number: int) -> Path:
        return self.config.run / "last" / f"decoder-{number}.safetensors"

    def _identity(self) -> str:
        """What rounds have to have in common to follow each other."""
        known = [model_digest(self.config.run), self.config.seed, len(self.samples)]
        text = json.dumps([*known, settings.to_json(self.config.decoding)])
        return hashlib.sha256(text.encode()).hexdigest()

    def _keep(self, number: int) -> None:
        assert self.model.decoder is not None
        state = {name: tensor.cpu().contiguous() for name, tensor in self.model.decoder.state_dict().items()}
        with replacing(self._path(number)) as temporary:
            save_file(state, temporary, metadata={"identity": self._identity()})

    def _resume(self) -> int:
        """Put back the last round that was finished with these settings; how many there were."""
        for number in range(self.config.decoding.decoder_rounds, 0, -1):
            path = self._path(number)
            try:
                with safe_open(path, framework="pt") as file:
                    state = {name: file.get_tensor(name) for name in list(file.keys())}
                    same = (file.metadata() or {}).get("identity") == self._identity()
            except (SafetensorError, OSError):  # there is none, or half of one
                continue
            if same:
                self.model.add_decoder().load_state_dict(state)
                self.model.eval()
                log.info("decoder: going on after round %d", number)
                return number
        return 0
