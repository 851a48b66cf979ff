"""Actions of the page's controls, from uploads to pictures, tables and files."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wsl.boxes import Boxes
from wsl.checkpoints import run_folder
from wsl.config import BoxRule, Refine
from wsl.errors import BadImageError, UserError
from wsl.images import read_image
from wsl.models import CamLocalizer, Localizer
from wsl.page.downloads import Downloads, Found, write_many, write_one
from wsl.page.looking import AUTO, Look, UInt8Array, draw, look, own_boxes, variant
from wsl.page.shelf import Shelf

MAX_PIXELS = 40_000_000
MANY = 48
_KEPT = 16  # requests whose downloads are kept
_SEEN = 2  # two poolings can be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a request: the model, how its maps are made, and how boxes are drawn.

    An empty ``pooling`` stands for the model's own, an empty ``label`` for the class with the highest score. Without a
    threshold or rule, those of the run or of the refinement are used.
    """

    model: str
    pooling: str = ""
    label: str = ""
    method: str = AUTO
    refine: Refine = "auto"
    threshold: float | None = None
    rule: BoxRule | None = None
    opacity: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """The result for one image. ``known`` are the classes to choose from, ``threshold`` is the threshold used."""

    picture: UInt8Array
    label: str
    boxes: Boxes
    top: dict[str, float]
    known: Sequence[str]
    threshold: float


class ManyShown(NamedTuple):
    """Pictures with captions, a line for each unreadable image, a ZIP file with the boxes, and the threshold used."""

    pictures: list[tuple[UInt8Array, str]]
    skipped: list[str]
    archive: Path
    threshold: float


class Controls:
    """The page without its layout. Downloads are written below ``folder``, each into its own folder."""

    def __init__(self, shelf: Shelf, folder: Path) -> None:
        self.shelf, self.folder = shelf, folder
        self.downloads = Downloads(folder, _KEPT)
        self._under_way, self._closed = threading.Lock(), False
        # Moving a slider does not run the network again, and many images share one variant of the model.
        self._seen = functools.lru_cache(maxsize=_SEEN)(self._look)
        self._variant = functools.lru_cache(maxsize=_SEEN)(self._make_variant)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Admit one request at a time, and none after `close`.

        Raises:
            UserError: the page is closed.
        """
        with self._under_way:
            if self._closed:
                raise UserError("the page is closed: start it again")
            yield

    def close(self) -> None:
        """Wait for the current request and refuse later ones, so that nothing more is written below ``folder``."""
        with self._under_way:
            self._closed = True

    def localize(
        self, file: str | None, settings: Settings, beside: str | None = None
    ) -> tuple[Shown, Shown | None, list[Path]]:
        """Localize one image, with ``beside`` by that pooling too; return the results and the downloads.

        Raises:
            UserError: no image, one that cannot be read, or a setting that the model does not know.
        """
        if not file:
            raise UserError("no image yet: drop one on the page, or take one of the examples")
        seen, shown = self._shown(file, settings, settings.pooling, settings.label)
        other = None if beside is None else self._shown(file, settings, beside, seen.label)[1]
        found = Found(Path(file).name, seen.found.size, shown.boxes, shown.picture)
        return shown, other, write_one(found, self.downloads.new())

    def own_threshold(self, settings: Settings) -> float | None:
        """The threshold that is used unless another is set; None for a classifier, which may yet have to be downloaded.

        Raises:
            UserError: the run cannot be read, or a setting that the model does not know.
        """
        name = settings.model
        if name not in self.shelf.names or run_folder(name) is None:
            return None
        model = self._variant(name, settings.pooling, settings.method)
        return own_boxes(model, name=name, method=settings.method, refine=settings.refine)[0].threshold

    def localize_many(self, files: Sequence[str], settings: Settings) -> ManyShown:
        """Localize several images with the same settings.

        Raises:
            UserError: no image, too many, none that can be read, or a setting that the model does not know.
        """
        if not 0 < len(files) <= MANY:
            raise UserError(f"{len(files)} images, expected 1 to {MANY}: wsl-localize takes any number")
        found, captions, skipped, used = [], [], [], 0.0
        for file in files:
            try:
                seen, shown = self._shown(file, settings, settings.pooling, settings.label)
            except BadImageError as error:
                skipped.append(str(error))
                continue
            found.append(Found(Path(file).name, seen.found.size, shown.boxes, shown.picture))
            captions.append(f"{shown.label} {seen.found.scores[shown.label]:.2f}: {Path(file).name}")
            used = shown.threshold
        if not found:
            raise UserError("none of the images can be read: " + "; ".join(skipped))
        pictures = list(zip((one.picture for one in found), captions, strict=True))
        return ManyShown(pictures, skipped, write_many(found, self.downloads.new()), used)

    def remove_upload(self, before: str | None, now: str | None) -> str | None:
        """Remove an upload that was replaced or taken off the page; return the current one."""
        if before and before != now and Path(before).resolve().is_relative_to(self.folder.resolve()):
            Path(before).unlink(missing_ok=True)
        return now

    def _shown(self, file: str, settings: Settings, pooling: str, label: str) -> tuple[Look, Shown]:
        model = self.shelf(settings.model)
        wanted = label if label in model.classes else ""  # that of another model
        seen = self._seen(file, settings.model, pooling, wanted, settings.method, settings.refine)
        boxes = seen.boxes_at(settings.threshold, settings.rule)
        top = dict(list(seen.found.scores.items())[:5])
        used = seen.boxes.threshold if settings.threshold is None else settings.threshold
        assert used is not None
        shown = Shown(
            picture=draw(seen, boxes, opacity=settings.opacity),
            label=seen.label,
            boxes=boxes,
            top=top,
            known=[*top, *(name for name in model.classes if name not in top)],
            threshold=used,
        )
        return seen, shown

    def _look(self, file: str, name: str, pooling: str, label: str, method: str, refine: Refine) -> Look:
        try:
            image = read_image(file, MAX_PIXELS)
        except BadImageError as error:
            # Visitors need not know the server's folders.
            raise BadImageError(str(error).replace(file, Path(file).name)) from error
        model = self._variant(name, pooling, method)
        return look(image, model, name=name, label=label, method=method, refine=refine)

    def _make_variant(self, name: str, pooling: str, method: str) -> Localizer | CamLocalizer:
        return variant(self.shelf(name), pooling=pooling, method=method)
