"""Settings of `wsl-demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsl.config.checks import check, check_types


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """A page in the browser to try models, maps and thresholds on your own images."""

    models: tuple[str, ...] = ()
    """Run folders, folders with runs below them, and classifiers by name (resnet50, timm/NAME); by default
    mobilenet_v2, resnet50 and densenet121, downloaded when they are chosen."""
    local_weights: Path | None = None
    """With the name of one classifier: load its weights from this file instead of downloading them."""
    port: int = 7860
    """Port on 127.0.0.1, the only address that it listens on."""

    def __post_init__(self) -> None:
        check_types(self)
        check(1 <= self.port <= 65535, f"port is {self.port}, expected 1 to 65535")
