"""Any image in, a `Localization` out: the one way that commands, training, notebooks and services take."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args, overload

import torch

from wsl.checkpoints import check_classes
from wsl.config import BoxConfig, BoxRule, PickConfig, Precision, Preprocessing, Refine, RuntimeConfig
from wsl.config.shared import DEFAULT_THRESHOLDS
from wsl.errors import BadImageError, RunError, UserError
from wsl.images import MAX_PIXELS, ImageLike, fit, place, to_rgb
from wsl.images.cuda import UndecodedError, decodes_jpeg
from wsl.images.decode import decode_image, read_bytes
from wsl.images.jpeg import ordinary_jpeg
from wsl.inference.inputs import Input, Source, Sources, as_source, expand
from wsl.inference.network import Choice, Loaded, Network, Output
from wsl.inference.reading import MAX_SCORES, Measured, Reader
from wsl.inference.stream import batched, pipeline
from wsl.models import Model, choose_device, choose_dtype, pack, resolve_refine, unpack
from wsl.results import Localization

log = logging.getLogger("wsl")

Piece = TypeVar("Piece")
Item = TypeVar("Item")
Errors: TypeAlias = Literal["raise", "skip", "return"]


class Predictor:
    """Localizes classes in images with a model.

    `model` is a `Localizer`, an ONNX model, or anything else with the interface of `wsl.models.Model`. Its weights are
    copied for inference, so the caller's module keeps its mode, gradients and hooks, and later training of it does not
    change the predictor. No global setting is touched: predictors work side by side in threads, and they can be
    pickled. A model that has a name to build it by travels as that name and its weights.

    The classes localized are the `top_k` of highest probability, all with None, if it is at least `score_threshold`;
    or exactly `classes`. A box surrounds what exceeds `threshold` times the range of a class's map: the largest
    component, all of them, or that of the map's maximum, as `box_rule` says. `refine` "affinity" first spreads the map
    over what the backbone sees alike; "auto" does so where the backbone has two levels of intermediate features. By
    default the threshold is 0.5 for refined maps and 0.2 for others. `image_size` is the network's input side, by
    default that of the model. `precision` "auto" takes bfloat16 where the device computes it natively.

    Raises:
        UserError: an unknown class, a device that is not available, a setting out of range.

    >>> import numpy as np
    >>> from wsl.models import Localizer
    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    >>> predictor = Predictor(model, top_k=1, device="cpu")
    >>> found = predictor(np.zeros((40, 60, 3), np.uint8))
    >>> found.size, len(found.scores)
    ((60, 40), 2)
    """

    def __init__(
        self,
        model: Model,
        *,
        top_k: int | None = 1,
        classes: Sequence[str] = (),
        score_threshold: float = 0.0,
        threshold: float | None = None,
        box_rule: BoxRule | None = None,
        min_area: float = 0.001,
        nms_iou: float = 0.5,
        refine: Refine = "auto",
        image_size: int | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
        max_scores: int | None = MAX_SCORES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        PickConfig(top_k=top_k, score_threshold=score_threshold)  # which checks them
        _check_settings(score_threshold, box_rule, precision, batch_size)
        self.refine = resolve_refine(refine, model)
        self.boxes = BoxConfig(threshold=threshold, box_rule=box_rule, min_area=min_area, nms_iou=nms_iou).resolved(
            DEFAULT_THRESHOLDS[self.refine]
        )
        self.classes = model.classes
        self.preprocessing = _resized(model.preprocessing, image_size)
        self.max_pixels = max_pixels
        self._index = {name: number for number, name in enumerate(model.classes)}
        check_classes(classes, self.classes)
        choice = Choice(tuple(self._index[name] for name in classes), top_k, score_threshold)
        self._settings: dict[str, Any] = {
            "choice": choice,
            "max_scores": max_scores,
            "device": device,
            "precision": precision,
            "batch_size": batch_size,
        }
        self._start(model)

    @classmethod
    def from_configs(
        cls,
        model: Model,
        *,
        pick: PickConfig | None = None,
        boxes: BoxConfig | None = None,
        runtime: RuntimeConfig | None = None,
        **settings: Any,
    ) -> Predictor:
        """A predictor with the settings of a command."""
        pick, boxes, runtime = pick or PickConfig(), boxes or BoxConfig(), runtime or RuntimeConfig()
        return cls(
            model,
            top_k=pick.top_k,
            classes=pick.classes,
            score_threshold=pick.score_threshold,
            threshold=boxes.threshold,
            box_rule=boxes.box_rule,
            min_area=boxes.min_area,
            nms_iou=boxes.nms_iou,
            device=runtime.device,
            precision=runtime.precision,
            **settings,
        )

    def _start(self, model: Model) -> None:
        """Make what does not travel to another process."""
        settings = self._settings
        self._model, self._process = model, os.getpid()
        self.device = choose_device(settings["device"])
        self.dtype = choose_dtype(settings["precision"], self.device)
        # Larger batches on the CPU leave its caches, and their blocks go back to the system after each layer.
        self.batch_size: int = settings["batch_size"] or (128 if self.device.type == "cuda" else 8)
        self._fitting: int | None = None
        self._network = Network(
            model,
            self.preprocessing,
            settings["choice"],
            self.refine,
            self.device,
            self.dtype,
            settings["max_scores"],
        )
        self._reader = Reader(self.classes, self.boxes)
        self._decodes_jpeg = self.preprocessing.resize == "warp" and decodes_jpeg(self.device)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("refine", "boxes", "classes", "preprocessing", "max_pixels", "_index", "_settings")
        return {**{name: self.__dict__[name] for name in kept}, "model": pack(self._model)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        model = unpack(state.pop("model"))
        self.__dict__.update(state)
        self._start(model)

    def __repr__(self) -> str:
        return (
            f"Predictor({len(self.classes)} classes, {self.preprocessing.image_size} px, refine={self.refine!r}, "
            f"threshold={self.boxes.threshold:g}, device={str(self.device)!r})"
        )

    @overload
    def __call__(self, image: list[Any], *, errors: Literal["return"]) -> list[Localization | BadImageError]: ...
    @overload
    def __call__(self, image: list[Any], *, errors: Literal["raise", "skip"] = "raise") -> list[Localization]: ...
    @overload
    def __call__(self, image: ImageLike | Source) -> Localization: ...

    def __call__(self, image: Any, *, errors: Errors = "raise") -> Any:
        """Localize an image, or a list of images in its order.

        An image is a path, the bytes of an image file, an (H, W, 3) uint8 RGB array, a Pillow image, a (3, H, W)
        tensor (uint8, or floating in [0, 1]), or a `Source` that adds an id or classes. An image of a list that cannot
        be read raises its error, is left out ("skip"), or has the error in its place ("return").

        Raises:
            BadImageError: an image cannot be read.
        """
        if isinstance(image, list):
            return list(Stream(self, image, errors, None))
        return self.predict([self.prepare(image)])[0]

    def prepare(
        self, image: ImageLike | Source, *, id: str | None = None, classes: Sequence[str] | None = None
    ) -> Input:
        """An image as the network takes it: read, decoded and resized. It needs no device and can be sent elsewhere.

        `id` names an image that has no file; `classes` are localized in the place of those that are picked by
        probability.

        Raises:
            BadImageError: the image cannot be read.
            UserError: a class that the model does not know.
        """
        source = as_source(image, 0)
        image, id = source.image, source.id if id is None else id
        wanted = source.classes if classes is None else classes
        if wanted is not None:
            check_classes(wanted, self._index)
            wanted = tuple(wanted)
        path = Path(image) if isinstance(image, (str, os.PathLike)) else Path(id)
        if self._decodes_jpeg and isinstance(image, (str, os.PathLike, bytes)):
            data = image if isinstance(image, bytes) else read_bytes(path)
            header = ordinary_jpeg(data)
            if header is not None and header.width * header.height <= self.max_pixels:
                geometry = place(tuple(header), self.preprocessing)
                return Input(path=path, id=id, image=image, geometry=geometry, jpeg=data, classes=wanted)
        pixels, geometry = fit(to_rgb(image, self.max_pixels, id or "image"), self.preprocessing)
        return Input(path=path, id=id, image=image, geometry=geometry, pixels=pixels, classes=wanted)

    def predict(self, inputs: Sequence[Input]) -> list[Localization]:
        """Localize prepared images as one batch; one that is too large for a GPU's memory is halved, and so on.

        Raises:
            BadImageError: a file that the device was to decode is damaged.
            RunError: the predictor was made before this process was forked.
        """
        results = self._describe(self._measure(self._launch(self._load(inputs)))) if inputs else []
        for found in results:
            if isinstance(found, BadImageError):
                raise found
        return results  # type: ignore[return-value] # none is an error

    @overload
    def stream(
        self, sources: Sources, *, errors: Literal["raise", "skip"] = "skip", workers: int | None = None
    ) -> Stream[Localization]: ...
    @overload
    def stream(
        self, sources: Sources, *, errors: Literal["return"], workers: int | None = None
    ) -> Stream[Localization | BadImageError]: ...

    def stream(self, sources: Sources, *, errors: Errors = "skip", workers: int | None = None) -> Stream[Any]:
        """Localize any number of images, in order, in constant memory, on all cores: an iterator of `Localization`.

        `sources` is a file, folder or glob, or an iterable of those and of images as `__call__` takes them. `workers`
        threads read images ahead, for slow disks; None is the quickest for files at hand, 0 starts no thread. With
        `errors` "skip" an image that cannot be read is logged, counted in the stream's ``skipped`` and left out.

        Raises:
            UserError: no image is there.
        """
        return Stream(self, expand(sources), errors, workers)

    def class_maps(
        self, sources: Iterable[ImageLike | Source], *, workers: int | None = None
    ) -> Iterator[torch.Tensor | BadImageError]:
        """The raw maps of all classes of each image, for whoever pools or compares them.

        Shape:
            (K, h, w) float32 each, of the network's whole input and at its resolution; the error of an image that
            cannot be read stands in its place.
        """
        for batch in pipeline(
            (as_source(item, number) for number, item in enumerate(sources)),
            self._try,
            self._load,
            self._all_maps,
            lambda result: result,
            batch_size=self.batch_size,
            device=self.device,
            workers=workers,
        ):
            images, maps = batch
            rest = iter(maps)
            yield from (image if isinstance(image, BadImageError) else next(rest) for image in images)

    def _all_maps(self, batch: _Batch[Loaded]) -> tuple[Sequence[Input | BadImageError], list[torch.Tensor]]:
        return batch.images, [one for loaded in batch.pieces for one in self._network.all_maps(loaded)]

    def _try(self, source: Source) -> Input | BadImageError:
        try:
            return self.prepare(source)
        except BadImageError as error:
            return error

    def _load(self, batch: Sequence[Input | BadImageError]) -> _Batch[Loaded]:
        """Bring a batch to the device."""
        if os.getpid() != self._process:
            raise RunError(
                "this predictor was made before the process was forked, and neither its threads nor a GPU survive "
                "that: make it in the new process, or send it there pickled ('spawn')"
            )
        inputs = [one for one in batch if isinstance(one, Input)]
        try:
            return _Batch(batch, [self._network.load(inputs)] if inputs else [])
        except UndecodedError:
            return self._load([self._decoded(one) for one in batch])

    def _launch(self, batch: _Batch[Loaded]) -> _Batch[Output]:
        """Queue a batch on the device, in as many pieces as its memory asks for."""
        return _Batch(batch.images, [output for loaded in batch.pieces for output in self._launch_piece(loaded)])

    def _launch_piece(self, loaded: Loaded) -> list[Output]:
        inputs, fitting = loaded.inputs, self._fitting
        if fitting is not None and len(inputs) > fitting:
            pieces = [self._network.load(some) for some in batched(inputs, fitting)]
            return [output for piece in pieces for output in self._launch_piece(piece)]
        try:
            return [self._network.launch(loaded)]
        except torch.OutOfMemoryError:
            if len(inputs) == 1:
                raise RunError(
                    f"{self.device} has too little memory for one image of {self.preprocessing.image_size} px: take a "
                    "smaller image size"
                ) from None
        self._fitting = (len(inputs) + 1) // 2
        log.warning("a batch of %d is too large for the memory of %s: halved", len(inputs), self.device)
        torch.cuda.empty_cache()
        return self._launch_piece(loaded)

    def _measure(self, batch: _Batch[Output]) -> _Batch[Measured]:
        inputs = iter(one for one in batch.images if isinstance(one, Input))
        taken = ((list(itertools.islice(inputs, len(output.best))), output) for output in batch.pieces)
        return _Batch(batch.images, [self._reader.measure(some, output) for some, output in taken])

    def _describe(self, batch: _Batch[Measured]) -> list[Localization | BadImageError]:
        found = iter([one for measured in batch.pieces for one in self._reader.describe(measured)])
        return [image if isinstance(image, BadImageError) else next(found) for image in batch.images]

    def _decoded(self, image: Input | BadImageError) -> Input | BadImageError:
        """The same with pixels decoded on the host."""
        if isinstance(image, BadImageError) or image.jpeg is None:
            return image
        try:
            pixels = fit(decode_image(image.jpeg, self.max_pixels, str(image.path)), self.preprocessing)[0]
        except BadImageError as error:
            return error
        return dataclasses.replace(image, pixels=pixels, jpeg=None)


@dataclass(frozen=True, slots=True)
class _Batch(Generic[Piece]):
    """A batch on its way, and what there is so far of those of its images that could be read."""

    images: Sequence[Input | BadImageError]
    pieces: list[Piece]


class Stream(Iterator[Item]):
    """The localizations of a stream of images, in order; ``skipped`` counts those that could not be read."""

    def __init__(self, predictor: Predictor, sources: Iterable[Any], errors: Errors, workers: int | None) -> None:
        if errors not in get_args(Errors):
            raise UserError(f"errors is {errors!r}, expected raise, skip or return")
        self.skipped = 0
        self._errors = errors
        # Not a method: a generator that holds the stream would keep a forgotten one, and its threads, alive.
        self._found = _localizations(predictor, sources, workers)

    def __next__(self) -> Item:
        for found in self._found:
            if not isinstance(found, BadImageError) or self._errors == "return":
                return found  # type: ignore[return-value] # what an item is depends on the errors
            if self._errors == "raise":
                self.close()
                raise found
            log.warning("skipped: %s", found)
            self.skipped += 1
        raise StopIteration

    def close(self) -> None:
        """Stop reading ahead, and let the threads go."""
        self._found.close()


def _localizations(
    predictor: Predictor, sources: Iterable[Any], workers: int | None
) -> Generator[Localization | BadImageError]:
    if isinstance(sources, list) and len(sources) == 1:
        workers = 0  # threads would take longer to start than they save
    items = (as_source(item, number) for number, item in enumerate(sources))
    for batch in pipeline(
        items,
        predictor._try,
        predictor._load,
        predictor._launch,
        predictor._measure,
        batch_size=predictor.batch_size,
        device=predictor.device,
        workers=workers,
    ):
        yield from predictor._describe(batch)


def _check_settings(score_threshold: float, box_rule: str | None, precision: str, batch_size: int | None) -> None:
    if not 0 <= score_threshold <= 1:
        raise UserError(f"score threshold is {score_threshold}, expected a probability in [0, 1]")
    if box_rule is not None and box_rule not in get_args(BoxRule):
        raise UserError(f"box rule is {box_rule!r}, expected {', '.join(get_args(BoxRule))}")
    if precision not in get_args(Precision):
        raise UserError(f"precision is {precision!r}, expected {', '.join(get_args(Precision))}")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch size is {batch_size}, expected 1 or more, or None")


def _resized(preprocessing: Preprocessing, image_size: int | None) -> Preprocessing:
    return preprocessing if image_size is None else dataclasses.replace(preprocessing, image_size=image_size)
