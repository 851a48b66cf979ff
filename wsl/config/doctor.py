"""Settings of `wsl-doctor`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wsl.config.checks import check_types
from wsl.config.shared import BoxConfig, CamConfig, Precision, Refine


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Look at one image step by step, and say what looks wrong first."""

    image: Path
    """The image whose result looks wrong."""
    weights: str
    """A run folder, its model.safetensors, an ONNX file, or a classifier by name, as wsl-localize takes it."""
    out: Path = Path("doctor")
    """Folder of the pictures: input.png is what the network saw, thresholds.png the heatmap and the boxes."""
    label: str = ""
    """The class to look at; the one of highest probability when empty."""
    local_weights: Path | None = None
    """With a model name: its weights from this file instead of the download."""
    cam: CamConfig = field(default_factory=CamConfig)
    boxes: BoxConfig = field(default_factory=BoxConfig)
    refine: Refine = "auto"
    """How maps are refined, as for wsl-localize: none shows them as the network gives them."""
    image_size: int | None = None
    """Network input side, when it should differ from the one the model was trained with."""
    device: str = "auto"
    """auto (CUDA, else Apple's MPS, else CPU), cpu, cuda, cuda:1, mps."""
    precision: Precision = "auto"
    """Arithmetic of the network: auto takes bf16 where the device computes it faster, else fp32."""

    def __post_init__(self) -> None:
        check_types(self)
