"""The tables "Reproduce on VOC" of this folder's README: every row, by the commands that a user would type.

    python tests/benchmarks/voc_table.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/voc
    python tests/benchmarks/voc_table.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/voc --rows gap
    python tests/benchmarks/voc_table.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/voc \\
        --rows decoder decoder-tensorflow --seeds 0 1 2

Each row is one `wsl-train` on the split train, the last epoch kept, and a `wsl-evaluate` on val for each reading of its
maps: as they are, refined and, of rows with a decoder, decoded from one, two and four views, with a detector or not.
The commands are printed as they run. Rows that were trained before are evaluated again, not trained again. With several
seeds figures are means, and half the distance of the lowest and the highest stands behind them. ``--jobs`` runs several
rows and seeds at once, for a GPU.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from voc_folders import names_of, write_splits

from wsl import cli

T = TypeVar("T")
Row = tuple[str, int]  # its name and its seed

# The classes with enough images in the development subset of VOC 2012.
WELL_COVERED = ("dog", "cat", "person", "horse", "sheep", "cow")

COLUMNS = ("mAP-6", "mAP-20", "pointing", "CorLoc-6", "AP50-6", "MaxBoxAcc 0.3", "0.5", "0.7", "V2", "training")

FROZEN = ["--freeze-backbone", "--batch-size", "32", "--lr", "0.01", "--weight-decay", "1"]
TUNED = ["--lr", "0.001", "--backbone-lr-factor", "0.1", "--weight-decay", "0.05", "--min-crop", "0.6", "--epochs", "4"]
DECODED = ["--pooling", "gap", "--freeze-backbone", "--optimizer", "lbfgs", "--probe", "--decode"]
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
    "decoder": DECODED,
    "detector": [*DECODED, "--detect"],
    "decoder-tensorflow": ["--padding", "tensorflow", *DECODED],
}
# How the maps are read. The refined maps' threshold was chosen on photographs of train.
READINGS = {"val": ["--refine", "none"], "val-refined": ["--refine", "affinity", "--threshold", "0.5"]}
# Threshold and rule of decoded maps are the defaults; they and the second size were chosen on photographs of train.
DECODED_READINGS = {
    "val-decoder": ["--refine", "decoder", "--no-detector"],
    "val-decoder-flip": ["--refine", "decoder", "--no-detector", "--tta", "flip"],
    "val-decoder-scales": ["--refine", "decoder", "--no-detector", "--tta", "flip", "288", "352"],
}
# The same maps; boxes are fused with the detector's.
DETECTED_READINGS = {
    "val-detector": ["--refine", "decoder"],
    "val-detector-flip": ["--refine", "decoder", "--tta", "flip"],
    "val-detector-scales": ["--refine", "decoder", "--tta", "flip", "288", "352"],
}
# Fine-tuning goes on from the frozen backbone's head: a head at random would first spoil the features below it.
STARTS = {"gap-tuned": "gap", "weldon-tuned": "weldon"}


def command(verb: str, flags: list[str]) -> None:
    """Run one console command as if it had been typed, and stop where it fails."""
    print(f"$ wsl-{verb} {shlex.join(flags)}", flush=True)
    code = getattr(cli, verb)(flags)
    if code:
        sys.exit(code)


def train(out: Path, flags: list[str]) -> float:
    """Train a run unless it was trained, going on with one that was killed; the seconds of the last command for it."""
    clock = out / "seconds.txt"  # written last, unlike the model
    if not clock.is_file():
        started = time.perf_counter()
        command("train", ["--out", str(out), "--resume" if (out / "last").is_dir() else "--overwrite", *flags])
        clock.write_text(f"{time.perf_counter() - started:.0f}", encoding="utf-8")
    return float(clock.read_text(encoding="utf-8"))


def run_rows(rows: Iterable[Row], args: argparse.Namespace) -> dict[Row, dict[str, Any]]:
    """The results of rows and seeds; a row that goes on from another comes after it."""
    results = {}
    for follows in (False, True):
        results.update(side_by_side(run_row, [row for row in rows if (row[0] in STARTS) == follows], args))
    return results


def side_by_side(
    work: Callable[[Row, argparse.Namespace], T], rows: Sequence[Row], args: argparse.Namespace
) -> dict[Row, T]:
    """The results of rows and seeds by `work`, so many at once as ``--jobs`` says."""
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        return dict(zip(rows, pool.map(functools.partial(work, args=args), rows), strict=True))


def run_row(row: tuple[str, int], args: argparse.Namespace) -> dict[str, Any]:
    """Train (unless it was) and evaluate one row, in each reading."""
    name, seed = row
    out = args.out / (name if seed == 0 else f"{name}-{seed}")
    start = str(args.out / STARTS[name]) if name in STARTS else args.local_weights or "DEFAULT"
    model = ["--backbone", args.backbone, "--weights", start, "--image-size", "288"]
    model += ["--seed", str(seed)] if seed else []
    model += shlex.split(args.train_flags)
    places = ["--data", args.voc, "--val-split", "None"]
    seconds = train(out, [*places, *model, *ROWS[name], "--workers", str(args.workers)])
    metrics = {}
    for reading, flags in readings(name).items():
        places = ["--weights", str(out), "--data", args.voc, "--split", "val", "--out", str(out / reading)]
        command("evaluate", [*places, *flags])
        report = json.loads((out / reading / "evaluation.json").read_text(encoding="utf-8"))
        metrics[reading] = report["metrics"]
    settings = json.loads((out / "config.json").read_text(encoding="utf-8"))
    return {
        "metrics": metrics,
        "seconds": seconds,
        "settings": settings,
    }


def readings(name: str) -> dict[str, list[str]]:
    """The ways to read the maps of a row."""
    decoded = DECODED_READINGS if "--decode" in ROWS[name] else {}
    return {**READINGS, **decoded, **(DETECTED_READINGS if "--detect" in ROWS[name] else {})}


def hold_out(voc: Path, folder: Path, count: int) -> Path:
    """A VOC folder whose `val` are so many photographs of train, chosen at random, and whose `train` are the others."""
    names = names_of(voc, "train")
    held = set(np.random.default_rng(0).permutation(len(names))[:count].tolist())
    splits = {
        split: [name for row, name in enumerate(names) if (row in held) == inside]
        for split, inside in (("train", False), ("val", True))
    }
    return write_splits(voc, folder, splits, parts=("JPEGImages", "Annotations", "SegmentationClassAug"))


def mean(values: dict[str, float], names: tuple[str, ...] | None = None) -> float:
    """The mean over the classes named, or all."""
    chosen = [value for name, value in values.items() if names is None or name in names]
    return sum(chosen) / len(chosen)


def figures(row: dict[str, Any], reading: str) -> list[float]:
    """The figures of one run, in the order of the columns."""
    metrics = row["metrics"][reading]
    (v2,) = (one["value"] for name, one in metrics.items() if name == "MaxBoxAccV2")
    return [
        mean(metrics["mAP"]["per_class"], WELL_COVERED),
        mean(metrics["mAP"]["per_class"]),
        metrics["pointing (pairs)"]["value"],
        mean(metrics["CorLoc"]["per_class"], WELL_COVERED),
        mean(metrics["AP50"]["per_class"], WELL_COVERED),
        *(metrics[f"MaxBoxAcc@{t}"]["value"] for t in ("0.3", "0.5", "0.7")),
        v2,
    ]


def line(name: str, rows: list[dict[str, Any]], reading: str) -> str:
    """One row of a table: of one run, or means of several and half their range."""
    settings = rows[0]["settings"]
    label = settings["model"]["pooling"]
    if settings["model"]["maps_per_class"] > 1:
        label += f", {settings['model']['maps_per_class']} maps"
    kind = "frozen" if settings["optim"]["freeze_backbone"] else "fine-tuned"
    columns = list(zip(*(figures(row, reading) for row in rows), strict=True))
    shown = [f"{sum(one) / len(one):.3f}" for one in columns]
    if len(rows) > 1:
        shown = [f"{text} ± {(max(one) - min(one)) / 2:.3f}" for text, one in zip(shown, columns, strict=True)]
    return f"| `{name}` | {label} | {kind} | {' | '.join(shown)} | {rows[0]['seconds']:.0f} s |"


def main() -> None:
    """Run the rows and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc")
    parser.add_argument("--local-weights")
    parser.add_argument("--out", type=Path, default=Path("runs/voc"))
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--train-flags", default="", help="further flags of wsl-train, such as '--mean 0.5 0.5 0.5'")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--hold-out", type=int, help="so many photographs of train in the place of val, to choose by")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="rows and seeds at once")
    args = parser.parse_args()
    if args.hold_out:
        args.voc = str(hold_out(Path(args.voc), args.out / "held-out", args.hold_out))
    results = run_rows(list(itertools.product(args.rows, args.seeds)), args)
    rows = {name: [results[name, seed] for seed in args.seeds] for name in args.rows}
    for reading, flags in {**READINGS, **DECODED_READINGS, **DETECTED_READINGS}.items():
        if not any(reading in readings(name) for name in rows):
            continue
        print(f"\n{reading} ({shlex.join(flags) or 'maps as they are'}):\n")
        print(f"| run | pooling | backbone | {' | '.join(COLUMNS)} |")
        print(f"| --- | --- | --- |{' ---: |' * len(COLUMNS)}")
        for name, runs in rows.items():
            if reading in readings(name):
                print(line(name, runs, reading))


if __name__ == "__main__":
    main()
