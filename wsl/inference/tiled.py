"""Images larger than a network's input: localized tile by tile and merged to one localization."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes
from wsl.config import BoxConfig, RasterConfig
from wsl.errors import BadImageError, UserError
from wsl.images import ImageLike
from wsl.images.raster import Window, tiles
from wsl.images.windows import Windowed, open_windows
from wsl.inference.inputs import Input, Source, numbered
from wsl.inference.mosaic import Mosaic
from wsl.inference.predictor import Predictor
from wsl.inference.reading import MAX_SCORES, with_picked
from wsl.inference.streaming import Streaming
from wsl.maps import non_max_suppression
from wsl.results import Localization


class TiledPredictor(Streaming):
    """Localizes images of any size with a predictor, in the overlapping tiles of `config`.

    Boxes are in pixels of the whole image; those of overlapping tiles are merged by the predictor's non-maximum
    suppression. The score of a class is its highest one over all tiles, and its point that of this tile. With `maps`,
    each localized class has one map of the whole image (`Mosaic`); tiles in which it was not localized pass through the
    network a second time for it.

    One image is in memory at a time, of a GeoTIFF in a file only some tiles. The tiles of an image are batches of their
    own, so that its results do not depend on other images.

    >>> from wsl.models import Localizer
    >>> model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    >>> predictor = TiledPredictor(Predictor(model, device="cpu"), RasterConfig(tile=64, overlap=16), maps=True)
    >>> found = predictor(np.zeros((100, 200, 3), np.uint8))
    >>> found.size, {one.shape for one in found.maps.values()}
    ((200, 100), {(44, 88)})
    """

    def __init__(self, predictor: Predictor, config: RasterConfig, *, maps: bool = False) -> None:
        if config.tile is None:
            raise UserError("tile is None, expected the side of a tile in pixels: try 512")
        self.tile, self.overlap, self.bands, self.maps = config.tile, config.overlap, config.bands, maps
        self.classes, self.preprocessing, self.preparer = predictor.classes, predictor.preprocessing, predictor.preparer
        self._predictor = predictor

    def __call__(self, image: ImageLike | Source) -> Localization:
        """Localize one image.

        Raises:
            BadImageError: it cannot be read, or its maps have more cells than an image may have pixels.
            UserError: the image is a GeoTIFF, and rasterio is not installed.
        """
        return next(self.stream([image], errors="raise"))

    def _localized(self, sources: Iterable[Any], workers: int | None) -> Generator[Localization | BadImageError]:
        for source in numbered(sources):
            if isinstance(source, Input):
                raise UserError(f"{source.path}: was prepared as one input of the network, expected the image itself")
            try:
                yield self._localize(source, workers)
            except BadImageError as error:
                yield error

    def _localize(self, source: Source, workers: int | None) -> Localization:
        path, most = source.path, self._predictor.max_pixels
        with open_windows(source.image, self.bands, max_pixels=most, name=source.id or "image") as image:
            windows = tiles(image.size, self.tile, self.overlap)
            mosaic = Mosaic(image.size, windows, most, str(path))
            parts = self._parts(image, [(window, source.classes) for window in windows], mosaic, workers)
            whole = merged(path, image.size, parts, nms_iou=self._predictor.boxes.nms_iou)
            for _ in self._parts(image, mosaic.missing(), mosaic, workers):
                pass
        maps = mosaic.maps if self.maps else None
        return dataclasses.replace(whole, id=source.id or whole.id, image=source.image, maps=maps)

    def _parts(
        self,
        image: Windowed,
        wanted: Sequence[tuple[Window, Sequence[str] | None]],
        mosaic: Mosaic,
        workers: int | None,
    ) -> Iterator[tuple[Window, Localization]]:
        """The localizations of some tiles with these classes; their maps are added to the mosaic."""
        sources = (Source(image.read(window), f"{window.x}-{window.y}", classes) for window, classes in wanted)
        found = self._predictor.stream(sources, errors="raise", workers=workers)
        for (window, _), one in zip(wanted, found, strict=True):
            if self.maps:
                mosaic.add(window, one.maps or {})
            yield window, one


def merged(
    path: Path,
    size: tuple[int, int],
    parts: Iterable[tuple[Window, Localization]],
    *,
    nms_iou: float = BoxConfig.nms_iou,
) -> Localization:
    """The localization of an image from those of its windows.

    Of two boxes of a class whose IoU is above ``nms_iou``, the higher-scored one is kept.

    >>> dog = Boxes(xyxy=[[0, 0, 4, 4]], labels=["dog"], scores=[0.5])
    >>> found = Localization(path="a", size=(8, 8), scores={"dog": 0.5}, boxes=dog, points={"dog": (1, 1)})
    >>> whole = merged(Path("a.tif"), (12, 8), [(Window(0, 0, 8, 8), found), (Window(4, 0, 8, 8), found)])
    >>> whole.boxes.xyxy.tolist(), whole.points
    ([[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]], {'dog': (1, 1)})
    """
    scores: dict[str, float] = {}
    points: dict[str, tuple[float, float]] = {}
    best: dict[str, float] = {}
    corners: list[Any] = [np.empty((0, 4), np.float32)]
    labels: list[str] = []
    confidences: list[Any] = [np.empty(0, np.float32)]
    for window, found in parts:
        for label, score in found.scores.items():
            scores[label] = max(score, scores.get(label, 0.0))
        for label, (x, y) in found.points.items():
            score = found.scores[label]
            if label not in points or score > best[label]:
                points[label], best[label] = (x + window.x, y + window.y), score
        corners.append(found.boxes.xyxy + np.array([window.x, window.y] * 2, np.float32))
        confidences.append(found.boxes.scores)
        labels += found.boxes.labels
    boxes = Boxes(xyxy=np.concatenate(corners), labels=tuple(labels), scores=np.concatenate(confidences))
    ranked = sorted(scores.items(), key=lambda one: -one[1])[:MAX_SCORES]
    return Localization(
        path=path,
        size=size,
        scores=with_picked(dict(ranked), {label: scores[label] for label in points}),
        boxes=non_max_suppression(boxes, nms_iou),
        points=points,
    )
