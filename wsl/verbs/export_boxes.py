"""Which boxes of an image are exported: drawn anew, reviewed, and above a score."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from wsl.config import BoxConfig, ExportConfig
from wsl.errors import UserError, listed
from wsl.formats import results_folder
from wsl.formats.drawn import drawn_boxes, localize_settings
from wsl.formats.review import Review, read_review
from wsl.formats.shards.storage import is_remote
from wsl.inference import redrawn
from wsl.results import Localization

log = logging.getLogger("wsl")


class BoxChoice:
    """What an export does to boxes, whatever source they come from."""

    def __init__(self, config: ExportConfig) -> None:
        self._config = config
        self.review: Review | None = None if config.reviewed is None else read_review(config.reviewed)
        self._met: set[str] = set()

    def drawing(self, results: Path) -> BoxConfig | None:
        """The settings to draw the boxes of some localizations with; None where they are as they should be.

        Settings that are given count before those of the review, and these before those of ``wsl-localize``.
        """
        folder = results_folder(results)
        drawn = BoxConfig() if is_remote(folder) else drawn_boxes(localize_settings(folder), folder)
        reviewed = BoxConfig() if self.review is None else self.review.boxes
        wanted = _over(_over(drawn, reviewed), self._config.boxes)
        return None if wanted == drawn else wanted

    def __call__(self, found: Localization, drawing: BoxConfig | None) -> Localization:
        """The localization with the boxes, and the maps, that are exported.

        Raises:
            UserError: boxes are to be drawn, and there are no maps.
        """
        boxes = found.boxes if drawing is None else redrawn(found, drawing)
        maps = found.maps
        kept = boxes.scores >= self._config.min_score
        if self.review is not None:
            marks = self.review.of(found.path)
            if marks:
                self._met.add(os.path.normpath(found.path))
            other = not self._config.only_reviewed  # what becomes of classes that nobody marked
            kept &= np.array([marks.get(label, other) for label in boxes.labels], np.bool_)
            maps = None if maps is None else {name: one for name, one in maps.items() if marks.get(name, other)}
        return replace(found, boxes=boxes.select(kept), maps=maps)

    def check(self) -> None:
        """Say which marks were of images that did not come.

        Raises:
            UserError: all were.
        """
        if self.review is None:
            return
        lost = sorted(set(self.review.marks) - self._met)
        if lost and not self._met:
            raise UserError(
                f"{self.review.file}: none of the {len(lost)} images with a mark is in the sources, such as {lost[0]}: "
                "expected the marks of a report of these localizations"
            )
        if lost:
            log.warning(
                "%s: %d images with a mark are not in the sources: %s", self.review.file, len(lost), listed(lost, 3)
            )


def _over(base: BoxConfig, given: BoxConfig) -> BoxConfig:
    """Settings with those of others that are not at their defaults."""
    default = BoxConfig()
    names = (one.name for one in fields(BoxConfig))
    changed = {name: getattr(given, name) for name in names if getattr(given, name) != getattr(default, name)}
    return replace(base, **changed)
