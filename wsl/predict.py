"""A model over a stream of images: decoding, network and box extraction overlap, memory stays constant."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wsl.boxes import Boxes, FloatArray
from wsl.config import BoxConfig, PickConfig, Preprocessing, Refine, RuntimeConfig
from wsl.config.shared import DEFAULT_THRESHOLDS
from wsl.data import Geometry, find_images, fit, read_image, to_tensor
from wsl.errors import BadImageError, UserError
from wsl.maps import boxes_from_map, non_max_suppression, peak, random_walk
from wsl.models import Localizer, OnnxLocalizer, autocast, choose_device, choose_dtype
from wsl.models.fuse import fuse_batch_norm
from wsl.models.midway import MidwayFeatures
from wsl.results import Localization

T = TypeVar("T")
log = logging.getLogger("wsl")
Classes = tuple[str, ...]

# Of a thousand classes nobody reads the last nine hundred, and writing them would take longer than finding them.
MAX_SCORES = 100


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An image on its way into the network; `classes` are localized whatever their scores."""

    path: Path
    pixels: Any
    geometry: Geometry
    classes: Classes


@dataclass(frozen=True, slots=True)
class _Output:
    """What the network says of an image; `maps` are those of the classes chosen, by index.

    `features` are of the layers to refine the maps with.
    """

    image: _Prepared
    probabilities: FloatArray
    maps: dict[int, FloatArray]
    features: tuple[FloatArray, ...]


class Predictor:
    """Runs a model over images and gives a `Localization` for each, in order.

    Unreadable images are logged, counted in ``skipped`` and left out, or raised with ``runtime.strict``. The model
    is copied for inference (its batch norms go into the convolutions), the caller's stays as it is.
    """

    def __init__(
        self,
        model: Localizer | OnnxLocalizer,
        *,
        pick: PickConfig | None = None,
        boxes: BoxConfig | None = None,
        refine: Refine = "none",
        runtime: RuntimeConfig | None = None,
        batch_size: int | None = None,
        image_size: int | None = None,
    ) -> None:
        self.pick, self.runtime = pick or PickConfig(), runtime or RuntimeConfig()
        if refine not in DEFAULT_THRESHOLDS:
            raise UserError(f"refine is {refine!r}, expected {' or '.join(DEFAULT_THRESHOLDS)}")
        self.boxes = (boxes or BoxConfig()).resolved(DEFAULT_THRESHOLDS[refine])
        self.skipped: list[Path] = []
        self.preprocessing = _resized(model.preprocessing, image_size)
        self.device = choose_device(self.runtime.device)
        self.dtype = choose_dtype(self.runtime.precision, self.device)
        # Larger batches on the CPU leave its caches, and their blocks go back to the system after each layer.
        self.batch_size = batch_size or (8 if self.device.type == "cpu" else 32)
        self.classes = model.classes
        self.grid = model.grid
        self._index = {name: i for i, name in enumerate(self.classes)}
        self._picked = self._indices(self.pick.classes)
        fused = fuse_batch_norm(model) if isinstance(model, Localizer) else model
        self._midway = None if refine == "none" else _midway(fused)
        self.model = fused.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def stream(self, items: Iterable[tuple[Path, Classes]]) -> Iterator[Localization]:
        """Localize images; the classes beside a path are localized in it on top of those picked by score."""
        workers, cores = self.runtime.workers, torch.get_num_threads()
        # On the CPU each core runs batches of its own: threads that share one would wait for each other, and for
        # the decoding that takes a core away.
        networks = cores if self.device.type == "cpu" else 1
        with _threads(workers) as decoders, _threads(workers and networks, _use_one_core) as runners:
            prepared = _ahead(decoders, self._prepare, items, networks * self.batch_size + workers)
            batches = _batches((image for image in prepared if image is not None), self.batch_size)
            try:
                for found in _ahead(runners, self._localize, batches, networks):
                    yield from found
            finally:
                torch.set_num_threads(cores)  # what a thread sets is also what later threads begin with

    def _indices(self, names: Sequence[str]) -> list[int]:
        unknown = [name for name in names if name not in self._index]
        if unknown:
            raise UserError(
                f"the model knows no class {unknown[0]!r}; it knows {', '.join(self.classes[:20])}"
                + (f" and {len(self.classes) - 20} more" if len(self.classes) > 20 else "")
            )
        return [self._index[name] for name in names]

    def _prepare(self, item: tuple[Path, Classes]) -> _Prepared | None:
        path, classes = item
        try:
            pixels, geometry = fit(read_image(path), self.preprocessing)
        except BadImageError as error:
            if self.runtime.strict:
                raise
            log.warning("skipped: %s", error)
            self.skipped.append(path)
            return None
        return _Prepared(path, pixels, geometry, classes)

    def _localize(self, batch: list[_Prepared]) -> list[Localization]:
        return [self._extract(output) for output in self._forward(batch)]

    def _forward(self, batch: list[_Prepared]) -> list[_Output]:
        outputs = []
        with torch.inference_mode(), autocast(self.device, self.dtype):
            pixels = torch.from_numpy(np.stack([image.pixels for image in batch]))
            scores, maps_of = self.model.deferred(to_tensor(pixels, self.preprocessing, self.device, torch.float32))
            probabilities = self.model.probabilities(scores).cpu().numpy()
            chosen = [self._choose(row, image.classes) for row, image in zip(probabilities, batch, strict=True)]
            features = () if self._midway is None else [f.float().cpu().numpy() for f in self._midway.take()]
            for i, (image, classes, maps) in enumerate(zip(batch, chosen, maps_of(chosen), strict=True)):
                some = dict(zip(classes, maps.float().cpu().numpy(), strict=True))
                outputs.append(_Output(image, probabilities[i], some, tuple(layer[i] for layer in features)))
        return outputs

    def _choose(self, probabilities: FloatArray, wanted: Classes) -> list[int]:
        chosen = self._picked + self._indices(wanted)
        if not self._picked:
            by_score = np.argsort(-probabilities, kind="stable")
            best = by_score[: self.pick.top_k]
            chosen += best[probabilities[best] >= self.pick.score_threshold].tolist()
        return list(dict.fromkeys(chosen))

    def _extract(self, output: _Output) -> Localization:
        image, probabilities = output.image, output.probabilities
        size = image.geometry.original
        raw = {self.classes[i]: image.geometry.crop_map(m, self.grid) for i, m in output.maps.items()}
        maps = self._refined(raw, output)
        best = np.argsort(-probabilities, kind="stable")[:MAX_SCORES]
        parts = [
            boxes_of_class(maps[self.classes[i]], self.classes[i], float(probabilities[i]), size, self.boxes)
            for i in output.maps
        ]
        return Localization(
            path=image.path,
            size=size,
            scores={self.classes[i]: float(probabilities[i]) for i in best},
            boxes=Boxes.concatenate(parts),
            # A refined map is about extent: its maximum moves to wherever most looks alike.
            points={label: peak(score_map, size) for label, score_map in raw.items()},
            maps=maps,
        )

    def _refined(self, maps: dict[str, FloatArray], output: _Output) -> dict[str, FloatArray]:
        if self._midway is None or not maps:
            return maps
        crop = output.image.geometry.crop_map
        features = [crop(layer, grid) for layer, grid in zip(output.features, self._midway.grids, strict=True)]
        return dict(zip(maps, random_walk(list(maps.values()), features), strict=True))


