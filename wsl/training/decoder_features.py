"""Cached features of a decoder's training images, and the decoder's maps of them without running the backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl.config import DecodeConfig
from wsl.errors import UserError
from wsl.images import place
from wsl.images.decode import image_size
from wsl.images.geometry import Geometry
from wsl.inference.stream import batched
from wsl.inference.views import View, mean_of_views
from wsl.maps.refine import Refinement
from wsl.models import Features, Localizer, MapDecoder
from wsl.models.decoder import finest
from wsl.models.grid import Grid
from wsl.models.protocol import gather_maps
from wsl.models.taps import MAP
from wsl.samples import SampleSet
from wsl.training.cache_room import affordable_part, image_bytes
from wsl.training.decoder import Levels
from wsl.training.decoder_targets import Cells, training_views
from wsl.training.features import FOLDER, FeatureCache

FloatArray = npt.NDArray[np.float32]
_AT_ONCE = 32
# The second side of the images is larger by this part, in steps of so many pixels.
_LARGER, _STEP = 2 / 9, 32


class Layer(NamedTuple):
    """The cached features of one layer, (images, C, h, w) float16, and the positions of its cells."""

    values: npt.NDArray[np.float16]
    grid: Grid | None

    def of(self, images: Sequence[int], device: torch.device) -> Features:
        """The features of some images, in float32 on the device."""
        return Features(torch.from_numpy(self.values[list(images)]).to(device).float(), self.grid)


class Mapped(NamedTuple):
    """The maps of an image's classes, each covering exactly the image, and where it lies in the network's input."""

    maps: Sequence[FloatArray]
    place: Geometry


class DecoderFeatures:
    """The features of a decoder's training images, in each of their views, in files beside the run.

    ``samples`` are the images whose features fit into the space in the settings, ``skipped`` those that could not be
    read. ``sides`` are those of the network's input: the model's own and a larger one, if the network takes it.

    Raises:
        BadImageError: an image cannot be read, and ``runtime.strict`` is set.
        RunError: there is not enough disk space.
    """

    def __init__(self, model: Localizer, samples: SampleSet, config: DecodeConfig, device: torch.device) -> None:
        self._model, self._config, self._device = model, config, device
        self._views, self._room = training_views(config.mirrors), config.decoding.decoder_cache
        self.samples = affordable_part(
            samples, model, self._room, "decoder", self._room, config.seed, views=len(self._views)
        )
        self.skipped: set[str] = set()
        self.sides = _sides(model)
        self._caches: dict[int, FeatureCache] = {}
        layers = [self._layers(view) for view in self._views]
        best, side = finest([one.of([], torch.device("cpu")) for one in layers[0]]), self.sides[0]
        self.cells = Cells((best.values.shape[2], best.values.shape[3]), best.grid, side)
        self.levels = Levels(
            [[one.values for one in view] for view in layers], [one.grid for one in layers[0]], (side, side)
        )

    @cached_property
    def suffice(self) -> bool:
        """Whether there is space for all features that `maps` reads; if not, the backbone has to run in each round."""
        views = sum(len(self._views) * image_bytes(self._model, side) for side in self.sides)
        taps = image_bytes(self._model, self.sides[0], self._more)
        return (views + taps) * len(self.samples) <= self._room * 1e9

    def maps(
        self, decoder: MapDecoder, refinement: Refinement, views: Sequence[View], labels: Sequence[Sequence[int]]
    ) -> Iterator[Mapped | None]:
        """The maps of each image's classes, averaged over views and refined; None for an image that cannot be read.

        They are those of a `Predictor` up to rounding, except that with several sides each is resized from the image.
        """
        inputs = [self._layers(view) for view in views]
        taps = self._read(views[0], self._model.backbone.taps)
        places = self._places
        contents = [places[image].content if image in places else None for image in range(len(labels))]
        # A refinement takes images of the same geometry.
        for content, alike in groupby(range(len(labels)), contents.__getitem__):
            for images in batched(alike, _AT_ONCE):
                if content is None:
                    yield from [None] * len(images)
                    continue
                where = places[images[0]]
                most = max(len(labels[image]) for image in images)
                padded = [[*labels[image], *[0] * (most - len(labels[image]))] for image in images]
                classes = torch.tensor(padded, dtype=torch.int64, device=self._device)
                maps = self._averaged(decoder, views, inputs, images, where, classes)
                first = views[0].geometry(where)
                features = [first.crop_tensor(*tap.of(images, self._device), refinement.cells) for tap in taps]
                for image, refined in zip(images, refinement.apply(maps, None, features).cpu().numpy(), strict=True):
                    yield Mapped(refined[: len(labels[image])], places[image])

    @torch.inference_mode()
    def _averaged(
        self,
        decoder: MapDecoder,
        views: Sequence[View],
        inputs: Sequence[Sequence[Layer]],
        images: Sequence[int],
        where: Geometry,
        classes: torch.Tensor,
    ) -> torch.Tensor:
        """The decoder's maps of some classes of images with the same geometry, averaged over views."""
        found = []
        for view, layers in zip(views, inputs, strict=True):
            levels = [layer.of(images, self._device) for layer in layers]
            side = view.side or self.sides[0]
            logits = gather_maps(decoder(levels, (side, side)), classes)
            found.append(view.cropped(where, Features(logits.sigmoid(), finest(levels).grid)))
        return mean_of_views(found)

    @cached_property
    def _places(self) -> dict[int, Geometry]:
        """Where each readable image lies in the network's input, by its index."""
        readable = np.flatnonzero(FeatureCache.readable(self.levels.views[0][0])).tolist()
        paths = [sample.path for sample in self.samples.samples]
        return {image: place(image_size(paths[image]), self._model.preprocessing) for image in readable}

    def _layers(self, view: View) -> list[Layer]:
        """The inputs of a decoder for all images in a view."""
        names = [*self._model.backbone.pyramid, MAP]
        # What `maps` reads of the first view comes from the same pass over the images.
        more = self._more if view == self._views[0] and self.suffice else []
        return self._read(view, [*names, *more])[: len(names)]

    @property
    def _more(self) -> list[str]:
        """The layers that a refinement reads and a decoder does not."""
        backbone = self._model.backbone
        return [name for name in backbone.taps if name not in backbone.pyramid]

    def _read(self, view: View, names: Sequence[str]) -> list[Layer]:
        """The features of some layers for all images in a view, computed unless they are stored."""
        side, backbone = view.side or self.sides[0], self._model.backbone
        if side not in self._caches:
            folder = self._config.run.parent / FOLDER
            self._caches[side] = FeatureCache(folder, self._model, self._config.runtime, self._device, side)
            self._caches[side].skipped = self.skipped
        positions = backbone.grids((side, side))
        grids = {**dict(zip(backbone.taps, positions.taps, strict=True)), MAP: positions.map}
        grids |= dict(zip(backbone.pyramid, positions.pyramid, strict=True))
        values = self._caches[side].levels(self.samples, view.mirrored, names)
        return [Layer(one, grids[name]) for name, one in zip(names, values, strict=True)]


def _sides(model: Localizer) -> list[int]:
    """The sides of a network's input: the model's own and a larger one, if the network takes it."""
    side = model.preprocessing.image_size
    larger = side + _STEP * max(1, round(side * _LARGER / _STEP))
    try:
        model.backbone.grids((larger, larger))
    except UserError:
        return [side]
    return [side, larger]
