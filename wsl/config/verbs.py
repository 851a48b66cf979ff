"""Settings of `wsl-localize` and `wsl-visualize`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsl.config.checks import check, check_batch_size, check_types
from wsl.config.raster import RasterConfig
from wsl.config.shards import ShardConfig
from wsl.config.shared import BoxConfig, CamConfig, DataConfig, PickConfig, Refine, RuntimeConfig, parse_tta

HeatmapLayout = Literal["together", "each"]


@dataclass(frozen=True, kw_only=True)
class LocalizeConfig:
    """Localize objects in images: class scores, boxes and heatmaps."""

    sources: tuple[str, ...] = ()
    """Images, folders, globs or archives (.tar, .zip, .parquet); with --engine also lists (.txt, .csv, .parquet) and
    addresses in object stores."""
    weights: str
    """A run folder, its model.safetensors, an ONNX file, a run on the Hugging Face hub (hf://user/model, or
    hf://user/model@revision), a classifier by name (torchvision's resnet50, timm/vit_base_patch16_224,
    hf/google/vit-base-patch16-224), or the .pth of such a classifier."""
    out: Path
    """Results folder: localizations.jsonl, and heatmaps/ and maps/ if requested. With --engine also an address in an
    object store, such as s3://bucket/found."""
    data: DataConfig | None = None
    """A data set to localize instead of files."""
    split: str | None = None
    """Split of the data set, val by default."""
    labels: bool = False
    """Localize in each image of --data exactly its labelled classes, for annotators to correct."""
    local_weights: Path | None = None
    """With a model name: load its weights from this file instead of downloading them."""
    cam: CamConfig = field(default_factory=CamConfig)
    pick: PickConfig = field(default_factory=PickConfig)
    boxes: BoxConfig = field(default_factory=BoxConfig)
    heatmaps: bool = False
    """Also write a picture of each image with the heatmaps of its classes, heatmaps/<image>.png."""
    heatmap_layout: HeatmapLayout = "together"
    """together draws all classes of an image on one picture, with their names; each writes one picture per class, of
    the size of the image and without text (heatmaps/<image>-<class>.png)."""
    maps: bool = False
    """Also write the raw maps: maps/shard-0000.npy, …, float16, at the network's resolution."""
    refine: Refine = "auto"
    """affinity spreads maps over regions with similar backbone features, for fuller boxes; decoder takes the maps of
    the run's decoder (wsl-train --decode). auto is decoder if the run has one, else affinity if the backbone has two
    levels of intermediate features; none leaves maps unchanged. For any model, maps can follow the colours of the
    image: pamr (means of neighbours), crf (dense CRF), guided (guided filter), grabcut (slow, on the CPU)."""
    tta: tuple[str, ...] = ()
    """Test-time augmentation, views whose scores and maps are averaged: flip adds the mirrored image, numbers are input
    sides that replace --image-size (--tta flip 288 384); each view costs a forward pass."""
    image_size: int | None = None
    """Side of the network input, if it should differ from that of training."""
    batch_size: int | None = None
    """Images per forward pass; None takes 128 on CUDA and 8 elsewhere."""
    resume: bool = False
    """Continue an interrupted run into --out: its results are kept, and the outcome is the same as without the
    interruption. A finished run is left unchanged."""
    overwrite: bool = False
    """Replace the results in --out."""
    dry_run: bool = False
    """Only print which images and settings would be used; nothing is computed or written."""
    raster: RasterConfig = field(default_factory=RasterConfig)
    sharding: ShardConfig = field(default_factory=ShardConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        check_types(self)
        check(
            not (self.resume and self.overwrite),
            "both --resume and --overwrite: expected one of them to say what becomes of older results",
        )
        check(
            bool(self.sources) or self.data is not None or self.sharding.engine is not None,
            "no image given: expected files, folders or globs, or a data set with --data",
        )
        check(
            not self.sources or self.data is None,
            f"both images ({', '.join(self.sources[:3])}) and --data: expected one of them",
        )
        check(
            self.data is not None or (not self.labels and self.split is None),
            "--labels and --split describe the images of --data: expected it too",
        )
        check(
            not (self.labels and self.pick.classes),
            "both --labels and --classes: expected one of them to say which classes are localized",
        )
        check(
            not (self.sharding.retry_failed and self.overwrite),
            "both --retry-failed and --overwrite: expected one of them to say what becomes of older results",
        )
        check(
            self.sharding.engine is None or not self.heatmaps,
            "--heatmaps with --engine: draw them of the results with wsl-visualize, expected --maps here",
        )
        check(
            self.sharding.engine != "array" or not self.overwrite or self.sharding.manifest_only,
            "--overwrite with --engine array, where each task would remove what the others did: start anew with "
            "--manifest-only --overwrite, then start the tasks without",
        )
        check(
            bool(self.sources) or self.data is not None or not self.overwrite,
            "--overwrite without images: expected those to localize, because the list of them is replaced as well",
        )
        check(
            self.raster.tile is None or self.sharding.decoders is None,
            "--tile with --decoders, which send each image in the size of the network's input: leave out --decoders, "
            "and each actor reads its own images, tile by tile",
        )
        check(
            self.heatmaps or self.heatmap_layout == "together",
            "--heatmap-layout without --heatmaps: expected both",
        )
        check_batch_size(self.batch_size)
        parse_tta(self.tta)


@dataclass(frozen=True, kw_only=True)
class VisualizeConfig:
    """Draw localizations: overlays, boxes, contact sheets."""

    predictions: Path
    """localizations.jsonl or its folder, as written by wsl-localize (with --maps, for heatmaps)."""
    out: Path
    """Folder for the pictures."""
    data: DataConfig | None = None
    """Annotations, to draw ground-truth boxes beside the predicted ones."""
    split: str = "val"
    """Split of the annotations."""
    report: bool = False
    """Write report.html instead of pictures and sheets: one page with a threshold slider, filters and sorting."""
    against: Path | None = None
    """With --report: localizations of a second run, shown beside those of --predictions image by image."""
    evaluation: Path | None = None
    """Results folder of wsl-evaluate, whose numbers and plots are shown at the top of the report; None looks beside the
    predictions. Those of --against are always looked for beside them."""
    images: bool = True
    """Write one picture per image; --no-images turns it off."""
    sheet: bool = True
    """Write contact sheets of all pictures; --no-sheet turns it off."""
    per_class: bool = False
    """Write contact sheets of each class, highest score first."""
    file_format: Literal["png", "pdf"] = "png"
    """Format of the contact sheets; pictures are always PNG."""
    columns: int = 4
    """Pictures in each row of a contact sheet."""
    rows: int = 5
    """Rows on each page of a contact sheet."""
    limit: int | None = None
    """Draw only this many images, the first ones."""
    opacity: float = 0.5
    """Opacity of the heatmap, 0 to 1."""
    color_map: str = "turbo"
    """A matplotlib colour map: turbo, viridis, inferno, …"""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.columns >= 1 and self.rows >= 1, "columns and rows: expected 1 or more")
        check(self.limit is None or self.limit >= 1, f"limit is {self.limit}, expected 1 or more")
        check(
            self.against is None or self.report,
            "--against without --report: two runs are shown side by side only in a report, expected both",
        )
        check(0 <= self.opacity <= 1, f"opacity is {self.opacity}, expected 0 to 1")
