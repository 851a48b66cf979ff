"""The predictor: from any image to a `Localization`, for commands, training, notebooks and services alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Literal, overload

import torch

from wsl import limits
from wsl.checkpoints import check_classes
from wsl.config import BoxConfig, BoxRule, BoxScore, PickConfig, Precision, Preprocessing, Refine, RuntimeConfig
from wsl.config.checks import check_batch_size, checks_keywords
from wsl.config.shared import BOX_DEFAULTS, parse_tta
from wsl.errors import BadImageError, UserError
from wsl.images import ImageLike
from wsl.images.cuda import decodes_jpeg
from wsl.inference.batches import Batches, default_batch_size
from wsl.inference.inputs import Input, Source, as_source, numbered
from wsl.inference.network import Choice, Network
from wsl.inference.preparing import Preparer
from wsl.inference.reading import MAX_SCORES, Reader
from wsl.inference.stream import Errors, Stream, V, W, pipeline
from wsl.inference.streaming import Streaming
from wsl.inference.views import views
from wsl.maps.refine import Refinement
from wsl.models import Model, check_interface, choose_device, choose_dtype, pack, resolve_refine, unpack
from wsl.results import Localization


class Predictor(Streaming):
    """Localizes classes in images with a model.

    `model` is a `Localizer`, an ONNX model, or anything else with the interface of `wsl.models.Model`. Its weights are
    copied for inference, so the caller's module keeps its mode, gradients and hooks, and training it later does not
    change the predictor. Global settings are not changed: predictors can run in parallel threads, and they can be
    pickled. A model that can be rebuilt from a name is pickled as that name and its weights.

    The `top_k` classes with the highest probabilities are localized (all with None) if their probability is at least
    `score_threshold`; or exactly `classes`. A box surrounds a component of a class's map above `threshold` of its
    range: by `box_rule` the "largest" component, "all" of them, that of the map's maximum ("peak"), or "nested", all of
    them and those that they split into at higher thresholds. Components below `min_area` of the image are dropped, and
    of two boxes of a class with an IoU above `nms_iou` the one of lower score. A box's score is the class's
    probability times the map's height in the box; `box_score` "contrast" also multiplies it by how much higher the
    map is inside the box than around it. `refine` "affinity" first spreads the map over regions with similar
    backbone features, and "decoder" takes the maps of the model's decoder instead; "auto" is decoder if the model
    has one, else affinity if the backbone has two levels of intermediate features. For any model, maps can follow
    the colours of the image: "pamr", "crf", "guided", "grabcut". A custom `Refinement` may also be given. If the
    model has a detector, its boxes are fused with those of the decoder's maps, unless `detector` is False. The
    defaults of `threshold`, `box_rule`, `min_area` and `box_score` are those of the refinement
    (`wsl.config.BOX_DEFAULTS`). `image_size` is the side of the network's input, by default that of the model.
    `tta` averages the scores and maps of several views: "flip" adds the mirrored image, and numbers are input sides
    that replace `image_size`. `precision` "auto" takes bfloat16 if the device computes it natively; `device` "auto"
    is CUDA, else Apple's MPS, else the CPU. `max_scores` is the number of class probabilities that a result keeps
    besides those of the localized classes.

    Call the predictor with an image or a list of images; `stream` takes folders and globs.

    Raises:
        UserError: `model` is no model, a class is unknown, the device is not available, or a setting is out of range.

    >>> import numpy as np
    >>> from wsl.models import Localizer
    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    >>> predictor = Predictor(model, top_k=1, device="cpu")
    >>> found = predictor(np.zeros((40, 60, 3), np.uint8))
    >>> found.size, len(found.scores)
    ((60, 40), 2)
    """

    @checks_keywords
    def __init__(
        self,
        model: Model,
        *,
        top_k: int | None = 1,
        classes: Sequence[str] = (),
        score_threshold: float = 0.0,
        threshold: float | None = None,
        box_rule: BoxRule | None = None,
        min_area: float | None = None,
        box_score: BoxScore | None = None,
        nms_iou: float = 0.5,
        detector: bool = True,
        refine: Refine | Refinement = "auto",
        tta: Sequence[str | int] = (),
        aligned: bool = True,
        image_size: int | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
        max_scores: int | None = MAX_SCORES,
        max_pixels: int | None = None,
    ) -> None:
        check_interface(model)
        # Created only to validate the settings.
        PickConfig(top_k=top_k, score_threshold=score_threshold)
        RuntimeConfig(precision=precision)
        check_batch_size(batch_size)
        self.refine: str = "own" if isinstance(refine, Refinement) else resolve_refine(refine, model)
        boxes = BoxConfig(
            threshold=threshold,
            box_rule=box_rule,
            min_area=min_area,
            box_score=box_score,
            nms_iou=nms_iou,
            detector=detector,
        )
        self.boxes = boxes.resolved(BOX_DEFAULTS["affinity" if self.refine == "own" else self.refine])
        self.classes = model.classes
        sides, _ = parse_tta(tta)
        self.preprocessing = _resized(model.preprocessing, max(sides, default=image_size))
        self.max_pixels = limits.max_pixels() if max_pixels is None else max_pixels  # of this thread, for all
        self._index = {name: number for number, name in enumerate(model.classes)}
        check_classes(classes, self.classes)
        choice = Choice(tuple(self._index[name] for name in classes), top_k, score_threshold)
        self._settings: dict[str, Any] = {
            "choice": choice,
            "refine": refine if isinstance(refine, Refinement) else self.refine,
            "views": views(tta),
            "aligned": aligned,
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
            box_score=boxes.box_score,
            nms_iou=boxes.nms_iou,
            detector=boxes.detector,
            device=runtime.device,
            precision=runtime.precision,
            **settings,
        )

    def _start(self, model: Model) -> None:
        """Create what is not pickled."""
        settings = self._settings
        self._model = model
        self.device = choose_device(settings["device"])
        self.dtype = choose_dtype(settings["precision"], self.device)
        self.batch_size: int = settings["batch_size"] or default_batch_size(self.device)
        self._network = Network(
            model,
            self.preprocessing,
            settings["choice"],
            settings["refine"],
            self.device,
            self.dtype,
            settings["max_scores"],
            settings["views"],
            settings["aligned"],
            self.boxes.detector,
        )
        self._batches = Batches(self._network, Reader(self.classes, self.boxes), self.max_pixels)
        self.preparer = Preparer(
            preprocessing=self.preprocessing,
            max_pixels=self.max_pixels,
            classes=self._index,
            decodes_jpeg=self.preprocessing.resize == "warp" and decodes_jpeg(self.device),
        )

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
    def __call__(self, image: ImageLike | Source | Input) -> Localization: ...

    def __call__(self, image: Any, *, errors: Errors = "raise") -> Any:
        """Localize an image, or a list of images in order.

        An image is a path, the bytes of an image file, an (H, W, 3) uint8 RGB array, a Pillow image, a (3, H, W)
        tensor (uint8, or floating in [0, 1]), a `Source` that adds an id or classes, or an `Input` that was prepared
        before. For an image in a list that cannot be read, the error is raised, the image is left out ("skip"), or the
        error takes its place ("return").

        Raises:
            BadImageError: an image cannot be read.
            UserError: an image was prepared for another size.
        """
        if isinstance(image, list):
            return list(Stream(self._localized(image, None), errors))
        return self.predict([image if isinstance(image, Input) else self.prepare(image)])[0]

    def prepare(
        self, image: ImageLike | Source, *, id: str | None = None, classes: Sequence[str] | None = None
    ) -> Input:
        """An image read, decoded and resized for the network. It needs no device and can be sent to another process.

        `id` names an image without a file; `classes` are localized instead of those chosen by probability. ``preparer``
        does the same without the model.

        Raises:
            BadImageError: the image cannot be read.
            UserError: a class is not one of the model's.
        """
        source = as_source(image, 0)
        id = source.id if id is None else id
        return self.preparer(Source(source.image, id, source.classes if classes is None else classes))

    def predict(self, inputs: Sequence[Input]) -> list[Localization]:
        """Localize prepared images as one batch, which is halved repeatedly if it is too large for a GPU's memory.

        Raises:
            BadImageError: a file to be decoded on the device is damaged.
            UserError: an image was prepared for another size.
            RunError: the predictor was created before this process was forked.
        """
        steps = self._batches
        results = steps.describe(steps.measure(steps.launch(steps.load(inputs)))) if inputs else []
        for found in results:
            if isinstance(found, BadImageError):
                raise found
        return results  # type: ignore[return-value] # none is an error

    def class_maps(
        self, sources: Iterable[ImageLike | Source | Input], *, workers: int | None = None
    ) -> Iterator[torch.Tensor | BadImageError]:
        """The raw maps of all classes of each image, for pooling or comparison.

        Shape:
            (K, h, w) float32 each, covering the network's whole input, at the resolution of the maps; the error takes
            the place of an image that cannot be read.
        """
        for maps in self._pipeline(sources, self._batches.class_maps, lambda maps: maps, workers):
            yield from maps

    def images(self, inputs: Sequence[Input]) -> torch.Tensor:
        """Prepared images as the network's input: normalised, on the predictor's device.

        Each input's ``geometry`` says where the image lies in it, and where padding.

        Shape:
            (N, 3, S, S) float32.

        Raises:
            BadImageError: a file to be decoded on the device is damaged.
            UserError: an image was prepared for another size.
            RunError: the predictor was created before this process was forked.
        """
        side = self.preprocessing.image_size
        if not inputs:
            return torch.empty((0, 3, side, side), device=self.device)
        return self._batches.images(self._batches.load(inputs))

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """The probabilities of all classes for images from `images`, for example after changing pixels.

        Shape:
            (N, 3, S, S) to (N, K) float64, in the order of ``classes``, on the device if it supports doubles.

        Raises:
            UserError: the images have another shape.

        >>> import numpy as np
        >>> from wsl.models import Localizer
        >>> predictor = Predictor(Localizer("tinynet", classes=["cat", "dog"], weights="none"), device="cpu")
        >>> images = predictor.images([predictor.prepare(np.zeros((40, 60, 3), np.uint8))])
        >>> predictor.probabilities(torch.cat([images, images.flip(3)])).shape
        torch.Size([2, 2])
        """
        expected = (3, self.preprocessing.image_size, self.preprocessing.image_size)
        if images.ndim != 4 or images.shape[1:] != expected or not images.is_floating_point():
            given = f"images of shape {tuple(images.shape)} and {images.dtype}"
            raise UserError(f"{given}, expected floats {('N', *expected)}: take them from Predictor.images")
        if not len(images):
            return torch.empty((0, len(self.classes)), dtype=torch.float64)
        return self._batches.probabilities(images.to(self.device, torch.float32))

    def _localized(self, sources: Iterable[Any], workers: int | None) -> Generator[Localization | BadImageError]:
        if isinstance(sources, list) and len(sources) == 1:
            workers = 0  # threads would take longer to start than they save
        steps = self._batches
        for batch in self._pipeline(sources, steps.launch, steps.measure, workers):
            yield from steps.describe(batch)

    def _pipeline(
        self, sources: Iterable[Any], run: Callable[[Any], V], finish: Callable[[V], W], workers: int | None
    ) -> Iterator[W]:
        return pipeline(
            numbered(sources),
            self.preparer.attempt,
            self._batches.load,
            run,
            finish,
            batch_size=self.batch_size,
            device=self.device,
            workers=workers,
        )


def _resized(preprocessing: Preprocessing, image_size: int | None) -> Preprocessing:
    return preprocessing if image_size is None else dataclasses.replace(preprocessing, image_size=image_size)
