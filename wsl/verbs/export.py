"""Hand boxes, masks or a model on to another tool."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from wsl.boxes import Boxes
from wsl.checkpoints import read_recipe
from wsl.config import ExportConfig
from wsl.config.keywords import by_keywords
from wsl.errors import UserError
from wsl.files import check_folder, locked, replacing, write_text
from wsl.formats import LocalizationWriter, find_localizations, read_localizations
from wsl.formats.exchange import FORMATS, LAYOUTS
from wsl.formats.exchange.distinct import Distinct
from wsl.formats.exchange.geojson import write_geojson
from wsl.formats.exchange.labelled import (
    FlatNames,
    Labelled,
    common_root,
    from_localization,
    to_localization,
)
from wsl.formats.exchange.layout import Area, copies_list, read_copies, staged, undo_exchange
from wsl.formats.exchange.masks import write_coco_masks, write_voc_masks
from wsl.images import image_size
from wsl.images.archives import is_image_file
from wsl.images.decode import read_bytes
from wsl.progress import loading, track
from wsl.results import Localization


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written: its place and how much of it; for a model, how far its outputs are from PyTorch's."""

    path: Path
    images: int = 0
    boxes: int = 0
    max_difference: float | None = None


@by_keywords(ExportConfig, "source")
def export(config: ExportConfig) -> ExportResult:
    """Write the boxes, masks or model of ``config.source`` in another format.

    Settings can be given by keyword: ``wsl.export("found", format="yolo", out="dataset")``.

    The format's files in ``config.out`` are replaced as a whole, once all new ones are written, and only with
    ``config.overwrite``. With ``config.copy_images`` so are the images that an earlier export copied there; no other
    file is replaced or removed.

    Raises:
        UserError: the source cannot be read, or holds a name that the format cannot; the folder holds files of the
            format that may not be overwritten, or is written to by another run; the source would be written over.
    """
    if config.format == "onnx" or config.format == "torch":
        read_recipe(config.source)  # a wrong path is told before torch is loaded
        if config.out.is_file() and not config.overwrite:
            raise UserError(f"{config.out} exists: --overwrite replaces it, or choose another --out")
        with loading(str(config.source)):
            from wsl.models import load
            from wsl.models.export import export_model

            model = load(config.source)
        difference = export_model(model, config.out, config.format, image_size=config.image_size)
        return ExportResult(path=config.out, max_difference=difference)
    check_folder(config.out, "the files")
    _check_apart(config)
    layout = LAYOUTS[config.format]
    with locked(config.out, "wsl-export"):
        undo_exchange(config.out)
        copied = read_copies(config.out, config.format) if config.copy_images else set()
        if not config.overwrite:
            layout.check_vacant(config.out, config.format, copied)
        source = _Source(config)
        replaced = set(copied)
        with staged(config.out, layout, replaced) as folder:
            source.copies = _Copies(config, source.root, folder, copied) if config.copy_images else None
            path = _write(config, source, folder)
            if source.copies is not None:
                replaced -= source.copies.kept
                replaced |= source.copies.finish()
    return ExportResult(path=config.out / path.relative_to(folder), images=source.images, boxes=source.boxes)


def _check_apart(config: ExportConfig) -> None:
    """Check that nothing is written over or among the files that are exported.

    Raises:
        UserError: it would be.
    """
    if config.source_format == "wsl":
        file = find_localizations(config.source)
        given = [Area(file), Area(file.parent / "maps", ".npy")]
        if file.is_dir():
            given = [Area(file, ".parquet"), Area(file, ".npy")]
    else:
        given = FORMATS[config.source_format].layout.areas_read(config.source)
    if config.reference is not None:
        given.append(Area(config.reference))
    for area in LAYOUTS[config.format].areas(config.out):
        for other in given:
            if area.overlaps(other):
                raise UserError(
                    f"{config.format} in {config.out} would be written over or among the files that are read from "
                    f"{other.path}: choose another --out"
                )


def _write(config: ExportConfig, source: _Source, out: Path) -> Path:
    if config.format == "voc-masks":
        return write_voc_masks(source.localized(), out, source.classes, threshold=config.threshold)
    if config.format == "coco-masks":
        return write_coco_masks(
            source.localized(), out, source.classes, threshold=config.threshold, reference=config.reference
        )
    if config.format == "geojson":
        return write_geojson(source.labelled(), out, source.classes, root=source.root, crs=config.crs)
    if config.format == "wsl":
        return _write_localizations(source, out)
    return FORMATS[config.format].write(source.labelled(), out, source.classes, **_options(config))


