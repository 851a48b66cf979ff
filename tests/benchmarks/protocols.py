"""How far the two protocols are apart: box accuracies of one run's maps by the clean one and by the benchmark's.

python tests/benchmarks/protocols.py runs/voc/gap VOCdevkit/VOC2012

Both see the same class maps of the split's images with exactly one annotated object, and the same 1,000 thresholds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wsl.config import DataConfig
from wsl.data import read_samples
from wsl.inference import Predictor
from wsl.metrics import MaxBoxAcc, MaxBoxAccV2
from wsl.models import load


def main() -> None:
    """Print a row a number."""
    model, samples = load(sys.argv[1]), read_samples(DataConfig(data=Path(sys.argv[2])), "val")
    by_path = {sample.path: sample for sample in samples.samples if sample.boxes is not None and len(sample.boxes) == 1}
    metrics = {
        protocol: [
            kind(samples.classes, protocol=protocol, num_thresholds=1000, replicates=0)
            for kind in (MaxBoxAcc, MaxBoxAccV2)
        ]
        for protocol in ("default", "wsolevaluation")
    }
    for found in Predictor(model, classes=samples.classes, refine="none").stream(by_path):
        for metric in (one for pair in metrics.values() for one in pair):
            metric.update(found, by_path[found.path])
    ours, theirs = ([level for metric in pair for level in metric.compute()] for pair in metrics.values())
    print(f"{ours[0].count} images")
    print(f"{'':16} default  threshold  wsolevaluation  threshold")
    for one, other in zip(ours, theirs, strict=True):
        thresholds = [
            "" if one.name == "MaxBoxAccV2" else note.split("best threshold ")[1].split()[0]
            for note in (one.note, other.note)
        ]
        print(f"{one.name:16} {one.value:7.3f} {thresholds[0]:>10} {other.value:15.3f} {thresholds[1]:>10}")


if __name__ == "__main__":
    main()