def _midway(model: Localizer | OnnxLocalizer) -> MidwayFeatures:
    if isinstance(model, OnnxLocalizer):
        raise UserError("an ONNX model shows no layer but its last: refine with the run that it was exported from")
    return MidwayFeatures(model.backbone)


def boxes_of_class(
    score_map: FloatArray, label: str, score: float, size: tuple[int, int], settings: BoxConfig
) -> Boxes:
    """The boxes of one class's map, scored by the class's probability times the map's height in the box.

    >>> corner = np.float32([[0, 0.5], [0, 1]])
    >>> boxes = boxes_of_class(corner, "dog", 0.5, (8, 8), BoxConfig(threshold=0.9))
    >>> boxes.labels, boxes.scores.tolist()
    (('dog',), [0.5])
    """
    rule = settings.resolved()
    assert rule.threshold is not None
    assert rule.box_rule is not None
    found = boxes_from_map(
        score_map, threshold=rule.threshold, rule=rule.box_rule, size=size, label=label, min_area=rule.min_area
    )
    if len(found) > 1:
        found = non_max_suppression(found, rule.nms_iou)
    return Boxes(xyxy=found.xyxy, labels=found.labels, scores=found.scores * np.float32(score))


def localize(
    model: Localizer,
    sources: str | Path | Iterable[str | Path],
    *,
    top_k: int | None = 1,
    classes: Sequence[str] = (),
    score_threshold: float = 0.0,
    threshold: float | None = None,
    refine: Refine = "none",
    batch_size: int | None = None,
    image_size: int | None = None,
    device: str = "auto",
    strict: bool = False,
) -> Iterator[Localization]:
    """Find the things in images: an iterator over `Localization`, one an image, in constant memory.

    `sources` are files, folders or globs. The classes localized are the `top_k` of highest score with a probability
    of at least `score_threshold`, or exactly `classes`. A box surrounds the largest part of a map that exceeds
    `threshold` times its range (0.2 when None, and 0.5 of refined maps). With `refine` "affinity" maps are spread over
    what the backbone sees alike first (`wsl.maps.random_walk`). Unreadable images are logged and left out unless
    `strict`.

    Raises:
        UserError: a source without images, an unknown class, a setting out of range.

    >>> import tempfile, cv2, numpy as np
    >>> from wsl.models import Localizer
    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = cv2.imwrite(f"{folder}/a.png", np.zeros((40, 60, 3), np.uint8))
    ...     [(found.id, found.size) for found in localize(model, folder)]
    [('a', (60, 40))]
    """
    predictor = Predictor(
        model,
        pick=PickConfig(top_k=top_k, classes=tuple(classes), score_threshold=score_threshold),
        boxes=BoxConfig(threshold=threshold),
        refine=refine,
        runtime=RuntimeConfig(device=device, strict=strict),
        batch_size=batch_size,
        image_size=image_size,
    )
    names = [sources] if isinstance(sources, (str, Path)) else list(sources)
    return predictor.stream((path, ()) for path in find_images([str(name) for name in names]))


def _resized(preprocessing: Preprocessing, image_size: int | None) -> Preprocessing:
    if image_size is None:
        return preprocessing
    return Preprocessing(
        image_size=image_size, resize=preprocessing.resize, mean=preprocessing.mean, std=preprocessing.std
    )


def _threads(count: int, initializer: Callable[[], None] | None = None) -> AbstractContextManager[Executor | None]:
    return ThreadPoolExecutor(count, initializer=initializer) if count else nullcontext()


def _use_one_core() -> None:
    torch.set_num_threads(1)


def _ahead(executor: Executor | None, work: Callable[[Any], T], items: Iterable[Any], depth: int) -> Iterator[T]:
    """`work` of each item in order, up to `depth` of them under way before they are asked for."""
    if executor is None:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
