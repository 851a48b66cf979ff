"""A batch in the network: from images to probabilities and maps of the chosen classes, with one wait per batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images.cuda import Planes, decode_planes, fit_planes
from wsl.images.geometry import Geometry
from wsl.images.tensors import Normalise
from wsl.inference.inputs import Input
from wsl.inference.views import View, mean_of_views
from wsl.maps.refine import REFINEMENTS, Refinement
from wsl.models import Detected, Features, LazyOutput, Model


class Group(NamedTuple):
    """Maps of the images of a batch that have the same geometry on the network's input.

    Shape:
        ``raw`` (n, J, h, w) float32, each covering exactly its image, for the n ``rows`` of the batch; ``maps`` are the
        refined maps, at another resolution, or None without refinement.
    """

    rows: list[int]
    raw: torch.Tensor
    maps: torch.Tensor | None


class Output(NamedTuple):
    """The network's results for a batch.

    Shape:
        ``best`` (N, S) are class indices and ``probabilities`` (N, S) float64 theirs, highest first; ``chosen`` (N, J)
        are the classes to localize, -1 for none, and ``confidences`` (N, J) float64 theirs. ``detected`` is what a
        detector found of the chosen classes in all views, in pixels of the input. ``planes`` are inputs that the
        device reads until the event is done.
    """

    best: torch.Tensor
    probabilities: torch.Tensor
    chosen: torch.Tensor
    confidences: torch.Tensor
    groups: list[Group]
    detected: Detected | None = None
    done: torch.cuda.Event | None = None
    planes: Planes | None = None


class Loaded(NamedTuple):
    """A batch whose JPEGs are decoded on the device, in order."""

    inputs: Sequence[Input]
    planes: Planes


class Choice(NamedTuple):
    """Which classes of an image to localize: exactly ``classes`` (indices), or those with the highest probabilities."""

    classes: tuple[int, ...]
    top_k: int | None
    score_threshold: float


class Shown(NamedTuple):
    """The results of one view of a batch: the maps of the chosen classes, and the positions of their cells."""

    view: View
    maps: Features


class Network:
    """A model on its device. The scores and maps of several views of an image are averaged.

    Raises:
        UserError: the refinement needs intermediate features that the model does not have.
    """

    def __init__(
        self,
        model: Model,
        preprocessing: Preprocessing,
        choice: Choice,
        refine: str | Refinement,
        device: torch.device,
        dtype: torch.dtype,
        max_scores: int | None,
        views: Sequence[View],
        aligned: bool = True,
        detect: bool = True,
    ) -> None:
        if isinstance(refine, str):
            self._refine = None if refine == "none" else REFINEMENTS[refine]
        else:
            self._refine = refine
        self._decoded = self._refine is not None and self._refine.decoded
        self._detects = self._decoded and detect and model.detects
        self._reads_features = self._refine is not None and self._refine.reads_features
        if self._reads_features and not self._decoded and not model.levels:
            of_image = ", ".join(name for name, one in REFINEMENTS.items() if not one.reads_features)
            raise UserError(
                f"refine is {refine!r}, but this model shows no intermediate features of 4 to 16 pixels a cell: "
                f"expected none, one that reads the image alone ({of_image}), or a convolutional backbone (an ONNX "
                "file: the run that it was exported from)"
            )
        self.device, self.choice, self.preprocessing = device, choice, preprocessing
        self.max_scores, self._views, self._aligned = max_scores, tuple(views), aligned
        self._index = {name: number for number, name in enumerate(model.classes)}
        self._run = model.for_inference(device, dtype)
        self._normalise = Normalise(preprocessing, device)

    def load(self, inputs: Sequence[Input]) -> Loaded:
        """Decode a batch's JPEGs on the device; other images stay on the CPU.

        Raises:
            UndecodedError: the device refuses a file.
        """
        encoded = [one for one in inputs if one.jpeg is not None]
        return Loaded(inputs, decode_planes(encoded, self.device) if encoded else Planes([]))

    @torch.inference_mode()
    def launch(self, loaded: Loaded) -> Output:
        """Queue a batch. On CUDA nothing here waits for the device, unless every class above a score is requested: the
        results are available when the output's event is done."""
        inputs = loaded.inputs
        images = self.images(loaded)
        # Refinements read the features of the first view.
        outputs = [self._run(view.of(images), taps=self._reads_taps(n)) for n, view in enumerate(self._views)]
        probabilities = self._run.probabilities(mean_of_views([output.scores for output in outputs]))
        # Ties go to the first class.
        values, order = probabilities.sort(dim=1, descending=True, stable=True)
        chosen = self._choose(values, order, inputs)
        confidences = probabilities.gather(1, chosen.clamp(min=0))
        groups: list[Group] = []
        detected = None
        if chosen.shape[1]:
            wanted = chosen.clamp(min=0).to(self.device)
            lazy = [output.maps(decoded=self._decoded) for output in outputs]
            shown = [
                Shown(view, Features(one.of(wanted).float(), one.grid if self._aligned else None))
                for view, one in zip(self._views, lazy, strict=True)
            ]
            # bmm of channels-last tensors would run channel by channel.
            layers = [
                Features(
                    layer.to(torch.float32, memory_format=torch.contiguous_format), grid if self._aligned else None
                )
                for layer, grid in outputs[0].taps
            ]
            if self._detects:
                detected = self._detect(outputs, wanted)
            with torch.autocast(self.device.type, enabled=False):
                groups = [self._read(rows, images, shown, layers, inputs[rows[0]].geometry) for rows in _alike(inputs)]
        kept = slice(None, self.max_scores)
        return Output(
            best=_to_host(order[:, kept]),
            probabilities=_to_host(values[:, kept]),
            chosen=_to_host(chosen),
            confidences=_to_host(confidences),
            groups=groups,
            detected=detected,
            done=_recorded_event() if self.device.type == "cuda" else None,
            planes=loaded.planes,
        )

    def _detect(self, outputs: Sequence[LazyOutput], wanted: torch.Tensor) -> Detected:
        """What the detector finds of the classes in every view, on its way to the host."""
        found = [one.detected(wanted) for one in outputs if one.detected is not None]
        side = self.preprocessing.image_size
        xyxy = [view.boxes(one.xyxy, side) for view, one in zip(self._views, found, strict=True)]
        return Detected(_to_host(torch.cat(xyxy, 2)), _to_host(torch.cat([one.scores for one in found], 2)))

    @torch.inference_mode()
    def all_maps(self, loaded: Loaded) -> torch.Tensor:
        """The maps of all classes, (N, K, h, w) float32 on the CPU, covering the network's whole input."""
        output = self._run(self._views[0].of(self.images(loaded)))
        classes = torch.arange(output.scores.shape[1], device=self.device).expand(len(loaded.inputs), -1)
        return output.maps_of(classes).float().cpu()

    @torch.inference_mode()
    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """The probabilities of all classes, (N, K) float64, for normalised images (N, 3, S, S) on the device."""
        return self._run.probabilities(mean_of_views([self._run(view.of(images)).scores for view in self._views]))

    def images(self, loaded: Loaded) -> torch.Tensor:
        """The batch as normalised images (N, 3, S, S) on the device."""
        inputs, planes = loaded
        side = self.preprocessing.image_size
        pixels = [one.pixels for one in inputs if one.pixels is not None]
        if not planes.images:
            return self._normalise(np.stack(pixels))
        decoded = fit_planes(planes, side, self._normalise)
        if not pixels:
            return decoded
        images = torch.empty((len(inputs), 3, side, side), device=self.device)
        images = images.contiguous(memory_format=torch.channels_last)
        on_device = torch.tensor([one.jpeg is not None for one in inputs]).to(self.device)
        images[on_device], images[~on_device] = decoded, self._normalise(np.stack(pixels))
        return images

    def _choose(self, values: torch.Tensor, order: torch.Tensor, inputs: Sequence[Input]) -> torch.Tensor:
        """Class indices (N, J), -1 for none, from the probabilities in descending order and their classes."""
        own = self._picked(values, order)
        if all(one.classes is None for one in inputs):
            return own
        named = [None if one.classes is None else [self._index[name] for name in one.classes] for one in inputs]
        most = max(own.shape[1], *(len(wanted) for wanted in named if wanted is not None))
        table = torch.full((len(named), most), -1)
        for row, wanted in enumerate(named):
            if wanted:
                table[row, : len(wanted)] = torch.tensor(wanted)
        padded = torch.nn.functional.pad(own, (0, most - own.shape[1]), value=-1)
        given = torch.tensor([[wanted is not None] for wanted in named])
        return torch.where(given.to(own.device), table.to(own.device), padded)

    def _picked(self, values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        choice = self.choice
        if choice.classes:
            return torch.tensor(choice.classes, device=order.device).expand(len(order), -1)
        most = values.shape[1]
        if choice.top_k is not None:
            most = min(choice.top_k, most)
        elif choice.score_threshold > 0:
            most = int((values >= choice.score_threshold).sum(1).max())
        return torch.where(values[:, :most] >= choice.score_threshold, order[:, :most], -1)

    def _reads_taps(self, view: int) -> bool:
        return self._decoded or (self._reads_features and view == 0)

    def _read(
        self,
        rows: list[int],
        images: torch.Tensor,
        shown: Sequence[Shown],
        layers: Sequence[Features],
        geometry: Geometry,
    ) -> Group:
        """Crop the maps of images with the same geometry to the images, refine them, and send them to the CPU."""
        if len(rows) != len(images):
            images, layers = images[rows], [Features(one.values[rows], one.grid) for one in layers]
            shown = [Shown(view, Features(maps.values[rows], maps.grid)) for view, maps in shown]
        raw = mean_of_views([view.cropped(geometry, maps) for view, maps in shown])
        if self._refine is None:
            return Group(rows, _to_host(raw), None)
        cells, first = self._refine.cells, self._views[0].geometry(geometry)
        features = [first.crop_tensor(*layer, cells) for layer in layers]
        image = self._normalise.invert(geometry.crop_pixels(images)) if self._refine.reads_image else None
        return Group(rows, _to_host(raw), _to_host(self._refine.apply(raw, image, features)))


def _alike(inputs: Sequence[Input]) -> list[list[int]]:
    """The rows of a batch grouped by the geometry of the images on the network's input."""
    groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for row, one in enumerate(inputs):
        groups[one.geometry.content].append(row)
    return list(groups.values())


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU; from CUDA an asynchronous copy into pinned memory."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def _recorded_event() -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event
