"""Settings of `wsl-evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wsl.config.checks import check, check_batch_size, check_types
from wsl.config.shared import BoxConfig, CamConfig, DataConfig, Protocol, Refine, RuntimeConfig, parse_tta

PredictionsFormat = Literal[
    "auto",
    "localizations",
    "maps",
    "coco",
    "torchvision",
    "voc",
    "yolo",
    "labelme",
    "label-studio",
    "fiftyone",
    "cvat",
    "csv",
    "parquet",
]

OF_A_MODEL: Mapping[str, tuple[Any, ...]] = {
    "local_weights": (None,),
    "cam": (CamConfig(),),
    "refine": ("auto", "none"),
    "aligned": (None,),
    "tta": ((), []),
    "image_size": (None,),
    "faithfulness": (None,),
    "stability": (None,),
}
"""The settings of an evaluation that mean something only with --weights: their default, and other values that ask for
nothing."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Measure localizations, score maps, boxes, or a model, against annotations."""

    data: DataConfig
    out: Path | None = None
    """Results folder: evaluation.json, evaluation.md, seconds.json, and plots/ if requested; None only prints."""
    split: str = "val"
    """Split of the annotations to evaluate on."""
    predictions: Path | None = None
    """localizations.jsonl or its folder, as written by wsl-localize (with --maps, for metrics that need maps); a folder
    of score maps (<image id>.npy, .npz by class, one file per class, greyscale PNG); boxes of another system: COCO
    results JSON (pycocotools, detectron2, ultralytics), torchvision outputs, VOC devkit text files, YOLO files with
    confidences, LabelMe, Label Studio, FiftyOne, CVAT, CSV; Parquet parts."""
    predictions_format: PredictionsFormat = "auto"
    """The format of --predictions; auto recognises it from the files."""
    weights: str | None = None
    """Instead of --predictions: run this model on the split (a run folder, hf://user/model or a classifier's name)."""
    local_weights: Path | None = None
    """With a model name: load its weights from this file instead of downloading them."""
    cam: CamConfig = field(default_factory=CamConfig)
    protocol: Protocol = "default"
    """How maps become boxes in MaxBoxAcc and PxAP: default, or wsolevaluation (the WSOL benchmark's 224x224 8-bit maps,
    contours and inclusive corners), for comparison with published numbers."""
    metrics: tuple[str, ...] = ()
    """Compute only these metrics (all when empty): mAP, top-k, pointing, pointing-difficult, point-AP, CorLoc,
    CorLoc-pairs, Loc, AP50, MaxBoxAcc, MaxBoxAccV2, COCO-AP, PxAP, mIoU, class-mask-AP, calibration,
    box-calibration."""
    num_thresholds: int | None = None
    """Number of map thresholds of MaxBoxAcc and MaxBoxAccV2; None takes 100 and 1000, as published."""
    aligned: bool | None = None
    """Place the maps of --weights at the centres of their receptive fields (True), or resize them to the image as
    cv2.resize does (False). None takes False for the protocol wsolevaluation, as in its published numbers, else
    True."""
    select_threshold: str | None = None
    """Select the map threshold and box rule on this other split, draw boxes with them, and store them with the run of
    --weights as its new defaults."""
    faithfulness: int | None = None
    """Also measure whether the model of --weights depends on what its maps highlight, on this many labelled images of
    the split, evenly spaced: insertion, deletion, average drop and increase in confidence."""
    faithfulness_steps: int = 28
    """Steps of insertion and deletion. Each takes four forward passes per image and class, two of them for the
    baseline: mobilenet_v2 at 224 px needs 2 s of a CPU core for 28 steps, and 16 s for the paper's 224, which change
    the mean over 25 photographs by less than 0.001."""
    stability: int | None = None
    """Also compare the maps and boxes of this many labelled images, evenly spaced, with those of their mirror images: a
    check of the model of --weights that needs no annotated boxes."""
    plots: bool = False
    """Also write plots: accuracy over threshold, overlaps, classes, and a gallery of failures."""
    all: bool = False
    """Print every metric, not only the five that matter most for the data; evaluation.md has them all."""
    per_class: bool = False
    """Also print the numbers of each class."""
    table: Literal["markdown", "latex", "csv"] = "markdown"
    """Format of the printed results (latex and csv print every metric); evaluation.md is always Markdown."""
    report_classes: tuple[str, ...] = ()
    """Average over only these classes (all when empty)."""
    boxes: BoxConfig = field(default_factory=BoxConfig)
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
    processes: int | None = None
    """Processes that measure images in parallel. None takes one per core for 1,000 images or more when started from
    the command line, else 1; in a script of your own, set it only under if __name__ == "__main__"."""
    runtime: RuntimeConfig = field(default_factory=lambda: RuntimeConfig(precision="fp32"))

    def __post_init__(self) -> None:
        check_types(self)
        check(self.out is not None or not self.plots, "--plots are files: expected --out too")
        check(
            self.out is not None or self.select_threshold is None,
            "--select-threshold keeps what it selects: expected --out too",
        )
        check(self.processes is None or self.processes >= 1, f"processes are {self.processes}, expected 1 or more")
        check(
            self.num_thresholds is None or 1 <= self.num_thresholds <= 10_000,
            f"number of thresholds is {self.num_thresholds}, expected 1 to 10000: try 100",
        )
        check(
            (self.predictions is None) != (self.weights is None),
            "expected either --predictions FILE or --weights RUN, and not both",
        )
        for name, unset in OF_A_MODEL.items():
            flags = "--cam, --layers or --model" if name == "cam" else f"--{name.replace('_', '-')}"
            check(
                self.weights is not None or getattr(self, name) in unset,
                f"{flags} needs --weights: --predictions are measured as they are, without a model",
            )
        check(
            self.predictions is not None or self.predictions_format == "auto",
            "a predictions format without --predictions: expected both, or --weights alone",
        )
        check(
            self.select_threshold is None or (self.boxes.threshold is None and self.boxes.box_rule is None),
            "both a threshold or box rule and --select-threshold: expected one of them",
        )
        check(
            self.select_threshold is None or self.select_threshold != self.split,
            f"--select-threshold {self.select_threshold} is the split that is reported: expected another one (the "
            "optimistic number of this one is always shown)",
        )
        for name in ("faithfulness", "stability"):
            images = getattr(self, name)
            check(
                images is None or images >= 1,
                f"{name} is {images}, expected the number of images to measure it on, 1 or more",
            )
        check(
            self.faithfulness_steps >= 1,
            f"faithfulness steps is {self.faithfulness_steps}, expected 1 or more: try 28",
        )
        check(
            self.faithfulness is not None or self.faithfulness_steps == 28,
            "--faithfulness-steps without --faithfulness: expected both",
        )
        check_batch_size(self.batch_size)
        parse_tta(self.tta)