class _Source:
    """What is exported. It is gone through twice, for names and classes and then to be written.

    No boxes are kept, and eight bytes of each image.

    The images go to ``copies``, where there is one.

    Raises:
        UserError: an image comes twice, or has no name below the root.
    """

    def __init__(self, config: ExportConfig) -> None:
        self.config = config
        self.copies: _Copies | None = None
        self.images = self.boxes = 0
        names, labels = Distinct(), set[str]()
        self.root = config.image_root or self._default_root(self._survey(names, labels))
        if config.image_root is not None or config.source_format != "wsl":
            deque(self._survey(names, labels), maxlen=0)
        twice = names.repeated(lambda: (os.path.normpath(path) for path, _ in self._listed()))
        if twice is not None:
            raise UserError(f"{twice} comes twice, expected each image once: remove one of its records")
        self.classes = config.classes or tuple(sorted(labels))
        self._count = len(names)

    def _survey(self, names: Distinct, labels: set[str]) -> Iterator[Path]:
        """The images, while their names and classes are collected."""
        for path, boxes in self._listed():
            name = os.path.normpath(path)
            names.add(name)
            labels.update(_above(boxes, self.config.min_score).labels)
            yield Path(name)

    def labelled(self) -> Iterator[Labelled]:
        """Each image and its boxes."""
        return (image for image, _ in self._counted(maps=False))

    def localized(self) -> Iterator[tuple[Labelled, Localization]]:
        """Each image with its maps.

        Raises:
            UserError: the source is another tool's, which has none.
        """
        if self.config.source_format != "wsl":
            raise UserError(f"masks are made of maps, which {self.config.source_format} has not: give localizations")
        return self._counted(maps=True)

    def _counted(self, *, maps: bool) -> Iterator[tuple[Labelled, Localization]]:
        flat = FlatNames() if self.config.layout == "flat" else None
        for image, found in track(self._read(maps=maps), "export", self._count):
            placed = image if flat is None else flat(image)
            if self.copies is not None:
                self.copies.add(image, placed.name)
            yield placed, found
            self.images += 1
            self.boxes += len(image.boxes)

    def _read(self, *, maps: bool) -> Iterator[tuple[Labelled, Localization]]:
        config = self.config
        if config.source_format == "wsl":
            for found in read_localizations(config.source, maps=maps):
                kept = dataclasses.replace(found, boxes=_above(found.boxes, config.min_score))
                yield from_localization(kept, self.root), kept
            return
        for image in self._foreign():
            kept_image = dataclasses.replace(image, boxes=_above(image.boxes, config.min_score))
            yield kept_image, to_localization(kept_image, self.root)

    def _listed(self) -> Iterator[tuple[Path, Boxes]]:
        if self.config.source_format == "wsl":
            for found in read_localizations(self.config.source, maps=False):
                yield found.path, found.boxes
            return
        for image in self._foreign():
            yield Path(image.name), image.boxes

    def _foreign(self) -> Iterator[Labelled]:
        read = FORMATS[self.config.source_format].read
        assert read is not None
        return read(self.config.source, image_size)

    def _default_root(self, paths: Iterable[Path]) -> Path:
        config = self.config
        if config.source_format == "wsl":
            return common_root(paths)
        folder = config.source if config.source.is_dir() else config.source.parent
        name = FORMATS[config.source_format].images or "."
        # Annotations in a folder of their own lie beside the images.
        roots = [folder, folder.parent] if folder.name.lower() == "annotations" else [folder]
        return next((root / name for root in roots if (root / name).is_dir()), folder)


class _Copies:
    """Copies of the images in the folder ``new``, which later becomes part of ``config.out``.

    ``old`` are the images that an earlier export copied to ``config.out``, ``kept`` those of them that stay because
    they are the very files to be copied.
    """

    def __init__(self, config: ExportConfig, root: Path, new: Path, old: set[str]) -> None:
        self.kept: set[str] = set()
        self._config, self._root, self._new, self._old = config, root, new, old
        self._folder = "JPEGImages" if config.format == "voc-masks" else _image_folder(config.format)
        self._copied: list[str] = []

    def add(self, image: Labelled, placed: str) -> None:
        """Copy one image, to the name ``placed`` in the folder of images.

        Raises:
            UserError: it does not exist, or another picture that was not copied by an export stands in its place.
        """
        source, name = self._root / image.name, (PurePosixPath(self._folder) / placed).as_posix()
        if not is_image_file(source):
            raise UserError(f"{source}: no such image to copy, give the folder of the images with --image-root")
        target = self._config.out / name
        if target.exists():
            if source.exists() and target.samefile(source):
                self.kept |= self._old & {name}
                return
            if name not in self._old:
                if not _same(source, target):
                    raise UserError(f"{target} is another picture than {source}: move it, or choose another --out")
                return
        with replacing(self._new / name) as temporary:
            if source.is_file():
                shutil.copyfile(source, temporary)
            else:  # in an archive
                temporary.write_bytes(read_bytes(source))
        self._copied.append(name)

    def finish(self) -> set[str]:
        """Write the list of the copies; the list that it replaces."""
        name = copies_list(self._config.format)
        write_text(self._new / name, json.dumps(sorted({*self.kept, *self._copied})) + "\n")
        return {name} if (self._config.out / name).is_file() else set()


def _image_folder(name: str) -> str:
    known = FORMATS.get(name)
    return "images" if known is None or known.images is None else known.images


def _above(boxes: Boxes, score: float) -> Boxes:
    return boxes if score == 0 else boxes.select(boxes.scores >= score)


def _options(config: ExportConfig) -> dict[str, Any]:
    """What the format's writer is told beside the boxes."""
    if config.format == "coco-results":
        return {"reference": config.reference}
    return {} if config.scores is None else {"scores": config.scores}


def _write_localizations(source: _Source, out: Path) -> Path:
    with LocalizationWriter(out) as writer:
        for image in source.labelled():
            writer.write(to_localization(image, source.root))
    return writer.path


def _same(source: Path, target: Path) -> bool:
    """Whether two files have the same bytes; the first may lie in an archive."""
    if source.is_file():
        return filecmp.cmp(source, target, shallow=False)
    return read_bytes(source) == target.read_bytes()
