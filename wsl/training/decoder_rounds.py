"""Training of a map decoder in rounds: first on the refined maps of the classifier, then on its own refined maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from wsl import config as settings
from wsl.checkpoints import model_digest
from wsl.config import DecodeConfig, Refine
from wsl.data import stacked_targets
from wsl.errors import RunError, listed
from wsl.images import place
from wsl.inference import Predictor
from wsl.inference.views import views
from wsl.maps.refine import REFINEMENTS, Refinement
from wsl.maps.refine import decoder as walk
from wsl.models import Localizer
from wsl.progress import progress, track
from wsl.samples import SampleSet
from wsl.training.decoder import train_decoder
from wsl.training.decoder_features import DecoderFeatures, Mapped
from wsl.training.decoder_targets import Targets
from wsl.training.kept_rounds import KeptRounds
from wsl.training.located import localize_labelled

log = logging.getLogger("wsl")

# The first round whose target maps are means over two sizes.
_SIZES_FROM = 4


class DecoderTraining:
    """Training of a map decoder for a trained model, in the folder of its run.

    Finished rounds are stored in the folder, and an interrupted training continues after the last one. ``skipped``
    holds the images that could not be read.

    Raises:
        RunError: no image with a label could be read, or there is not enough disk space for the features.
    """

    def __init__(self, model: Localizer, samples: SampleSet, config: DecodeConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model.to(device), config, device
        self._features = DecoderFeatures(self.model, samples, config, device)
        self.samples, self.skipped = self._features.samples, self._features.skipped
        self._labels, self._known = map(torch.from_numpy, stacked_targets(self.samples))
        self._warn_of_missing()
        known = [
            model_digest(config.run),
            config.seed,
            len(self.samples),
            settings.to_json(config.decoding),
            config.mirrors,
        ]
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
                    self._features.levels,
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
        labels = [[model.classes.index(label) for label in sample.labels] for sample in self.samples.samples]
        padded = model.preprocessing.resize == "letterbox"
        targets = Targets(labels, self._features.cells, padded=padded, flip=config.mirrors)
        tta = round_views(number, self._features.sides, flip=config.mirrors)
        name = f"maps for round {number}"
        if number > 1 and self._features.suffice:
            assert model.decoder is not None
            mapped = self._features.maps(model.decoder, _walk(number), views(tta), labels)
            found = track(mapped, name, len(labels))
        else:
            found = self._localized(number, tta, name)
        for image, one in enumerate(found):
            if one is not None:
                targets.add(image, one.maps, one.place)
        return targets

    def _localized(self, number: int, tta: Sequence[str | int], name: str) -> Iterator[Mapped | None]:
        """The refined maps of the labelled classes of each image, from the image."""
        of_classifier: Refine = "affinity" if self.model.levels else "none"
        predictor = Predictor(
            self.model,
            refine=of_classifier if number == 1 else _walk(number),
            tta=tta,
            device=str(self.device),
            precision=self.config.runtime.precision,
        )
        found = localize_labelled(predictor, self.samples, self.config.runtime, self.skipped, name)
        for one, sample in zip(found, self.samples.samples, strict=True):
            if one is None:
                yield None
            else:
                maps = one.maps or {}
                yield Mapped([maps[label] for label in sample.labels], place(one.size, self.model.preprocessing))

    def _warn_of_missing(self) -> None:
        missing = [
            name
            for name, column in zip(self.samples.classes, self._labels.T, strict=True)
            if not bool((column == 1).any())
        ]
        if missing:
            log.warning("no training image shows %s: the decoder's maps of such a class are 0", listed(missing))


def _walk(number: int) -> Refinement:
    """The refinement of a decoder's maps for the targets of a round: a walk of ever fewer steps."""
    return REFINEMENTS["decoder"]._replace(apply=partial(walk.refine, steps=max(1, 4 - number)))


def round_views(number: int, sides: Sequence[int], *, flip: bool) -> list[str | int]:
    """The test-time augmentation of a round's target maps, for a network whose input may have these ``sides``.

    >>> [round_views(number, [288, 352], flip=True) for number in (1, 3, 4)], round_views(4, [288], flip=True)
    ([[], ['flip'], ['flip', 288, 352]], ['flip'])
    """
    return [*(["flip"] if flip and number > 1 else []), *(sides if number >= _SIZES_FROM and len(sides) > 1 else [])]
