"""Settings of `wsl-train`: the model, the optimization, the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsl.config.checks import check, check_batch_size, check_known, check_types, spec_name
from wsl.config.parts import DecoderConfig, DetectorConfig, ProbeConfig
from wsl.config.shared import DataConfig, Preprocessing, RuntimeConfig

Padding = Literal["own", "tensorflow"]
HEADS = ("ts-cam", "scm", "acol")
# The trackers of accelerate, repeated here so that parsing a command line need not import it.
TRACKERS = ("wandb", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab", "trackio", "tensorboard")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network: a backbone, and a head that pools class maps or encodes features."""

    backbone: str = "resnet50"
    """A torchvision model name, timm/NAME with the timm extra, or tinynet (small, trained from scratch)."""
    weights: str = "DEFAULT"
    """Weights to start from: DEFAULT or another name known to the library, a local file, another run, or none."""
    pooling: str = "gap"
    """Spatial pooling of the class maps: gap, gmp, kmax(k=10), lse(beta=4), weldon(k_max=0.2), wildcat(alpha=0.7),
    mixed(lam=0.5), add, cat, gem(p=3, of=probabilities), softpool, stochastic(probability=softmax), median,
    attention(hidden=128), csra(heads=4, lam=0.5), pcam, gndp, exp, linear, adaptive(size=2).
    Or an encoder, whose maps are gradient maps: spp, netvlad(clusters=16), bilinear, compactbilinear(dim=4096)."""
    head: str | None = None
    """For vision transformers with a class token, whose attention outlines objects: ts-cam (a 3x3 convolution of the
    patches; maps times attention) or scm (the same, calibrated in training). For any backbone: acol(threshold=0.7),
    two classifiers, the second of which is trained with the regions of the first erased. None: a 1x1 convolution or
    the encoder."""
    neck: str | None = None
    """A module between backbone and head: sppblock(kernels=(5, 9, 13)), YOLO's SPP, which adds context to each
    location."""
    maps_per_class: int = 1
    """Number of maps of each class that are averaged into one before pooling (WILDCAT's M)."""
    output_stride: int | None = None
    """Image pixels per map cell (8 or 16): dilates the backbone for finer maps, at a higher cost."""
    padding: Padding = "own"
    """How strided convolutions pad: tensorflow is for weights trained in TensorFlow and loaded into a torchvision
    network, which otherwise pads on all sides."""
    downsampling: str | None = None
    """Replace the backbone's max and average pools by softpool2d, adapool2d, stochasticpool2d,
    mixedpool2d(lam=0.3), powerpool2d(p=3), medianpool2d, maxpool2d, avgpool2d."""

    @property
    def head_name(self) -> str:
        """The head without its arguments; empty for the default one.

        >>> ModelConfig(head="acol(threshold=0.8)").head_name
        'acol'
        """
        return spec_name(self.head or "")

    def __post_init__(self) -> None:
        check_types(self)
        if self.head is not None:
            check_known("head", self.head_name, HEADS)
        check(self.maps_per_class >= 1, f"maps per class is {self.maps_per_class}, expected 1 or more")
        check(
            self.output_stride in (None, 4, 8, 16, 32),
            f"output stride is {self.output_stride}, expected 4, 8, 16 or 32",
        )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Loss, optimizer and schedule."""

    epochs: int = 20
    """Passes over the training images; lbfgs does not use it."""
    batch_size: int = 16
    """Images per step, over all processes (or cached features, when the backbone is frozen)."""
    accumulate: int = 1
    """Split each batch into this many parts to save memory; gradients are those of the whole batch, but batch norm
    sees each part alone."""
    loss: str = "bce"
    """bce, soft-margin and asymmetric(gamma_neg=4) take several labels per image (unknown classes are ignored);
    cross-entropy takes one. Terms that can be added to one of them: recam(weight=1), equivariance(scale=0.5),
    puzzle(alpha=4), as in "bce + puzzle(alpha=4)"."""
    augment: tuple[str, ...] = ()
    """Augmentation besides crop and flip: hide-and-seek, cutmix(alpha=1), or a torchvision transform by name
    (randaugment, colorjitter(brightness=0.4), "randomresizedcrop(scale=(0.25,1))")."""
    erase: str | None = None
    """Erase backbone features in training, after each stage: "adl(drop=0.75, gamma=0.9)"."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: the positive and the negative images of a class have equal total weight, and so do all classes."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """balanced: images of rare classes are shown more often, drawn with replacement."""
    optimizer: Literal["sgd", "adamw", "lbfgs"] = "adamw"
    """sgd has Nesterov momentum 0.9. lbfgs fits one logistic regression per class to the mean features of a frozen
    backbone, for pooling gap and loss bce; it replaces epochs, learning rate and weight decay."""
    lbfgs_penalty: float = 0.02
    """L2 penalty of lbfgs, on the weights of standardised features."""
    lr: float = 1e-3
    """Peak learning rate of the head."""
    backbone_lr_factor: float = 0.1
    """The backbone's learning rate as a fraction of the head's."""
    freeze_backbone: bool = False
    """Do not train the backbone: its features are computed once and cached, and a head trains in seconds."""
    weight_decay: float = 1e-4
    """Decoupled (adamw) or L2 (sgd) weight decay; biases and norms are left out."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """After the warm-up: cosine to zero, step (times 0.1 after 2/3 and again after 8/9 of the steps), or constant."""
    warmup_epochs: float = 0.5
    """Epochs of linear warm-up, at most --epochs."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999; the average is validated and saved."""
    batch_norm: Literal["own", "sync", "frozen"] = "own"
    """Batch norm statistics in training: each process's own (those of the first process are saved), of all processes
    together (sync, on GPUs), or those in the weights (frozen)."""
    clip_norm: float | None = None
    """Clip the gradient to this norm."""
    min_crop: float = 1.0
    """Smallest fraction of the image's area that a random crop keeps; 1 turns cropping off."""
    flip: bool = True
    """Mirror images with probability 1/2; --no-flip turns it off."""

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, so that each class has a probability of its own.

        >>> OptimConfig(loss="cross-entropy + equivariance").multi_label
        False
        """
        return "cross-entropy" not in map(spec_name, self.loss.split("+"))

    def __post_init__(self) -> None:
        check_types(self)
        check(self.epochs >= 1, f"epochs is {self.epochs}, expected 1 or more")
        check_batch_size(self.batch_size)
        check(self.lr > 0, f"lr is {self.lr}, expected a positive number such as 1e-3")
        check(
            self.backbone_lr_factor >= 0,
            f"backbone lr factor is {self.backbone_lr_factor}, expected 0 or more",
        )
        check(self.weight_decay >= 0, f"weight decay is {self.weight_decay}, expected 0 or more")
        check(self.warmup_epochs >= 0, f"warmup epochs is {self.warmup_epochs}, expected 0 or more")
        check(
            self.warmup_epochs <= self.epochs,
            f"warmup epochs is {self.warmup_epochs:g} and epochs {self.epochs}: the learning rate would never reach "
            "its peak; expected a --warmup-epochs of at most --epochs",
        )
        check(0 < self.min_crop <= 1, f"min crop is {self.min_crop}, expected a fraction of the area in (0, 1]")
        check(self.accumulate >= 1, f"accumulate is {self.accumulate}, expected a number of parts of 1 or more")
        check(self.ema is None or 0 < self.ema < 1, f"ema is {self.ema}, expected a decay in (0, 1) such as 0.999")
        check(
            not (self.augment and self.freeze_backbone),
            "--augment changes images, but a frozen backbone uses cached features: leave one of them out",
        )
        check(
            self.erase is None or not (self.freeze_backbone or self.backbone_lr_factor == 0),
            "--erase needs a backbone that is trained: leave out --freeze-backbone, and give a --backbone-lr-factor "
            "above 0",
        )
        check(self.clip_norm is None or self.clip_norm > 0, f"clip norm is {self.clip_norm}, expected above 0")
        check(self.lbfgs_penalty > 0, f"lbfgs penalty is {self.lbfgs_penalty}, expected a number above 0")
        if self.optimizer == "lbfgs":
            check(self.freeze_backbone, "--optimizer lbfgs fits fixed features: expected --freeze-backbone with it")
            check(self.loss == "bce", f"--optimizer lbfgs with --loss {self.loss}: expected bce")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a classifier with spatial pooling from image-level labels."""

    data: DataConfig
    out: Path
    """Run folder: config.json, metrics.jsonl, model.safetensors, classes.json, confusions.json, README.md, last/."""
    train_split: str = "train"
    """Split to train on: a list in VOC's ImageSets/Main, COCO's instances_SPLIT.json, a subfolder, or a value of a
    CSV's column split."""
    val_split: str | None = "val"
    """Split to validate on after each epoch, held out of the training images if there is none (--val-fraction); None
    turns validation off and keeps the last epoch."""
    model: ModelConfig = field(default_factory=ModelConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    optim: OptimConfig = field(default_factory=OptimConfig)
    probing: ProbeConfig = field(default_factory=ProbeConfig)
    decoding: DecoderConfig = field(default_factory=DecoderConfig)
    detecting: DetectorConfig = field(default_factory=DetectorConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    cache: Literal["none", "ram", "disk"] = "none"
    """Keep decoded and resized images for later epochs, in memory or on disk beside the run; crops are then cut from
    the resized image, which changes them by rounding."""
    cache_size: float = 8.0
    """Gigabytes that --cache may take; if there are more images, only the first are kept."""
    compile: bool = False
    """Compile the network (torch.compile), which takes a minute or more and pays off in long trainings."""
    checkpointing: bool = False
    """Keep only some of the backbone's activations and recompute the rest in the backward pass: room for larger images
    or batches in about a third more time, with the same resulting weights."""
    seed: int = 0
    """The same seed gives the same numbers on the same kind of device, version of torch and number of threads."""
    resume: bool = False
    """Continue the run in --out from its last saved state."""
    overwrite: bool = False
    """Delete the run that --out holds and start again."""
    best_by: Literal["mAP", "pointing"] = "mAP"
    """Validation metric that chooses the checkpoint saved as model.safetensors."""
    patience: int | None = None
    """Stop after this many epochs in a row without a new best; None trains all epochs."""
    save_every: int | None = None
    """Also save the state for --resume every so many steps; None saves it only at the end of each epoch and when the
    run is stopped (Ctrl-C, SIGTERM)."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs the tensorboard extra)."""
    track: tuple[str, ...] = ()
    """Also log to experiment trackers, whose packages must be installed: wandb, mlflow, comet_ml, aim, clearml,
    dvclive, swanlab, trackio, tensorboard."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.seed >= 0, f"seed is {self.seed}, expected 0 or more")
        check(self.patience is None or self.patience >= 1, f"patience is {self.patience}, expected 1 or more epochs")
        check(
            self.patience is None or self.val_split is not None,
            "--patience waits for a better figure on the validation split: expected a --val-split with it",
        )
        for name in self.track:
            check_known("tracker", name, TRACKERS)
        check(self.cache_size > 0, f"cache size is {self.cache_size}, expected gigabytes above 0")
        check(
            self.cache == "none" or not self.optim.freeze_backbone,
            "--cache keeps images, and a frozen backbone's features are kept anyway: leave --cache out",
        )
        check(
            self.cache == "none" or self.preprocessing.resize == "warp" or self.optim.min_crop == 1,
            "--cache with --resize letterbox and --min-crop: crops of letterboxed images would have bars; expected "
            "--resize warp, or one of the others left out",
        )
        if self.checkpointing:
            check(
                not self.optim.freeze_backbone and self.optim.backbone_lr_factor > 0,
                "--checkpointing saves memory when a backbone is trained, and this one is not: leave it out",
            )
            check(not self.compile, "--checkpointing with --compile, which plans memory itself: expected one of them")
            check(
                self.model.head_name != "scm",
                "--checkpointing with head scm, whose attention is read in training: expected head ts-cam",
            )
        check(self.save_every is None or self.save_every >= 1, f"save every is {self.save_every}, expected 1 or more")
        check(
            not (self.optim.freeze_backbone and self.model.head_name == "scm"),
            "head scm reads attention in training, but a frozen backbone uses cached features: expected head ts-cam, "
            "or --backbone-lr-factor 0 in the place of --freeze-backbone",
        )
        model, optim = self.model, self.optim
        if optim.optimizer == "lbfgs":
            plain = model.pooling == "gap" and model.neck is None and model.maps_per_class == 1
            check(plain, "--optimizer lbfgs fits one linear layer: expected --pooling gap, no neck and 1 map per class")
        if self.probing.probe:
            check(optim.freeze_backbone, "--probe is fitted to fixed features: expected --freeze-backbone with it")
            check(
                optim.multi_label,
                "--probe gives each class a probability of its own: expected --loss bce or soft-margin with it",
            )
        check(
            self.decoding.decode or not self.detecting.detect,
            "--detect learns from the boxes of a map decoder: expected --decode with it, or --detector and the folder "
            "of a run that has one",
        )
