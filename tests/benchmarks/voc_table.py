"""The README's tables "Reproduce on VOC": trains and evaluates every row with the commands a user would type.

    python tests/benchmarks/voc_table.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/voc
    python tests/benchmarks/voc_table.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/voc --rows gap

Each row is one `wsl-train` on the split train, the last epoch kept, and two `wsl-evaluate` on val: of the maps as they
are, and refined. The commands are printed as they run. Rows that were trained before are evaluated again, not trained
again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from wsl import cli

# The classes with enough images in the development subset of VOC 2012.
WELL_COVERED = ("dog", "cat", "person", "horse", "sheep", "cow")

COLUMNS = ("mAP-6", "mAP-20", "pointing", "CorLoc-6", "AP50-6", "MaxBoxAcc 0.3", "0.5", "0.7", "training")

FROZEN = ["--freeze-backbone", "--batch-size", "32", "--lr", "0.01", "--weight-decay", "1"]
TUNED = ["--lr", "0.001", "--backbone-lr-factor", "0.1", "--weight-decay", "0.05", "--min-crop", "0.6", "--epochs", "4"]
ROWS = {
    "gap": ["--pooling", "gap", *FROZEN, "--epochs", "8"],
    "gmp": ["--pooling", "gmp", *FROZEN, "--epochs", "32"],
    "lse": ["--pooling", "lse(beta=1)", *FROZEN, "--epochs", "24"],
    "kmax": ["--pooling", "kmax(k=0.2)", *FROZEN, "--epochs", "24"],
    "weldon": ["--pooling", "weldon(k_max=0.2, k_min=0.2)", *FROZEN, "--epochs", "8"],
    "wildcat": [
        *("--pooling", "wildcat(k_max=0.2, k_min=0.2, alpha=0.7)", "--maps-per-class", "4"),
        *FROZEN,
        *("--epochs", "12"),
    ],
    "gap-tuned": ["--pooling", "gap", *TUNED],
    "weldon-tuned": ["--pooling", "weldon(k_max=0.2, k_min=0.2)", *TUNED],
}
# How the maps are read. The refined maps' threshold was chosen on photographs of train.
READINGS = {"val": ["--refine", "none"], "val-refined": ["--refine", "affinity", "--threshold", "0.5"]}
# Fine-tuning goes on from the frozen backbone's head: a head at random would first spoil the features below it.
STARTS = {"gap-tuned": "gap", "weldon-tuned": "weldon"}


def command(verb: str, flags: list[str]) -> None:
    """Run one console command as if it had been typed, and stop where it fails."""
    print(f"$ wsl-{verb} {shlex.join(flags)}", flush=True)
    code = getattr(cli, verb)(flags)
    if code:
        sys.exit(code)


def run_row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train (unless it was) and evaluate one row, in each reading."""
    out = args.out / name
    if not (out / "model.safetensors").is_file():
        start = str(args.out / STARTS[name]) if name in STARTS else args.local_weights or "DEFAULT"
        model = ["--backbone", "mobilenet_v2", "--weights", start, "--image-size", "288"]
        places = ["--data", args.voc, "--val-split", "None", "--out", str(out), "--overwrite"]
        command("train", [*places, *model, *ROWS[name], "--workers", str(args.workers)])
    metrics = {}
    for reading, flags in READINGS.items():
        places = ["--weights", str(out), "--data", args.voc, "--split", "val", "--out", str(out / reading)]
        command("evaluate", [*places, *flags])
        report = json.loads((out / reading / "evaluation.json").read_text(encoding="utf-8"))
        metrics[reading] = report["metrics"]
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    settings = json.loads((out / "config.json").read_text(encoding="utf-8"))
    return {"metrics": metrics, "seconds": epochs[-1]["seconds"], "settings": settings}


def mean(values: dict[str, float], names: tuple[str, ...] | None = None) -> float:
    """The mean over the classes named, or all."""
    chosen = [value for name, value in values.items() if names is None or name in names]
    return sum(chosen) / len(chosen)


def line(name: str, row: dict[str, Any], reading: str) -> str:
    """One row of a table."""
    metrics, settings = row["metrics"][reading], row["settings"]
    label = settings["model"]["pooling"]
    if settings["model"]["maps_per_class"] > 1:
        label += f", {settings['model']['maps_per_class']} maps"
    kind = "frozen" if settings["optim"]["freeze_backbone"] else "fine-tuned"
    figures = [
        mean(metrics["mAP"]["per_class"], WELL_COVERED),
        mean(metrics["mAP"]["per_class"]),
        metrics["pointing (pairs)"]["value"],
        mean(metrics["CorLoc"]["per_class"], WELL_COVERED),
        mean(metrics["AP50"]["per_class"], WELL_COVERED),
        *(metrics[f"MaxBoxAcc@{t}"]["value"] for t in ("0.3", "0.5", "0.7")),
    ]
    shown = " | ".join(f"{figure:.3f}" for figure in figures)
    return f"| `{name}` | {label} | {kind} | {shown} | {row['seconds']:.0f} s |"


def main() -> None:
    """Run the rows and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc")
    parser.add_argument("--local-weights")
    parser.add_argument("--out", type=Path, default=Path("runs/voc"))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    rows = {name: run_row(name, args) for name in args.rows}
    for reading, flags in READINGS.items():
        print(f"\n{reading} ({shlex.join(flags) or 'maps as they are'}):\n")
        print(f"| run | pooling | backbone | {' | '.join(COLUMNS)} |")
        print(f"| --- | --- | --- |{' ---: |' * len(COLUMNS)}")
        for name, row in rows.items():
            print(line(name, row, reading))


if __name__ == "__main__":
    main()
