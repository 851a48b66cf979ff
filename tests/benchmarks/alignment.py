"""What it is worth to draw maps where their cells look: one run, evaluated with and without its grid.

python tests/benchmarks/alignment.py runs/voc/gap VOCdevkit/VOC2012
"""

from __future__ import annotations

import sys
from pathlib import Path

from wsl.config import DataConfig
from wsl.data import read_samples
from wsl.inference import Predictor
from wsl.metrics import Evaluation
from wsl.models import load

SHOWN = ("pointing", "pointing (pairs)", "CorLoc", "AP50", "MaxBoxAcc@0.3", "MaxBoxAcc@0.5", "MaxBoxAcc@0.7")


def figures(run: str, voc: str, *, aligned: bool) -> dict[str, float | None]:
    """The localization metrics on the split val."""
    model, samples = load(run), read_samples(DataConfig(data=Path(voc)), "val")
    by_path = {sample.path: sample for sample in samples.samples}
    evaluation = Evaluation(samples.classes)
    for found in Predictor(model, classes=samples.classes, refine="none", aligned=aligned).stream(by_path):
        evaluation.update(found, by_path[found.path])
    return {metric.name: metric.value for metric in evaluation.compute(source=run).metrics}


def main() -> None:
    """Print both."""
    resized, aligned = (figures(*sys.argv[1:3], aligned=aligned) for aligned in (False, True))
    print(f"{'metric':<18} resized  aligned")
    for name in SHOWN:
        print(f"{name:<18} {resized[name]:7.3f}  {aligned[name]:7.3f}")


if __name__ == "__main__":
    main()
