"""Fifty poolings of the class maps of one trained run, timed: the network runs once.

python tests/benchmarks/sweep_poolings.py runs/voc/gap VOCdevkit/VOC2012
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import wsl
from wsl.config import DataConfig
from wsl.data import read_samples
from wsl.training.sweep import class_maps, sweep_poolings

SETTINGS = [
    *("gap", "gmp", "add", "median", "softpool", "pcam", "exp(of=probabilities)", "linear"),
    *(f"kmax(k={k})" for k in (2, 4, 8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)),
    *(f"lse(beta={beta})" for beta in (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)),
    *(f"weldon(k_max={k}, k_min={k})" for k in (1, 3, 0.1, 0.2, 0.3)),
    *(f"wildcat(k_max={k}, alpha={alpha})" for k in (0.1, 0.2) for alpha in (0.3, 0.7, 1)),
    *(f"mixed(lam={lam})" for lam in (0.1, 0.25, 0.75)),
    *(f"softpool(beta={beta})" for beta in (0.25, 0.5, 2, 4)),
    *(f"csra(heads=({t},), lam=0.5)" for t in (1, 2, 4, 99)),
    *(f"gem(p={p}, of=probabilities)" for p in (1, 2, 4)),
]


def main() -> None:
    """Compute the maps, sweep, print the table and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    samples = read_samples(DataConfig(data=args.data), args.split)
    started = time.perf_counter()
    maps = class_maps(wsl.load(args.run), samples)
    network = time.perf_counter() - started
    started = time.perf_counter()
    figures = sweep_poolings(maps, SETTINGS)
    sweep = time.perf_counter() - started
    print("| pooling | mAP | pointing |\n| --- | ---: | ---: |")
    for row in sorted(figures, key=lambda row: -(row.mAP or 0)):
        pointing = "" if row.pointing is None else f"{row.pointing:.3f}"
        print(f"| `{row.pooling}` | {row.mAP or 0:.3f} | {pointing} |")
    print(f"\nmaps of {len(maps.maps)} photographs, once: {network:.1f} s")
    print(f"{len(figures)} settings: {sweep:.2f} s, {1000 * sweep / len(figures):.0f} ms each")


if __name__ == "__main__":
    main()
