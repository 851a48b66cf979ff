"""Hand boxes, masks or a model on to another tool."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl.boxes import Boxes
from wsl.checkpoints import read_recipe
from wsl.config import ExportConfig
from wsl.errors import UserError
from wsl.files import check_folder, replacing
from wsl.formats import LocalizationWriter, read_localizations
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled, common_root, from_localization, image_name, to_localization
from wsl.formats.exchange.masks import write_coco_masks, write_voc_masks
from wsl.images import image_size
from wsl.progress import loading, track
from wsl.results import Localization


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written: its place and how much of it; for a model, how far its outputs are from PyTorch's."""

    path: Path
    images: int = 0
    boxes: int = 0
    max_difference: float | None = None


def export(config: ExportConfig) -> ExportResult:
    """Write the boxes, masks or model of ``config.source`` in another format.

    Raises:
        UserError: the source cannot be read, or holds a name that the format cannot.
    """
    if config.format in ("onnx", "torch"):
        read_recipe(config.source)  # a wrong path is told before torch is loaded
        with loading(str(config.source)):
            from wsl.models import load
            from wsl.models.export import export_model

            model = load(config.source)
        difference = export_model(model, config.out, config.format, image_size=config.image_size)
        return ExportResult(path=config.out, max_difference=difference)
    check_folder(config.out, "the files")
    source = _Source(config)
    if config.format == "voc-masks":
        path = write_voc_masks(source.localized(), config.out, source.classes, threshold=config.threshold)
    elif config.format == "coco-masks":
        path = write_coco_masks(
            source.localized(), config.out, source.classes, threshold=config.threshold, reference=config.reference
        )
    elif config.format == "wsl":
        path = _write_localizations(source, config.out)
    else:
        path = FORMATS[config.format].write(source.labelled(), config.out, source.classes, **_options(config))
    return ExportResult(path=path, images=source.images, boxes=source.boxes)


class _Source:
    """What is exported. It is gone through twice, for names and classes and then to be written; no boxes are kept.

    Raises:
        UserError: an image comes twice, or has no name below the root.
    """

    def __init__(self, config: ExportConfig) -> None:
        self.config = config
        self.images = self.boxes = 0
        sizes: dict[str, tuple[int, int]] = {}
        labels: set[str] = set()
        for path, size, boxes in self._listed():
            name = os.path.normpath(path)
            if name in sizes:
                raise UserError(f"{path} comes twice, expected each image once: remove one of its records")
            sizes[name] = size
            labels.update(_above(boxes, config.min_score).labels)
        self.classes = config.classes or tuple(sorted(labels))
        self.root = config.image_root or self._default_root(map(Path, sizes))
        self._count = len(sizes)
        if config.source_format == "wsl":
            for name, size in sizes.items():
                Labelled(name=image_name(Path(name), self.root), size=size, boxes=Boxes.empty())

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
        for image, found in track(self._read(maps=maps), "export", self._count):
            if self.config.copy_images:
                self._copy(image)
            yield image, found
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

    def _listed(self) -> Iterator[tuple[Path, tuple[int, int], Boxes]]:
        if self.config.source_format == "wsl":
            for found in read_localizations(self.config.source, maps=False):
                yield found.path, found.size, found.boxes
            return
        for image in self._foreign():
            yield Path(image.name), image.size, image.boxes

    def _foreign(self) -> Iterator[Labelled]:
        read = FORMATS[self.config.source_format].read
        assert read is not None
        return read(self.config.source, image_size)

    def _default_root(self, paths: Iterable[Path]) -> Path:
        config = self.config
        if config.source_format == "wsl":
            return common_root(paths)
        folder = config.source if config.source.is_dir() else config.source.parent
        images = folder / (FORMATS[config.source_format].images or ".")
        return images if images.is_dir() else folder

    def _copy(self, image: Labelled) -> None:
        source = self.root / image.name
        folder = "JPEGImages" if self.config.format == "voc-masks" else _image_folder(self.config.format)
        target = self.config.out / folder / image.name
        if not source.is_file():
            raise UserError(f"{source}: no such image to copy, give the folder of the images with --image-root")
        if target.exists() and target.samefile(source):
            return
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


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
