"""Export boxes, masks or a model to the formats of other tools."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from wsl.checkpoints import read_recipe
from wsl.config import ExportConfig
from wsl.config.export import ModelFormat
from wsl.config.keywords import by_keywords
from wsl.config.shared import BOX_DEFAULTS
from wsl.errors import UserError
from wsl.files import check_folder, locked
from wsl.formats import LocalizationWriter
from wsl.formats.exchange import FORMATS, LAYOUTS
from wsl.formats.exchange.geojson import write_geojson
from wsl.formats.exchange.labelled import Labelled, first_folder, to_localization
from wsl.formats.exchange.layout import Area, read_copies, staged, undo_exchange
from wsl.formats.exchange.masks import write_coco_masks, write_voc_masks
from wsl.formats.exchange.placing import FlatNames, SplitFolders, Splits
from wsl.progress import loading, track
from wsl.results import Localization
from wsl.split_names import role
from wsl.verbs.export_copies import Copies
from wsl.verbs.export_sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """The path and size of an export; for a model, the largest difference of its outputs from PyTorch's.

    ``left_out`` counts images left out because no box of theirs is exported, and ``unreviewed`` those left out because
    they were not reviewed. ``note`` says what else to know before the files are used.
    """

    path: Path
    images: int = 0
    boxes: int = 0
    left_out: int = 0
    unreviewed: int = 0
    note: str = ""
    max_difference: float | None = None


@by_keywords(ExportConfig, "sources")
def export(config: ExportConfig) -> ExportResult:
    """Write the boxes, masks or model of ``config.sources`` in another format.

    Settings are a `ExportConfig`, or keywords with the names of the flags:
    ``wsl.export("found", format="yolo", out="dataset")``.

    Several sources are combined into one export. The format's files in ``config.out`` are replaced all together, after
    all new ones have been written, and only with ``config.overwrite``. With ``config.copy_images`` this includes the
    images that an earlier export copied there; no other file is replaced or removed.

    Raises:
        UserError: a source cannot be read, or contains a name that the format cannot represent; two sources contradict
            each other about an image; the folder contains files of the format and ``overwrite`` is not set, or another
            run writes to it; a source would be overwritten.
    """
    if config.format in get_args(ModelFormat):
        return _export_model(config)
    check_folder(config.out, "the files")
    sources = Sources(config)
    _check_apart(config, sources)
    layout = LAYOUTS[config.format]
    with locked(config.out, "wsl-export"):
        undo_exchange(config.out)
        copied = read_copies(config.out, config.format) if config.copy_images else set()
        if not config.overwrite:
            layout.check_vacant(config.out, config.format, copied)
        sources.survey()
        writing = _Writing(config, sources)
        replaced = set(copied)
        with staged(config.out, layout, replaced) as folder:
            writing.copies = Copies(config, folder, copied) if config.copy_images else None
            path = writing.write(folder)
            if writing.copies is not None:
                replaced -= writing.copies.kept
                replaced |= writing.copies.finish()
    return ExportResult(
        path=config.out / path.relative_to(folder),
        images=writing.images,
        boxes=writing.boxes,
        left_out=sources.left_out,
        unreviewed=sources.unreviewed,
        note=writing.note,
    )


def _export_model(config: ExportConfig) -> ExportResult:
    (run,) = config.sources
    read_recipe(run)  # reports a wrong path before torch is loaded
    if config.out.is_file() and not config.overwrite:
        raise UserError(f"{config.out} exists: --overwrite replaces it, or choose another --out")
    with loading(str(run)):
        from wsl.models import load
        from wsl.models.export import export_model

        model = load(run)
    form: Any = config.format
    difference = export_model(model, config.out, form, image_size=config.image_size)
    return ExportResult(path=config.out, max_difference=difference)


def _check_apart(config: ExportConfig, sources: Sources) -> None:
    """Check that the export does not overwrite its sources or add files among them.

    Raises:
        UserError: it would.
    """
    given = [area for part in sources.parts for area in part.kind.areas(part.place)]
    if config.reference is not None:
        given.append(Area(config.reference))
    for area in LAYOUTS[config.format].areas(config.out):
        for other in given:
            if area.overlaps(other):
                raise UserError(
                    f"{config.format} in {config.out} would overwrite files that are read, or be mixed with them, in "
                    f"{other.path}: choose another --out"
                )


class _Writing:
    """Writing of the images of an export: under their new names, counted, and copied if requested."""

    def __init__(self, config: ExportConfig, sources: Sources) -> None:
        self.images = self.boxes = 0
        self.copies: Copies | None = None
        self._config, self._sources = config, sources
        self._place = self._placing()
        self._folders = set[str]()

    def write(self, out: Path) -> Path:
        """Write the files of the format."""
        config, classes = self._config, self._sources.classes
        threshold = config.boxes.threshold
        threshold = BOX_DEFAULTS["none"].threshold if threshold is None else threshold
        if config.format == "voc-masks":
            return write_voc_masks(self._localized(), out, classes, threshold=threshold)
        if config.format == "coco-masks":
            return write_coco_masks(self._localized(), out, classes, threshold=threshold, reference=config.reference)
        if config.format == "geojson":
            return write_geojson(self._labelled(), out, classes, root=self._sources.root, crs=config.crs)
        if config.format == "wsl":
            return self._write_localizations(out)
        return FORMATS[config.format].write(self._labelled(), out, classes, **self._options())

    def _labelled(self) -> Iterator[Labelled]:
        """Each image and its boxes."""
        return (image for image, _ in self._counted(maps=False))

    def _localized(self) -> Iterator[tuple[Labelled, Localization]]:
        """Each image with its maps.

        Raises:
            UserError: a source is a file of another tool, which has no maps.
        """
        other = next((part for part in self._sources.parts if part.root is not None), None)
        if other is not None:
            raise UserError(f"masks are made from maps, which {other.place} does not have: give localizations")
        return self._counted(maps=True)

    def _counted(self, *, maps: bool) -> Iterator[tuple[Labelled, Localization]]:
        for item in track(self._sources.items(maps=maps), "export", self._sources.count):
            image = self._place(item.labelled)
            if self.copies is not None:
                self.copies.add(self._sources.root / item.labelled.name, image.name)
            self._folders.add(first_folder(image.name))
            yield image, item.found
            self.images += 1
            self.boxes += len(image.boxes)

    def _placing(self) -> Callable[[Labelled], Labelled]:
        """The function that names images, by their own paths or by the format's rules if they are copied.

        It also assigns their splits, if all images have one.
        """
        flat = self._config.layout == "flat"
        splits = Splits(self._sources.folders, self._sources.splits)
        if self._config.format in ("yolo", "labelme") and self._config.copy_images:
            return SplitFolders(splits, flat=flat)
        names = FlatNames() if flat else lambda image: image
        return lambda image: names(replace(image, split=splits.of(image)))

    @property
    def note(self) -> str:
        """What to know about the written files."""
        return {"yolo": self._about_splits, "label-studio": self._about_serving}.get(self._config.format, str)()

    def _about_splits(self) -> str:
        """What to know about the splits of a YOLO data set; its trainers always validate."""
        if {"train", "val"} <= set(map(role, self._folders)) and None not in map(role, self._folders):
            return ""
        return (
            "data.yaml names the same images for training and validation: for separate ones, export the results of "
            "both splits together (wsl-localize --data DATA --split train, then --split val), or images in folders "
            "train and val"
        )

    def _write_localizations(self, out: Path) -> Path:
        with LocalizationWriter(out) as writer:
            for image in self._labelled():
                writer.write(to_localization(image, self._sources.root))
        return writer.path

    def _about_serving(self) -> str:
        """How to make Label Studio show the images."""
        images = self._images()
        return (
            "Label Studio shows the images when it is started with\n"
            "  LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true\n"
            f"  LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shlex.quote(str(images.parent))}\n"
            f"and the project has this folder as a source storage of local files (added, not synced):\n  {images}"
        )

    def _images(self) -> Path:
        """The folder of the images, as given to Label Studio."""
        folder = self._config.out / "images" if self._config.copy_images else self._sources.root
        return folder.absolute()

    def _options(self) -> dict[str, Any]:
        """Further arguments of the format's writer."""
        config = self._config
        if config.format == "coco-results":
            return {"reference": config.reference}
        options: dict[str, Any] = {} if config.scores is None else {"scores": config.scores}
        return {**options, "folder": self._images().name} if config.format == "label-studio" else options
