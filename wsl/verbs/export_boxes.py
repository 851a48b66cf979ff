"""Selection of the boxes of an image to export: redrawn from maps, accepted in a review, above a minimum score."""

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
from wsl.inference import redrawn
from wsl.results import Localization

log = logging.getLogger("wsl")


class BoxChoice:
    """The selection of boxes for an export, the same for all sources."""

    def __init__(self, config: ExportConfig) -> None:
        self._config = config
        self.review: Review | None = None if config.reviewed is None else read_review(config.reviewed)
        self._met: set[str] = set()

    def drawing(self, results: Path) -> BoxConfig | None:
        """The settings for redrawing the boxes of some localizations; None if they need not be redrawn.

        Settings of the export override those of the review, which override those of ``wsl-localize``.
        """
        folder = results_folder(results)
        drawn = drawn_boxes(localize_settings(folder), folder)
        reviewed = BoxConfig() if self.review is None else self.review.boxes
        wanted = _over(_over(drawn, reviewed), self._config.boxes)
        return None if wanted == drawn else wanted

    def __call__(self, found: Localization, drawing: BoxConfig | None) -> Localization:
        """The localization with only the boxes and maps to export.

        Raises:
            UserError: boxes are to be redrawn, and there are no maps.
        """
        boxes = found.boxes if drawing is None else redrawn(found, drawing)
        maps = found.maps
        kept = boxes.scores >= self._config.min_score
        if self.review is not None:
            marks = self.review.of(found.path)
            if marks:
                self._met.add(os.path.normpath(found.path))
            other = not self._config.only_reviewed  # whether classes without a mark are exported
            kept &= np.array([marks.get(label, other) for label in boxes.labels], np.bool_)
            maps = None if maps is None else {name: one for name, one in maps.items() if marks.get(name, other)}
        return replace(found, boxes=boxes.select(kept), maps=maps)

    def check(self) -> None:
        """Warn of marks for images that are not in the sources.

        Raises:
            UserError: no image with a mark is in the sources.
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
    """The `base` settings, overridden by those of `given` that are not at their defaults."""
    default = BoxConfig()
    names = (one.name for one in fields(BoxConfig))
    changed = {name: getattr(given, name) for name in names if getattr(given, name) != getattr(default, name)}
    return replace(base, **changed)
