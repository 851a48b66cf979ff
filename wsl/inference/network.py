"""A batch through the network: images in, probabilities and the chosen classes' maps out, with one wait a batch."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from wsl.boxes import FloatArray
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images.cuda import decode_and_fit
from wsl.images.geometry import Geometry
from wsl.images.tensors import Normalise
from wsl.inference.inputs import Input
from wsl.maps.refine import REFINEMENTS
from wsl.models import Model

log = logging.getLogger("wsl")


class Output(NamedTuple):
    """What the network says of one image, on the host.

    Shape:
        ``probabilities`` (K,) float64; ``raw`` and ``maps`` (J, h, w) float32 for the J ``classes`` chosen, each
        covering exactly the image: as the network gives them, and refined (the same where nothing refines).
    """

    probabilities: np.ndarray
    classes: list[int]
    raw: FloatArray
    maps: FloatArray


class _Group(NamedTuple):
    """Images of a batch that lie alike on the network's input."""

    rows: list[int]
    raw: torch.Tensor
    maps: torch.Tensor | None


class Launched(NamedTuple):
    """A batch whose results are on their way to the host."""

    probabilities: torch.Tensor
    chosen: torch.Tensor
    groups: list[_Group]
    done: torch.cuda.Event | None


class Choice(NamedTuple):
    """Which classes of an image are localized: exactly ``classes`` (indices), or those of highest probability."""

    classes: tuple[int, ...]
    top_k: int | None
    score_threshold: float


