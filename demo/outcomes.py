"""The heads of the demo, their results, and the table of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsl.config import BoxConfig
from wsl.results import EvaluationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A pooling with the box threshold for its maps, as a fraction of their range, and its training settings.

    `lr` is the peak learning rate. A `frozen` head reads the features of the network that another head trained.
    """

    pooling: str
    threshold: float
    epochs: int
    lr: float = 5e-3
    batch_size: int = 16
    frozen: bool = False

    @property
    def name(self) -> str:
        """The pooling without its arguments."""
        return self.pooling.partition("(")[0]

    @property
    def boxes(self) -> BoxConfig:
        """How boxes are drawn from its maps."""
        return BoxConfig(threshold=self.threshold, box_rule="peak")


def _on_features(pooling: str, threshold: float) -> Head:
    return Head(pooling=pooling, threshold=threshold, epochs=20, lr=1e-2, batch_size=64, frozen=True)


# Each head needs its own threshold: the sharper the pooling, the narrower the peaks of its maps. The thresholds were
# selected on canvases of seed 1, not of the default seed 0.
#
# One network, and heads that read its features. Of the poolings, WELDON trains the network with the fullest maps.
ON_ONE_NETWORK = (
    _on_features("gap", 0.6),
    _on_features("gmp", 0.8),
    _on_features("lse(beta=0.5)", 0.7),
    _on_features("kmax(k=0.08)", 0.75),
    Head(pooling="weldon(k_max=0.08, k_min=0.08)", threshold=0.65, epochs=5, lr=2.5e-3, batch_size=8),
    _on_features("wildcat(k_max=0.08, k_min=0.08, alpha=0.7)", 0.65),
)
# A network for each head.
FROM_SCRATCH = (
    Head(pooling="gap", threshold=0.7, epochs=14),  # few locations contain the digit, so it learns slowly
    Head(pooling="gmp", threshold=0.55, epochs=10, lr=3e-3),  # learns from one location an image, easily unstable
    Head(pooling="lse(beta=0.5)", threshold=0.5, epochs=7),
    Head(pooling="kmax(k=0.08)", threshold=0.7, epochs=7),
    Head(pooling="weldon(k_max=0.08, k_min=0.08)", threshold=0.65, epochs=7),
    Head(pooling="wildcat(k_max=0.08, k_min=0.08, alpha=0.7)", threshold=0.65, epochs=7),
)
COLUMNS = ("mAP", "pointing", "CorLoc", "AP50", "MaxBoxAcc@0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one head: its evaluation, and the seconds of its training."""

    head: Head
    report: EvaluationReport
    seconds: float

    @property
    def figures(self) -> tuple[str, ...]:
        """The metrics of `COLUMNS` to three decimals, with a dash for a missing one."""
        values = {metric.name: metric.value for metric in self.report.metrics}
        return tuple(_number(values.get(name)) for name in COLUMNS)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The baselines that do not use the image: chance for labels, the centre of the image for positions."""
        values = {metric.name: metric.baseline for metric in self.report.metrics}
        return tuple(_number(values.get(name)) for name in COLUMNS)


def results_table(outcomes: Sequence[Outcome]) -> str:
    """Format the outcomes as a Markdown table, with the baseline as its last row."""
    header = ("pooling", *COLUMNS, "box threshold", "epochs", "lr", "training")
    lines = [header, (":--", *("--:" for _ in header[1:]))]
    for outcome in outcomes:
        head = outcome.head
        training = (f"{head.threshold:g}", str(head.epochs), f"{head.lr:g}", f"{outcome.seconds:.0f} s")
        lines.append((f"`{head.pooling}`", *outcome.figures, *training))
    lines.append(("*centre / chance*", *outcomes[0].baselines, "", "", "", ""))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def console_line(first: str, cells: Sequence[str]) -> str:
    """Format a line of the table printed while the demo runs; trailing cells may be omitted."""
    widths = [max(9, len(name) + 2) for name in (*COLUMNS, "epochs", "seconds")]
    return f"{first:<44}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
