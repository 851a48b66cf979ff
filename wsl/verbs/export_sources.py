"""The sources of an export, combined so that each image is written once, with its boxes."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wsl.boxes import Boxes
from wsl.config import BoxConfig, ExportConfig
from wsl.errors import UserError
from wsl.formats import find_localizations, read_localizations, results_folder
from wsl.formats.drawn import localize_settings, localized_split
from wsl.formats.exchange.distinct import Distinct, Repeated
from wsl.formats.exchange.labelled import Labelled, common_root, first_folder, image_name, to_localization
from wsl.formats.sources import SOURCES, SourceKind, detect_source
from wsl.images import image_size
from wsl.results import Localization
from wsl.verbs.export_boxes import BoxChoice

_LEARNT = ("yolo", "voc", "coco")  # their trainers treat an image without boxes as background


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a source, with its path and the boxes to export.

    ``emptied`` is true if it has no box although it may contain an object: its boxes were left out, or a model found
    nothing.
    """

    path: Path
    labelled: Labelled
    found: Localization
    emptied: bool


class Source:
    """One source of an export: localizations, or the files of another tool."""

    def __init__(self, place: Path, config: ExportConfig, choice: BoxChoice) -> None:
        self.place, self._config, self._choice = place, config, choice
        self.unreviewed = 0
        self.kind: SourceKind = SOURCES[
            detect_source(place) if config.source_format == "auto" else config.source_format
        ]
        self.root = None if self.kind.read is None else config.image_root or self._folder()
        self._drawing = self._split = None
        if self.kind.read is None:
            file = find_localizations(place)
            self._drawing = choice.drawing(file)
            self._split = localized_split(localize_settings(results_folder(file)))
        elif config.boxes != BoxConfig():
            raise UserError(
                f"{place} has boxes and no maps to draw others from: leave out --threshold, --box-rule, --min-area and "
                "--nms-iou"
            )

    def items(self, *, maps: bool) -> Iterator[Item]:
        """The images of the source; with ``maps``, localizations include their maps if there are any."""
        for path, labelled, found in self._read(maps=maps or self._drawing is not None):
            chosen = self._choice(found, self._drawing)
            emptied = not len(chosen.boxes) and (len(labelled.boxes) > 0 or self.root is None)
            yield Item(path=path, labelled=replace(labelled, boxes=chosen.boxes), found=chosen, emptied=emptied)

    def _read(self, *, maps: bool) -> Iterator[tuple[Path, Labelled, Localization]]:
        if self.kind.read is None or self.root is None:
            for found in read_localizations(self.place, maps=maps):
                image = Labelled(name=found.path.name, size=found.size, boxes=found.boxes, split=self._split)
                yield found.path, image, found
            return
        self.unreviewed = 0
        for image in self.kind.read(self.place, image_size):
            if not image.reviewed and not self._config.keep_unreviewed:
                self.unreviewed += 1
            else:
                yield self.root / image.name, image, to_localization(image, self.root)

    def _folder(self) -> Path:
        """The folder to which the names of images are relative."""
        folder = self.place if self.place.is_dir() else self.place.parent
        # A folder "annotations" is usually beside the folder of the images.
        roots = [folder, folder.parent] if folder.name.lower() == "annotations" else [folder]
        name = self.kind.images or "."
        return next((root / name for root in roots if (root / name).is_dir()), folder)