class Network:
    """A model on its device. `launch` queues a batch there, `collect` waits for its results.

    Raises:
        UserError: the refinement needs intermediate features that the model does not show.
    """

    def __init__(
        self,
        model: Model,
        preprocessing: Preprocessing,
        choice: Choice,
        refine: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if refine != "none" and not model.taps:
            raise UserError(
                f"refine is {refine!r}, but this model shows no intermediate features of 4 to 16 pixels a cell: "
                "expected none, or a convolutional backbone (an ONNX file: the run that it was exported from)"
            )
        self.device, self.choice, self.preprocessing = device, choice, preprocessing
        self._grid, self._taps = model.grid, model.taps
        self._index = {name: number for number, name in enumerate(model.classes)}
        self._refine = None if refine == "none" else REFINEMENTS[refine]
        self._run = model.for_inference(device, dtype)
        self._normalise = Normalise(preprocessing, device)

    @torch.inference_mode()
    def launch(self, inputs: Sequence[Input]) -> Launched:
        """Queue a batch; on CUDA nothing here waits for the device unless every class above a score is wanted."""
        images = self._images(inputs)
        output = self._run(images, taps=self._refine is not None)
        probabilities = self._run.probabilities(output.scores)
        chosen = self._choose(probabilities, inputs)
        groups: list[_Group] = []
        if chosen.shape[1]:
            maps = output.maps_of(chosen.clamp(min=0).to(self.device)).float()
            layers = [layer.float() for layer in output.taps]
            with torch.autocast(self.device.type, enabled=False):
                groups = [self._read(rows, images, maps, layers, inputs[rows[0]].geometry) for rows in _alike(inputs)]
        launched = Launched(_to_host(probabilities), _to_host(chosen), groups, None)
        if self.device.type != "cuda":
            return launched
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return launched._replace(done=done)

    @torch.inference_mode()
    def all_maps(self, inputs: Sequence[Input]) -> torch.Tensor:
        """The maps of all classes, (N, K, h, w) float32 on the CPU, of the network's whole input."""
        if not inputs:
            return torch.empty(0)
        output = self._run(self._images(inputs))
        classes = torch.arange(output.scores.shape[1], device=self.device).expand(len(inputs), -1)
        return output.maps_of(classes).float().cpu()

    def collect(self, launched: Launched) -> list[Output]:
        """Wait for a batch, and give its results image by image."""
        if launched.done is not None:
            launched.done.synchronize()
        probabilities, chosen = launched.probabilities.numpy(), launched.chosen.numpy()
        nothing = np.empty((0, 1, 1), np.float32)
        outputs = [Output(row, [], nothing, nothing) for row in probabilities]
        for group in launched.groups:
            raw = group.raw.numpy()
            maps = raw if group.maps is None else group.maps.numpy()
            for place, row in enumerate(group.rows):
                kept = _distinct(chosen[row])
                some = slice(None) if len(kept) == chosen.shape[1] else kept
                classes = chosen[row][some].tolist()
                outputs[row] = Output(probabilities[row], classes, raw[place][some], maps[place][some])
        return outputs

    def _images(self, inputs: Sequence[Input]) -> torch.Tensor:
        """The batch as normalised images (N, 3, S, S) on the device."""
        jpegs = [row for row, one in enumerate(inputs) if one.jpeg is not None]
        if not jpegs:
            return self._normalise(np.stack([one.pixels for one in inputs if one.pixels is not None]))
        if len(jpegs) == len(inputs):
            return self._normalise.planes(decode_and_fit(inputs, self.preprocessing.image_size, self.device))
        side = self.preprocessing.image_size
        images = torch.empty((len(inputs), 3, side, side), device=self.device, memory_format=torch.channels_last)
        others = [row for row, one in enumerate(inputs) if one.jpeg is None]
        images[jpegs] = self._images([inputs[row] for row in jpegs])
        images[others] = self._images([inputs[row] for row in others])
        return images

    def _choose(self, probabilities: torch.Tensor, inputs: Sequence[Input]) -> torch.Tensor:
        """Class indices (N, J) on the device, -1 for none."""
        own = self._picked(probabilities)
        if all(one.classes is None for one in inputs):
            return own
        named = [None if one.classes is None else [self._index[name] for name in one.classes] for one in inputs]
        most = max(own.shape[1], *(len(wanted) for wanted in named if wanted is not None))
        rows = [wanted and wanted + [-1] * (most - len(wanted)) for wanted in named]
        device = probabilities.device
        table = torch.tensor([row or [-1] * most for row in rows], dtype=torch.int64).reshape(len(rows), most)
        padded = torch.nn.functional.pad(own, (0, most - own.shape[1]), value=-1)
        given = torch.tensor([[wanted is not None] for wanted in named])
        return torch.where(given.to(device), table.to(device), padded)

    def _picked(self, probabilities: torch.Tensor) -> torch.Tensor:
        choice = self.choice
        if choice.classes:
            return torch.tensor(choice.classes, device=probabilities.device).expand(len(probabilities), -1)
        values, order = probabilities.sort(dim=1, descending=True, stable=True)
        most = probabilities.shape[1]
        if choice.top_k is not None:
            most = min(choice.top_k, most)
        elif choice.score_threshold > 0:
            most = int((values >= choice.score_threshold).sum(1).max())
        values, order = values[:, :most], order[:, :most]
        return torch.where(values >= choice.score_threshold, order, -1)

    def _read(
        self,
        rows: list[int],
        images: torch.Tensor,
        maps: torch.Tensor,
        layers: Sequence[torch.Tensor],
        geometry: Geometry,
    ) -> _Group:
        """Crop the maps of images that lie alike to the images, refine them, and send them to the host."""
        if len(rows) != len(maps):
            images, maps, layers = images[rows], maps[rows], [layer[rows] for layer in layers]
        raw = geometry.crop_tensor(maps, self._grid)
        if self._refine is None:
            return _Group(rows, _to_host(raw), None)
        features = [geometry.crop_tensor(layer, tap.grid) for layer, tap in zip(layers, self._taps, strict=True)]
        image = self._normalise.invert(geometry.crop_pixels(images))
        return _Group(rows, _to_host(raw), _to_host(self._refine(raw, image, features)))


def _alike(inputs: Sequence[Input]) -> list[list[int]]:
    """Rows of a batch by where the images lie on the network's input."""
    groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for row, one in enumerate(inputs):
        groups[one.geometry.content].append(row)
    return list(groups.values())


def _distinct(classes: np.ndarray) -> list[int]:
    """Places of the first of each class, without -1."""
    first: dict[int, int] = {}
    for place, number in enumerate(classes.tolist()):
        if number >= 0:
            first.setdefault(number, place)
    return list(first.values())


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU; from CUDA a copy that is under way, into memory that the device can write by itself."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
