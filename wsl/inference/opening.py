"""The model named in the settings of `wsl-localize`, and the identity of its results."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from wsl import config as settings
from wsl.checkpoints import check_classes
from wsl.config import BoxConfig, LocalizeConfig, Refine, RuntimeConfig
from wsl.inference.batches import default_batch_size
from wsl.inference.predictor import Predictor
from wsl.inference.tiled import TiledPredictor
from wsl.models import Model, choose_device, choose_dtype, made_by, open_model, resolve_refine
from wsl.models.fingerprint import fingerprint
from wsl.results import BoxOrigin
from wsl.thresholds.stored import resolve_boxes
from wsl.version import __version__

# The settings that determine results, besides the model, the images and the machine.
_DECISIVE = ("cam", "pick", "boxes", "refine", "tta", "labels", "maps")


class Machine(NamedTuple):
    """The properties of a machine that affect the last bits of a result: the kind of device and the precision.

    >>> Machine.of(RuntimeConfig(device="cpu", precision="fp32"))
    Machine(device='cpu', precision='float32')
    """

    device: str
    precision: str

    @classmethod
    def of(cls, runtime: RuntimeConfig) -> Machine:
        """This machine with these settings.

        Raises:
            UserError: the device is not available.
        """
        device = choose_device(runtime.device)
        return cls(device.type, str(choose_dtype(runtime.precision, device)).removeprefix("torch."))


@dataclass(frozen=True)
class OpenedModel:
    """A model with its resolved settings.

    ``machine`` is the one on which it will run, None for this one.

    >>> from wsl.models import Localizer
    >>> config = LocalizeConfig(sources=("a.jpg",), weights="runs/mine", out=Path("found"))
    >>> origin = BoxOrigin(threshold=0.2, box_rule="largest", origin="the default")
    >>> opened = OpenedModel(config, Localizer("tinynet", 2, weights="none"), "none", BoxConfig().resolved(), origin)
    >>> opened.identity["image_size"], opened.method
    (224, 'boxes: threshold 0.2 (largest component), the default; maps not refined')
    """

    config: LocalizeConfig
    model: Model
    refine: Refine
    boxes: BoxConfig
    origin: BoxOrigin
    machine: Machine | None = None

    @classmethod
    def open(cls, config: LocalizeConfig) -> OpenedModel:
        """Load the model on the CPU.

        Raises:
            UserError: the model, method or a class is unknown, or the model lacks what the refinement reads.
        """
        cam = config.cam
        model = open_model(config.weights, config.local_weights, method=cam.cam, layers=cam.layers, model=cam.model)
        check_classes(config.pick.classes, model.classes)
        refine = resolve_refine(config.refine, model)
        boxes, origin = resolve_boxes(config.boxes, config.weights, refine, cam.maps)
        return cls(config, model, refine, boxes, origin)

    @classmethod
    def open_for(cls, config: Any, source: Path, **given: Any) -> OpenedModel:
        """Load the model of another command, with the settings that it shares with ``wsl-localize`` by name.

        `given` are settings of ``wsl-localize`` that the command has in another form, or not at all.

        Raises:
            UserError: as for `open`.

        >>> from wsl.config import LabellingConfig
        >>> OpenedModel.open_for(LabellingConfig(weights="lost", image_root=Path("photos")), Path("photos"))
        Traceback (most recent call last):
        wsl.errors.UserError: no model 'lost': expected a run folder of wsl-train, ...
        """
        ours = {one.name for one in dataclasses.fields(LocalizeConfig)}
        shared = {one.name: getattr(config, one.name) for one in dataclasses.fields(config) if one.name in ours}
        return cls.open(LocalizeConfig(**{"sources": (str(source),), "out": Path(), **shared, **given}))

    def predictor(self, device: str | None = None, **others: Any) -> Predictor:
        """A predictor on the device of the settings or another one.

        `others` are keyword arguments of `Predictor` that override the settings.

        Raises:
            UserError: a class or device is unknown, or a setting is out of range.
        """
        config = self.config
        runtime = config.runtime if device is None else dataclasses.replace(config.runtime, device=device)
        return Predictor.from_configs(
            self.model,
            pick=config.pick,
            boxes=self.boxes,
            runtime=runtime,
            **{
                "refine": self.refine,
                "tta": config.tta,
                "batch_size": config.batch_size,
                "image_size": config.image_size,
                **others,
            },
        )

    def stream_predictor(self, **others: Any) -> Predictor | TiledPredictor:
        """The predictor of the settings for streams, which cuts images into tiles if the settings say so.

        Raises:
            UserError: as for `predictor`.
        """
        predictor, config = self.predictor(**others), self.config
        if config.raster.tile is None:
            return predictor
        return TiledPredictor(predictor, config.raster, maps=config.maps or config.heatmaps)

    def check(self) -> None:
        """Make the checks of `predictor` apart from the device, because the run's machine may be another one.

        Raises:
            UserError: a class is unknown, or a setting is out of range.
        """
        anywhere = dataclasses.replace(self.config, runtime=RuntimeConfig(device="cpu", precision="fp32"))
        dataclasses.replace(self, config=anywhere).predictor()

    @functools.cached_property
    def identity(self) -> Mapping[str, Any]:
        """Everything that determines the results for an image: runs with the same identity give the same bytes.

        The batch size and the device are part of it, because sums in another order round differently. Only the kind of
        device counts, not its number.
        """
        config, values = self.config, self._settings()
        machine = self.machine or Machine.of(config.runtime)
        return {
            **{name: values[name] for name in _DECISIVE},
            **({} if config.raster.tile is None else {"raster": values["raster"]}),
            **({"decoding": "cpu"} if self._decodes_elsewhere(machine) else {}),
            "image_size": config.image_size or self.model.preprocessing.image_size,
            "batch_size": config.batch_size or default_batch_size(torch.device(machine.device)),
            **machine._asdict(),
            "weights": fingerprint(self.model),
            "version": __version__,
        }

    def _decodes_elsewhere(self, machine: Machine) -> bool:
        """Whether CPUs decode the JPEGs that the machine's GPU would decode, to values that differ by some levels."""
        by_tasks = self.config.sharding.decoders is not None
        return by_tasks and machine.device == "cuda" and self.model.preprocessing.resize == "warp"

    def record(self, **more: Any) -> dict[str, Any]:
        """All settings, resolved, and further facts of a run."""
        return {**self._settings(), "box_origin": self.origin.origin, "identity": dict(self.identity), **more}

    def _settings(self) -> dict[str, Any]:
        resolved = dataclasses.replace(self.config, boxes=self.boxes, refine=self.refine)
        values: dict[str, Any] = json.loads(settings.to_json(resolved))
        return values

    @property
    def method(self) -> str:
        """A description of how boxes and maps are made."""
        described = {"none": "not refined", "decoder": "of the run's decoder"}
        maps = described.get(self.refine, f"refined by {self.refine}")
        made = made_by(self.model)
        maps = f"{made}, {maps}" if made else maps
        if self.config.refine == "auto" and self.refine != "none":
            maps += " (--refine none for the network's own)"
        fused = ", fused with those of the run's detector" if self.detects else ""
        return f"boxes: {self.origin}{fused}; maps {maps}"

    @property
    def detects(self) -> bool:
        """Whether boxes are those of a detector, too."""
        return self.refine == "decoder" and self.boxes.detector and self.model.detects
