"""Draw localizations: a picture of each image, contact sheets of all images and of each class, or an HTML report."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.config import VisualizeConfig
from wsl.config.keywords import by_keywords
from wsl.data import read_samples
from wsl.draw import draw_comparison, fit_into, overlay, save_image, save_sheets
from wsl.errors import BadImageError, UserError
from wsl.files import UniqueNames, check_folder, locked
from wsl.formats import find_localizations, read_localizations
from wsl.images import read_image
from wsl.progress import loading, track
from wsl.results import Localization
from wsl.samples import SampleIndex, SampleSet
from wsl.verbs.paired_runs import pair_names

log = logging.getLogger("wsl")

# Longer sides in pixels: on smaller pictures class names do not fit, and larger ones do not fit on a screen.
SMALLEST, LARGEST = 480, 1600
THUMBNAIL = (320, 240)

UInt8Array = npt.NDArray[np.uint8]
TitledPicture = tuple[str, UInt8Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualizeSummary:
    """The numbers of images drawn, of sheet files and of images skipped, and the paths that were written.

    >>> VisualizeSummary(pictures=3, sheets=0, skipped=1, paths=(Path("out/images"),)).skipped
    1
    """

    pictures: int
    sheets: int
    skipped: int
    paths: tuple[Path, ...]


@by_keywords(VisualizeConfig, "predictions")
def visualize(config: VisualizeConfig) -> VisualizeSummary:
    """Draw the results of ``wsl-localize`` into ``config.out``, as pictures or as one HTML page (``config.report``).

    Settings are a `VisualizeConfig`, or keywords with the names of the flags:
    ``wsl.visualize("found", out="pictures")``.

    Pictures are ``images/<image>.png`` (the heatmap of the class with the highest score, predicted boxes solid,
    ground-truth boxes dashed), ``sheet-001.png``, … or ``sheet.pdf`` with all images in the order of the file, and
    ``classes/<class>-001.png``, … with the images of a class, highest score first. Each image is read once; besides the
    current image, memory holds only a score and a title per image.

    With ``config.report``, writes ``report.html`` instead. With ``config.against`` too, the report shows each image for
    two runs side by side: ``wsl.visualize("gap/found", against="lse/found", report=True, out="compared")``.

    Images that cannot be read are skipped, logged and counted.

    Raises:
        UserError: all outputs are turned off, the results or annotations cannot be read, none of the images can be
            read, the two runs are the same, or another run is writing to the folder.
    """
    if not (config.images or config.sheet or config.per_class):
        raise UserError("nothing to draw: images, sheet and per class are all off, expected one of them on")
    check_folder(config.out, "the pictures")
    results = find_localizations(config.predictions)
    # Here rather than in the report, so that mistakes are told before torch is loaded.
    names = None if config.against is None else pair_names(config.predictions, config.against)
    with locked(config.out, "wsl-visualize"):
        return _report(config, names) if config.report else _draw(config, results)


def _report(config: VisualizeConfig, names: tuple[str, str] | None) -> VisualizeSummary:
    with loading("the report"):
        from wsl.verbs.report import report  # computes outcomes with wsl.metrics, which loads torch

    written, skipped = report(config, names)
    return VisualizeSummary(pictures=written.images, sheets=0, skipped=skipped, paths=written.pages)


def _draw(config: VisualizeConfig, results: Path) -> VisualizeSummary:
    annotations = _annotations(config)
    localizations = itertools.islice(read_localizations(results), config.limit)
    with tempfile.TemporaryDirectory(prefix=".thumbnails-", dir=config.out) as scratch:
        shelf = _ClassShelf(Path(scratch))
        drawing = _Drawing(config, annotations, shelf)
        pictures = drawing.stream(track(localizations, "visualize", None))
        sheets: list[Path] = []
        if config.sheet:
            sheets += _save(config, pictures, config.out / "sheet", "Localizations")
        deque(pictures, maxlen=0)  # without a sheet nothing else consumes them
        drawing.check()
        names = UniqueNames()
        for label in shelf.labels:
            sheets += _save(config, shelf.best_first(label), config.out / "classes" / names(label), label)
    folder = (config.out / "images",) if config.images and drawing.drawn else ()
    return VisualizeSummary(
        pictures=drawing.drawn, sheets=len(sheets), skipped=drawing.skipped, paths=(*folder, *sheets)
    )


def _save(config: VisualizeConfig, pictures: Iterator[TitledPicture], stem: Path, title: str) -> list[Path]:
    return save_sheets(
        pictures,
        stem,
        columns=config.columns,
        rows=config.rows,
        file_format=config.file_format,
        title=title,
        cell=THUMBNAIL,
    )


def _annotations(config: VisualizeConfig) -> SampleSet:
    """The samples of the split; empty without annotations."""
    if config.data is None:
        return SampleSet(classes=(), samples=())
    samples = read_samples(config.data, config.split, images=False)
    if all(sample.boxes is None for sample in samples.samples):
        log.warning("%s: split %s has no annotated boxes to draw", config.data.data, config.split)
    return samples


class _Drawing:
    """Draws the pictures of all localizations, writes them and counts them."""

    def __init__(self, config: VisualizeConfig, annotations: SampleSet, shelf: _ClassShelf) -> None:
        self.config, self.shelf = config, shelf
        self._annotated, self._index = len(annotations) > 0, SampleIndex(annotations)
        self.drawn = self.skipped = self.matched = 0
        self._first_error = ""
        self._names = UniqueNames()

    def stream(self, localizations: Iterator[Localization]) -> Iterator[TitledPicture]:
        """Each picture with its title. Also writes the picture's own file and stores its thumbnails by class."""
        for found in localizations:
            try:
                photo = read_image(found.path)
            except BadImageError as error:
                log.warning("skipped: %s", error)
                self.skipped += 1
                self._first_error = self._first_error or str(error)
                continue
            sample = self._index.match(found.path)
            self.matched += sample is not None
            true = Boxes.empty() if sample is None or sample.boxes is None else sample.boxes
            yield _title(found), self._picture(found, true, photo)
            self.drawn += 1

    def check(self) -> None:
        """Check that some images could be read; warn if none of them has annotations.

        Raises:
            UserError: there were images, and none could be read.
        """
        if self.skipped and not self.drawn:
            raise UserError(
                f"none of {self.skipped} images can be read, first {self._first_error}: run wsl-visualize in the "
                "folder in which wsl-localize ran, because results store image paths as they were given"
            )
        if self._annotated and self.drawn and not self.matched:
            log.warning("no image has annotations in the split %s: is it the right one?", self.config.split)

    def _picture(self, found: Localization, true: Boxes, photo: UInt8Array) -> UInt8Array:
        small = fit_into(photo, THUMBNAIL)
        if self.config.per_class:
            for label, score in _picked(found).items():
                picture = self._draw(found, true.of(label), photo, small, label, only=label)
                self.shelf.add(label, score, found.id, picture)
        if not self.config.images:
            return self._draw(found, true, photo, small, _top(found))
        picture = self._draw(found, true, photo, _on_a_screen(photo), _top(found))
        save_image(self.config.out / "images" / f"{self._names(found.id)}.png", picture)
        return picture

    def _draw(
        self,
        found: Localization,
        true: Boxes,
        photo: UInt8Array,
        canvas: UInt8Array,
        heat: str | None,
        only: str | None = None,
    ) -> UInt8Array:
        """The canvas (the photograph at some size) with the heatmap of a class and predicted and ground-truth boxes."""
        score_map = (found.maps or {}).get(heat or "")
        if score_map is not None:
            canvas = overlay(canvas, score_map, color_map=self.config.color_map, opacity=self.config.opacity)
        predicted = found.boxes if only is None else found.boxes.of(only)
        size = canvas.shape[1::-1]
        return draw_comparison(canvas, predicted.scaled(found.size, to=size), true.scaled(photo.shape[1::-1], to=size))