class Sources:
    """All sources of an export, read twice: by `survey` for the names and classes, and then by `items`.

    Memory holds eight bytes per image, and the boxes of images that occur more than once. ``folders`` are the first
    folders of all names (an empty string for none), and ``splits`` those to which tools assign the images (None for
    none).

    Raises:
        UserError: a source does not exist, or its format is unknown.
    """

    def __init__(self, config: ExportConfig) -> None:
        self._config = config
        self._choice = BoxChoice(config)
        self.parts = [Source(place, config, self._choice) for place in config.sources]
        self.root, self.classes = Path(), tuple[str, ...]()
        self.count = self.left_out = 0
        self.folders, self.splits = set[str](), set[str | None]()
        self._repeated = Repeated(set())

    @property
    def unreviewed(self) -> int:
        """The number of images that are left out because they were not reviewed."""
        return sum(part.unreviewed for part in self.parts)

    def survey(self) -> None:
        """Read all sources for their names and classes.

        Raises:
            UserError: an image occurs twice with different boxes, or is not below the root; a source cannot be read.
        """
        names, labels, parents, localized = Distinct(), set[str](), set[str](), set[str]()
        for part in self.parts:
            for item in part.items(maps=False):
                name = os.path.normpath(item.path)
                names.add(name)
                labels.update(item.labelled.boxes.labels)
                self.splits.add(item.labelled.split)
                parents.add(os.path.dirname(name))  # noqa: PTH120 # of each image
                if part.root is None:
                    localized.add(os.path.dirname(name))  # noqa: PTH120
        self._choice.check()
        if self.unreviewed and not len(names):
            raise UserError(
                f"none of the {self.unreviewed} tasks has been reviewed: --keep-unreviewed exports their predictions"
            )
        self.count, self._repeated = len(names), names.repeated()
        self.root = self._config.image_root or self._common_root(localized)
        self.classes = self._config.classes or tuple(sorted(labels))
        self.folders = {first_folder(image_name(Path(parent, "image"), self.root)) for parent in parents}
        if self._repeated:
            deque(self._once(maps=False), maxlen=0)  # raises before anything is written

    def items(self, *, maps: bool) -> Iterator[Item]:
        """Each image once, under its name below the root; images without boxes are left out if the settings say so."""
        leave = self._config.format in _LEARNT and not self._config.keep_empty
        self.left_out = 0
        for item in self._once(maps=maps):
            if item.emptied and leave:
                self.left_out += 1
                continue
            yield replace(item, labelled=replace(item.labelled, name=image_name(item.path, self.root)))

    def _once(self, *, maps: bool) -> Iterator[Item]:
        """Each image, at its first occurrence.

        Raises:
            UserError: an image occurs again with different boxes.
        """
        seen: dict[str, tuple[Path, Labelled]] = {}
        for part in self.parts:
            for item in part.items(maps=maps):
                name = os.path.normpath(item.path)
                if name not in self._repeated:
                    yield item
                elif name not in seen:
                    seen[name] = part.place, item.labelled
                    yield item
                else:
                    _check_equal(name, seen[name], (part.place, item.labelled))

    def _common_root(self, localized: set[str]) -> Path:
        """The folder to which all names are relative: the common one of localizations and of other tools' roots."""
        roots = [part.root / "image" for part in self.parts if part.root is not None]
        return common_root([*roots, *(Path(folder, "image") for folder in sorted(localized))])


def _check_equal(name: str, first: tuple[Path, Labelled], other: tuple[Path, Labelled]) -> None:
    """Refuse two records of one image that contradict each other.

    Raises:
        UserError: they do; the message states the difference.
    """
    (place, ours), (again, theirs) = first, other
    where = f"in {place}" if place == again else f"in {place} and {again}"
    if tuple(ours.size) != tuple(theirs.size):
        difference = f"of {ours.size[0]}x{ours.size[1]} and of {theirs.size[0]}x{theirs.size[1]} pixels"
    elif (one := _rows(ours.boxes)) != (two := _rows(theirs.boxes)):
        only = sorted((one - two).elements()) or sorted((two - one).elements())
        whose = "first" if one - two else "second"
        label, score, edges = only[0]
        corners = ", ".join(f"{edge / 10:g}" for edge in edges)
        difference = f"where only the {whose} has the box {label} ({corners}) of score {score:g}"
    else:
        return
    raise UserError(f"{name} occurs twice {where}, {difference}: expected each image once, or the same boxes twice")


def _rows(boxes: Boxes) -> Counter[tuple[str, float, tuple[int, ...]]]:
    """Boxes for comparison, in tenths of a pixel because formats differ in the last digits."""
    rows = zip(boxes.labels, boxes.scores.tolist(), boxes.xyxy.tolist(), strict=True)
    return Counter((label, round(score, 4), tuple(round(10 * edge) for edge in edges)) for label, score, edges in rows)
