"""Settings that several commands share: data, preprocessing, boxes, picks, the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from wsl.config.checks import check, check_known, check_types, spec_name

DataFormat = Literal[
    "auto",
    "voc",
    "wsol",
    "openimages",
    "imagenet",
    "cub",
    "chestxray14",
    "imagefolder",
    "parquet",
    "webdataset",
    "yolo",
    "cvat",
    "fiftyone",
    "label-studio",
    "labelme",
    "boxes-csv",
    "coco",
    "csv",
    "folder",
    "hfds",
]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Resize = Literal["warp", "letterbox"]
BoxRule = Literal["largest", "all", "peak", "nested"]
BoxScore = Literal["height", "contrast"]
Refine = Literal["auto", "none", "affinity", "decoder", "pamr", "crf", "guided", "grabcut"]
Protocol = Literal["default", "wsolevaluation"]

# The names in `wsl.cam.METHODS`, repeated here so that parsing a command line need not import it.
CAM_METHODS = (
    "auto",
    "cam",
    "gradcam",
    "hirescam",
    "gradcampp",
    "xgradcam",
    "layercam",
    "eigencam",
    "eigengradcam",
    "finercam",
    "refinecam",
    "fullgrad",
    "scorecam",
    "ablationcam",
    "legrad",
    "rollout",
    "gradient-rollout",
    "random",
    "centre",
)


class BoxDefaults(NamedTuple):
    """Default settings for drawing boxes."""

    threshold: float
    box_rule: BoxRule = "largest"
    min_area: float = 0.001
    box_score: BoxScore = "height"


BOX_DEFAULTS: Mapping[str, BoxDefaults] = MappingProxyType(
    {
        "none": BoxDefaults(0.2),
        "affinity": BoxDefaults(0.5),
        "decoder": BoxDefaults(0.5, "nested", 0.01, "contrast"),
        "pamr": BoxDefaults(0.35),
        "crf": BoxDefaults(0.5),
        "guided": BoxDefaults(0.3),
        "grabcut": BoxDefaults(0.5),
    }
)
"""The defaults for each refinement of the maps."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image file becomes the network's input."""

    image_size: int = 224
    """Side of the square network input, in pixels; a larger input finds smaller objects, and its time grows with the
    square of the side."""
    resize: Resize = "warp"
    """warp stretches the image to the square; letterbox keeps its aspect ratio and pads."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each RGB channel, in [0, 1], to subtract for this backbone."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each RGB channel, to divide by for this backbone."""

    def __post_init__(self) -> None:
        check_types(self)
        check(16 <= self.image_size <= 8192, f"image size is {self.image_size}, expected 16 to 8192 pixels")
        check(min(self.std) > 0, f"std is {self.std}, expected positive numbers")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the images and their labels are."""

    data: Path
    """A VOC folder (VOCdevkit/VOC2012), a COCO or LVIS folder or JSON, an image folder (class/image.jpg), a CSV,
    WebDataset tars, Hugging Face's imagefolder or Parquet (hfds/NAME: from its hub), metadata lists of the WSOL
    benchmark (<split>/image_ids.txt), ImageNet, OpenImages, CUB or ChestX-ray14 as published, or annotations from
    Label Studio, CVAT, FiftyOne, LabelMe or YOLO."""
    format: DataFormat = "auto"
    """The layout of --data; auto recognises it from the files."""
    image_root: Path | None = None
    """The folder of the images, for lists of the WSOL benchmark and files of annotation tools that lie elsewhere."""
    year: str | None = None
    """VOC year, when --data holds several (VOC2007, VOC2012)."""
    download: bool = False
    """First download VOC of that year (2007 or 2012) into --data, with torchvision."""
    uncertain: Literal["ignore", "absent", "present"] = "ignore"
    """What -1 in a table of labels (an uncertain finding in CheXpert) means for that image and class."""
    val_fraction: float | None = None
    """Hold out this fraction of each class's training images as the split val. None holds out 0.2 if wsl-train finds
    no split to validate on; other commands then hold out the same images as the given run."""
    split_seed: int = 0
    """Seed that chooses the images for --val-fraction."""

    def __post_init__(self) -> None:
        check_types(self)
        check(
            self.val_fraction is None or 0 < self.val_fraction < 1,
            f"val fraction is {self.val_fraction}, expected a fraction of the images in (0, 1)",
        )
        check(self.split_seed >= 0, f"split seed is {self.split_seed}, expected 0 or more")


def parse_tta(tta: Sequence[str | int]) -> tuple[tuple[int, ...], bool]:
    """The input sides of test-time augmentation, and whether each view is also mirrored.

    Raises:
        UserError: a value is neither "flip" nor a side in pixels.

    >>> parse_tta(["flip", 288, "384"])
    ((288, 384), True)
    """
    check(not isinstance(tta, (str, int)), f"tta is {tta!r}, expected a list: [{tta!r}]")
    sides = []
    for one in tta:
        if one != "flip":
            check(str(one).isdecimal(), f"tta is {one!r}, expected flip, or input sides in pixels such as 288 384")
            sides.append(int(one))
            Preprocessing(image_size=sides[-1])
    return tuple(sides), "flip" in tta


@dataclass(frozen=True, kw_only=True)
class CamConfig:
    """Where a classifier's maps come from."""

    cam: str = "auto"
    """How maps are made: auto takes the model's own class maps (cam) if it has them, else legrad for a model with a
    class token, else layercam. Or a method by name, with optional arguments: gradcam, hirescam, gradcampp, xgradcam,
    layercam, eigencam, eigengradcam, finercam, refinecam, fullgrad, "scorecam(channels=64)", ablationcam, legrad,
    rollout, gradient-rollout; random and centre are the baselines."""
    layers: tuple[str, ...] = ()
    """The layers that the method reads, by module name (layer3 layer4); by default the last layer that the scores
    depend on."""
    model: str | None = None
    """package.module:function, your own function that builds the network for the weights file --weights."""

    def __post_init__(self) -> None:
        check_types(self)
        check_known("CAM method", spec_name(self.cam), CAM_METHODS)

    @property
    def maps(self) -> str:
        """A name for how the maps are made: auto for the model's own maps, else the method and its layers.

        >>> CamConfig(cam="cam").maps, CamConfig(cam="layercam", layers=("layer3", "layer4")).maps
        ('auto', 'layercam of layer3, layer4')
        """
        name = "auto" if self.cam == "cam" else self.cam
        return f"{name} of {', '.join(self.layers)}" if self.layers else name


