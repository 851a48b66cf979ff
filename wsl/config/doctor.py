"""Settings of `wsl-doctor`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wsl.config.checks import check_types
from wsl.config.shared import BoxConfig, CamConfig, Precision, Refine


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Follow one image step by step, and report the first step whose result looks wrong."""

    image: Path
    """The image whose result looks wrong."""
    weights: str
    """A run folder, its model.safetensors, an ONNX file, or a classifier by name, as wsl-localize takes it."""
    out: Path = Path("doctor")
    """Folder of the pictures: input.png is what the network saw, thresholds.png the heatmap and the boxes."""
    label: str = ""
    """The class whose map is shown; when empty, the most probable one."""
    local_weights: Path | None = None
    """With a model name: load its weights from this file instead of downloading them."""
    cam: CamConfig = field(default_factory=CamConfig)
    boxes: BoxConfig = field(default_factory=BoxConfig)
    refine: Refine = "auto"
    """How maps are refined, as for wsl-localize; none leaves them unchanged."""
    image_size: int | None = None
    """Side of the network input, if it should differ from that of training."""
    device: str = "auto"
    """auto (CUDA, else Apple's MPS, else CPU), cpu, cuda, cuda:1, mps."""
    precision: Precision = "auto"
    """Arithmetic of the network: auto takes bf16 if the device computes it faster, else fp32."""

    def __post_init__(self) -> None:
        check_types(self)
