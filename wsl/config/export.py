"""Settings of `wsl-export`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from wsl.config.checks import check, check_types
from wsl.config.shared import BoxConfig

BoxFormat = Literal["wsl", "coco", "coco-results", "voc", "yolo", "labelme", "label-studio", "cvat", "csv"]
MaskFormat = Literal["voc-masks", "coco-masks"]
ModelFormat = Literal["onnx", "torch"]
MapFormat = Literal["geojson"]
ExportFormat = Literal[BoxFormat, MaskFormat, MapFormat, ModelFormat]
FolderFormat = Literal["coco", "voc", "yolo", "labelme", "label-studio", "cvat", "csv", "voc-masks"]
SourceFormat = Literal["auto", "wsl", "coco", "voc", "yolo", "labelme", "label-studio", "fiftyone", "cvat", "csv"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Export boxes, masks or a model to the format of another tool."""

    sources: tuple[Path, ...]
    """Localizations (a folder of wsl-localize) or what another tool wrote: files or folders, several of which become
    one export; for onnx and torch a run."""
    format: ExportFormat
    """What to write: boxes or masks for other programs, or a model as one file. yolo, voc, coco, cvat and labelme keep
    the splits of the images, if all of them have one (yolo and labelme with --copy-images)."""
    out: Path
    """Folder for the files (for a model, the file itself)."""
    overwrite: bool = False
    """Replace an earlier export, or other files of the format, in that folder; files of other kinds stay."""
    source_format: SourceFormat = "auto"
    """Format of the sources: auto recognises it; wsl is localizations, the others are annotations of other tools."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their numbers; when empty, the localized classes in alphabetical order."""
    min_score: float = 0.0
    """Leave out boxes of a lower score."""
    keep_empty: bool = False
    """yolo, voc, coco: keep images in which nothing was found, or of which no box is left. By default they are left
    out, because a detector that is trained on them learns that their objects are background."""
    keep_unreviewed: bool = False
    """Keep images of Label Studio's tasks that have predictions and no annotation, with these predictions."""
    scores: bool | None = None
    """Write scores too; None writes them only in formats that always have them (coco-results, label-studio, csv)."""
    image_root: Path | None = None
    """Folder that image names are relative to; None takes the deepest one that holds all images."""
    copy_images: bool = False
    """Also copy the images to where the format's tools look for them."""
    layout: Literal["nested", "flat"] = "nested"
    """Folders of images: nested keeps them; flat copies all images into one folder (cats/a.jpg becomes cats_a.jpg), for
    tools that do not look into subfolders, such as supervision for yolo and voc."""
    reference: Path | None = None
    """coco-results and coco-masks: annotations in COCO's format whose image and category numbers to use."""
    crs: Literal["wgs84", "source"] = "wgs84"
    """geojson: longitude and latitude, as RFC 7946 prescribes (wgs84), or the coordinates of the rasters (source)."""
    boxes: BoxConfig = field(default_factory=BoxConfig)
    reviewed: Path | None = None
    """The marks made in a report (reviewed.json): rejected boxes are left out, and the others are drawn at the
    threshold of the report's slider."""
    only_reviewed: bool = False
    """With --reviewed: keep only boxes that were accepted, and leave out those that nobody marked."""
    image_size: int | None = None
    """onnx and torch: side of the example input; None takes that of training. The model accepts other sizes too."""

    def __post_init__(self) -> None:
        check_types(self)
        check(len(self.sources) > 0, "no source given: expected a folder of wsl-localize, or what another tool wrote")
        check(
            len(self.sources) == 1 or self.format not in get_args(ModelFormat),
            f"{len(self.sources)} sources for {self.format}: expected one run",
        )
        check(0 <= self.min_score <= 1, f"min score is {self.min_score}, expected a probability in [0, 1]")
        check(
            self.reviewed is not None or not self.only_reviewed,
            "--only-reviewed keeps what was accepted: expected --reviewed and the file of the marks with it",
        )
        check(len(set(self.classes)) == len(self.classes), "classes: expected each name once")
        check(
            self.layout == "nested" or (self.copy_images and self.format in get_args(FolderFormat)),
            "--layout flat gives images new names, so that they have to be copied: add --copy-images, with a format "
            f"of {', '.join(get_args(FolderFormat))}",
        )
        check(
            self.reference is None or self.format in ("coco-results", "coco-masks"),
            f"--reference is for coco-results and coco-masks, not for {self.format}",
        )
        check(self.crs == "wgs84" or self.format == "geojson", f"--crs is for geojson, not for {self.format}")