@dataclass(frozen=True, kw_only=True)
class BoxConfig:
    """Maps to boxes."""

    threshold: float | None = None
    """Values above this fraction of the map's range (min 0, max 1) are foreground; None takes the threshold selected
    for the run (wsl-evaluate --select-threshold), else the default of the refinement (0.5 for affinity and decoder),
    else 0.2."""
    box_rule: BoxRule | None = None
    """Which connected components get a box: the largest, all of them, the one that holds the map's maximum (peak), or
    all and those that they split into at higher thresholds, for objects that touch (nested); None takes the rule
    selected for the run, else largest, or nested for a decoder's maps."""
    min_area: float | None = None
    """Components smaller than this fraction of the image are dropped (box rules all and nested); None is 0.001, or
    0.01 for a decoder's maps."""
    box_score: BoxScore | None = None
    """A box's score is the class's probability times the map's height in the box, relative to its maximum; contrast
    also multiplies it by how much higher the map is inside the box than around it, which needs maps of probabilities.
    None is height, or contrast for a decoder's maps."""
    nms_iou: float = 0.5
    """Of two boxes of the same class with a larger IoU, the lower-scored one is dropped."""
    detector: bool = True
    """Fuse the boxes of a decoder's maps with those of the run's detector, where it has one (wsl-train --detect);
    --no-detector turns it off."""

    def __post_init__(self) -> None:
        check_types(self)
        check(
            self.threshold is None or 0 <= self.threshold < 1,
            f"threshold is {self.threshold}, expected a fraction of the map's range in [0, 1)",
        )
        check(
            self.min_area is None or 0 <= self.min_area < 1,
            f"min area is {self.min_area}, expected a fraction of the image in [0, 1)",
        )
        check(0 <= self.nms_iou <= 1, f"nms iou is {self.nms_iou}, expected an overlap in [0, 1]")

    def resolved(self, defaults: BoxDefaults = BOX_DEFAULTS["none"]) -> BoxConfig:
        """The same settings, with each None replaced by its default.

        >>> BoxConfig(threshold=0.4).resolved(BoxDefaults(0.3, "peak"))
        BoxConfig(threshold=0.4, box_rule='peak', min_area=0.001, box_score='height', nms_iou=0.5,
        detector=True)
        """
        missing = {name: value for name, value in defaults._asdict().items() if getattr(self, name) is None}
        return replace(self, **missing)


@dataclass(frozen=True, kw_only=True)
class PickConfig:
    """Which classes of an image are localized."""

    top_k: int | None = 1
    """Localize the k highest-scoring classes; None takes every class above --score-threshold."""
    score_threshold: float = 0.0
    """Leave out classes with a lower probability."""
    classes: tuple[str, ...] = ()
    """Localize exactly these classes in every image, whatever their scores; a name that begins with a dash comes first,
    as in --classes=-name."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.top_k is None or self.top_k >= 1, f"top k is {self.top_k}, expected 1 or more, or None")
        check(
            0 <= self.score_threshold <= 1,
            f"score threshold is {self.score_threshold}, expected a probability in [0, 1]",
        )


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Device, precision and threads; results change by rounding at most."""

    device: str = "auto"
    """auto (CUDA, else Apple's MPS, else CPU), cpu, cuda, cuda:1, mps."""
    precision: Precision = "auto"
    """Arithmetic of the network: auto takes bf16 if the device computes it faster, else fp32. Measurements
    (validation, cached features, wsl-evaluate) use fp32 unless another precision is named."""
    workers: int | None = None
    """Threads (in training, processes) that decode images in advance, for slow disks; None takes the fastest number
    for local files, 0 decodes in the main thread."""
    strict: bool = False
    """Stop at the first unreadable image instead of reporting, counting and skipping it."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.workers is None or self.workers >= 0, f"workers is {self.workers}, expected 0 or more, or None")

    @property
    def measuring(self) -> Precision:
        """The precision of measurements."""
        return "fp32" if self.precision == "auto" else self.precision