class _ClassShelf:
    """Thumbnails by class, stored on disk; only their scores and titles are in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
        self._count = itertools.count()

    @property
    def labels(self) -> list[str]:
        """The names of the classes, sorted."""
        return sorted(self._entries)

    def add(self, label: str, score: float, title: str, picture: UInt8Array) -> None:
        """Store a picture of a class."""
        number = next(self._count)
        save_image(self.folder / f"{number}.png", picture)
        self._entries[label].append((-score, number, title))

    def best_first(self, label: str) -> Iterator[TitledPicture]:
        """The pictures of a class, highest score first; ties keep the order in which they were added."""
        for score, number, title in sorted(self._entries[label]):
            yield f"{title} · {-score:.2f}", read_image(self.folder / f"{number}.png")


def _picked(found: Localization) -> dict[str, float]:
    """The scores of the classes localized in an image, highest first."""
    labels = dict.fromkeys([*(found.maps or {}), *found.points, *found.boxes.labels])
    score: Callable[[str], float] = lambda label: found.scores.get(label, 0.0)  # noqa: E731
    return {label: score(label) for label in sorted(labels, key=score, reverse=True)}


def _top(found: Localization) -> str | None:
    return next(iter(_picked(found)), None)


def _title(found: Localization) -> str:
    top = _top(found)
    return found.id if top is None else f"{found.id} · {top} {found.scores.get(top, 0.0):.2f}"


def _on_a_screen(photo: UInt8Array) -> UInt8Array:
    """The photograph, resized if it is too small for class names or larger than a screen."""
    side = max(photo.shape[:2])
    wanted = min(max(side, SMALLEST), LARGEST)
    return photo if side == wanted else fit_into(photo, (wanted, wanted))
