"""Settings of `wsl-label-studio`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wsl.config.checks import check, check_types
from wsl.config.shared import BoxConfig, CamConfig, PickConfig, Refine, RuntimeConfig, parse_tta


@dataclass(frozen=True, kw_only=True)
class LabellingConfig:
    """A machine-learning backend that predicts boxes in Label Studio."""

    weights: str
    """A run folder, its model.safetensors, an ONNX file, or a classifier by name, as for wsl-localize."""
    image_root: Path
    """Folder of the project's images: the document root of Label Studio's local files, or its folder of uploads."""
    local_weights: Path | None = None
    """With a model name: load its weights from this file instead of downloading them."""
    cam: CamConfig = field(default_factory=CamConfig)
    pick: PickConfig = field(default_factory=PickConfig)
    boxes: BoxConfig = field(default_factory=BoxConfig)
    refine: Refine = "auto"
    """How maps are refined, as for wsl-localize."""
    tta: tuple[str, ...] = ()
    """Test-time augmentation, views whose scores and maps are averaged, as for wsl-localize."""
    image_size: int | None = None
    """Side of the network input, if it should differ from that of training."""
    host: str = "127.0.0.1"
    """Address to listen on; with another one than the default, other machines can request predictions too."""
    port: int = 9090
    """Port to listen on."""
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        check_types(self)
        check(1 <= self.port <= 65535, f"port is {self.port}, expected 1 to 65535")
        parse_tta(self.tta)
