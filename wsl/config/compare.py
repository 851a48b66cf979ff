"""Settings of `wsl-compare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsl.config.checks import check, check_batch_size, check_types
from wsl.config.shared import BoxConfig, DataConfig, Protocol, Refine, RuntimeConfig


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Measure several runs on the same images, side by side."""

    runs: tuple[str, ...]
    """Two or more: run folders of wsl-train, models by name, or predictions as for wsl-evaluate --predictions."""
    data: DataConfig
    split: str = "val"
    """Split of the annotations to evaluate on."""
    out: Path | None = None
    """Results folder: comparison.json, .md, .tex, .csv and the figure; None only prints the table."""
    names: tuple[str, ...] = ()
    """Names of the rows, in the order of the runs; by default the shortest endings of the paths that differ."""
    baseline: str = ""
    """The run to compare the others with, by its path or its name in the table; by default the first."""
    metrics: tuple[str, ...] = ()
    """Compare by the main number of each of these metrics, named as for wsl-evaluate --metrics; by default the five
    that matter most for the data."""
    report_classes: tuple[str, ...] = ()
    """Average over only these classes (all when empty)."""
    protocol: Protocol = "default"
    """How maps become boxes in MaxBoxAcc and PxAP: default, or wsolevaluation (that of the WSOL benchmark)."""
    select_threshold: str | None = None
    """Select the map threshold and box rule of each run on this other split. Nothing is stored with the runs."""
    agreement: bool = False
    """Also measure how far each pair of runs agrees on the labelled classes of an image: the overlap of their best
    boxes and the correlation of their maps. It needs no annotated boxes."""
    table: Literal["markdown", "latex", "csv"] = "markdown"
    """Format of the printed result."""
    figure: Literal["pdf", "svg"] | None = "pdf"
    """Format of the figure in --out; None writes none."""
    boxes: BoxConfig = field(default_factory=BoxConfig)
    refine: Refine = "auto"
    """How the maps of models are refined, as for wsl-evaluate; stored predictions are measured unchanged."""
    image_size: int | None = None
    """Side of the network input, if it should differ from that of each model's training."""
    batch_size: int | None = None
    """Images per forward pass; None takes 128 on CUDA and 8 elsewhere."""
    runtime: RuntimeConfig = field(default_factory=lambda: RuntimeConfig(precision="fp32"))

    def __post_init__(self) -> None:
        check_types(self)
        given = f"{len(self.runs)} {'run' if len(self.runs) == 1 else 'runs'}"
        check(len(self.runs) > 1, f"{given} to compare: expected two or more")
        check(
            not self.names or len(self.names) == len(self.runs),
            f"{len(self.names)} --names for {given}: expected one each, in their order",
        )
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        check(twice is None, f"two runs are named {twice!r}: expected names that tell them apart")
        check(all(name.strip() for name in self.names), "an empty name among --names: expected a name for each run")
        check(
            self.out is not None or self.figure in ("pdf", None),
            f"--figure {self.figure} without --out: expected a folder to write the figure to",
        )
        check_batch_size(self.batch_size)
