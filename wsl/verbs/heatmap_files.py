"""The files written by `--heatmaps`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from wsl.config.verbs import HeatmapLayout
from wsl.errors import BadImageError
from wsl.files import UniqueNames
from wsl.images import read_image
from wsl.images.colours import UInt8Array
from wsl.results import Localization

log = logging.getLogger("wsl")


class HeatmapFiles:
    """Heatmap files: ``<image>.png`` for each image, or with layout "each" ``<image>-<class>.png`` for each class.

    `read` reads the pixels of an image again.
    """

    def __init__(self, folder: Path, layout: HeatmapLayout, read: Callable[[Path], UInt8Array] = read_image) -> None:
        self._folder, self._layout, self._read = folder, layout, read
        self._names = UniqueNames()

    def pass_over(self, written: Iterator[Localization]) -> None:
        """Reserve the names of the heatmaps that were already written."""
        for found in written:
            for name in self._named(found, list(found.points)):
                self._names(name)

    def write(self, found: Localization, *, strict: bool) -> bool:
        """Draw the maps of an image; return False if it was removed or replaced since it was localized.

        Raises:
            BadImageError: it was, and `strict` is set.
        """
        from wsl.draw import draw_heatmaps, overlay, save_image  # imports matplotlib, which nothing else here needs

        try:
            image = self._read(found.path)
            if image.shape[1::-1] != tuple(found.size):
                raise BadImageError(f"{found.path}: was replaced while it was localized")
        except BadImageError as error:
            if strict:
                raise
            log.warning("skipped: %s", error)
            return False
        maps = found.maps or {}
        pictures = (
            (overlay(image, score_map) for score_map in maps.values())
            if self._layout == "each"
            else (draw_heatmaps(image, maps, found.scores) for _ in range(1))
        )
        for name, picture in zip(self._named(found, list(maps)), pictures, strict=False):
            save_image(self._folder / f"{self._names(name)}.png", picture)
        return True

    def _named(self, found: Localization, labels: list[str]) -> list[str]:
        """The names of an image's pictures; none if no class was localized."""
        return [f"{found.id}-{label}" for label in labels] if self._layout == "each" else [found.id][: len(labels)]
