"""Rasters larger than a network's input: localized tile by tile and merged to one localization."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes
from wsl.config import BoxConfig, RasterConfig
from wsl.errors import BadImageError
from wsl.images.raster import Raster, Window, tiles
from wsl.inference.inputs import Source
from wsl.inference.predictor import Predictor
from wsl.inference.reading import MAX_SCORES, with_picked
from wsl.inference.stream import Errors, Stream
from wsl.maps import non_max_suppression
from wsl.results import Localization


def tiled_stream(
    predictor: Predictor, paths: Iterable[Path], config: RasterConfig, *, errors: Errors, workers: int | None
) -> Stream[Any]:
    """The localizations of rasters, in order, with one raster in memory at a time."""

    def found() -> Generator[Localization | BadImageError, None, None]:
        for path in paths:
            try:
                yield localize_tiled(predictor, path, config, workers=workers)
            except BadImageError as error:
                yield error

    return Stream(found(), errors)


def localize_tiled(
    predictor: Predictor, path: Path, config: RasterConfig, *, workers: int | None = None
) -> Localization:
    """The localization of a raster: its boxes, each class's best score over all tiles, and the point of its best map.

    It has no maps: those of two tiles differ where the tiles overlap.

    Raises:
        BadImageError: the raster or one of its tiles cannot be read.
        UserError: rasterio is not installed.
    """
    assert config.tile is not None
    with Raster.open(path, config.bands) as raster:
        windows = tiles(raster.size, config.tile, config.overlap)
        sources = (Source(raster.read(window), id=f"{path.stem}-{window.x}-{window.y}") for window in windows)
        parts = zip(windows, predictor.stream(sources, errors="raise", workers=workers), strict=True)
        return merged(path, raster.size, parts, nms_iou=predictor.boxes.nms_iou)


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
