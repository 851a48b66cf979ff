"""Which regularisers help: GAP fine-tuned on the VOC subset with each of them, over seeds, with intervals.

    python tests/benchmarks/regularisers.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/regularisers
    python tests/benchmarks/regularisers.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/quick \\
        --seeds 0 --epochs 1 --images 64 --image-size 96

Every row goes on from the same head, trained on the frozen backbone, and is fine-tuned with one thing added. ACoL's two
classifiers have layers of their own, which learn on the frozen backbone by ``--epochs 10`` in the place of the other
rows' head, whose minimum is found at once. A row is evaluated on val with its maps as they are and refined. Figures are
means over the seeds; behind them stands the mean difference to the plain row, seed by seed, with half the width of its
95 % interval (Student's t over the seeds; none of one seed). With ``--images`` a part of train and of val is used, for
CPUs. Rows that were trained before are not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import time
from pathlib import Path

from voc_folders import names_of, write_splits
from voc_table import WELL_COVERED, command

ROWS: dict[str, list[str]] = {
    "plain": [],
    "hide-and-seek": ["--augment", "hide-and-seek"],
    "cutmix": ["--augment", "cutmix"],
    "randaugment": ["--augment", "randaugment"],
    "adl": ["--erase", "adl"],
    "acol": ["--head", "acol(threshold=0.7, hidden=256)"],
    "recam": ["--loss", "bce + recam"],
    "equivariance": ["--loss", "bce + equivariance(scale=0.5)"],
    "puzzle": ["--loss", "bce + puzzle(alpha=4)"],
    "asymmetric": ["--loss", "asymmetric(gamma_neg=4)"],
    "ema": ["--ema", "0.999"],
}
# Rows whose head has layers of its own, which learn on the frozen backbone for so many epochs first.
OWN_STARTS = {"acol": 10}
READINGS = {"raw": ["--refine", "none"], "refined": ["--refine", "affinity", "--threshold", "0.5"]}
COLUMNS = ("mAP-20", "pointing", "V2 raw", "V2 ref.", "CorLoc-6 raw", "ref.", "AP50-6 raw", "ref.")
# Two-sided 95 % points of Student's t by degrees of freedom.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def subset(voc: Path, folder: Path, images: dict[str, int]) -> Path:
    """A VOC folder of so many photographs of each split, in steps through its list."""
    splits = {}
    for split, count in images.items():
        names = names_of(voc, split)
        count = min(count, len(names))
        splits[split] = [names[place * len(names) // count] for place in range(count)]
    return write_splits(voc, folder, splits)


def train(out: Path, flags: list[str], args: argparse.Namespace) -> float:
    """Train a row unless it was; the seconds that it took."""
    clock = out / "seconds.txt"
    if not clock.is_file():
        started = time.perf_counter()
        places = ["--data", args.voc, "--val-split", "None", "--out", str(out), "--overwrite"]
        shared = ["--backbone", args.backbone, "--image-size", str(args.image_size), "--workers", str(args.workers)]
        command("train", [*places, *shared, *flags])
        clock.write_text(f"{time.perf_counter() - started:.0f}", encoding="utf-8")
    return float(clock.read_text(encoding="utf-8"))


def measure(out: Path, args: argparse.Namespace) -> list[float]:
    """The figures of a run, in the order of the columns."""
    found = {}
    for reading, flags in READINGS.items():
        places = ["--weights", str(out), "--data", args.voc, "--split", "val", "--out", str(out / reading)]
        if not (out / reading / "evaluation.json").is_file():
            command("evaluate", [*places, *flags])
        report = json.loads((out / reading / "evaluation.json").read_text(encoding="utf-8"))
        found[reading] = report["metrics"]
    raw, refined = found["raw"], found["refined"]
    return [
        mean(raw["mAP"]["per_class"]),
        raw["pointing (pairs)"]["value"],
        raw["MaxBoxAccV2"]["value"],
        refined["MaxBoxAccV2"]["value"],
        *(mean(some[name]["per_class"], WELL_COVERED) for name in ("CorLoc", "AP50") for some in (raw, refined)),
    ]


def mean(values: dict[str, float], names: tuple[str, ...] | None = None) -> float:
    """The mean over the classes named that have a figure, or over all."""
    chosen = [value for name, value in values.items() if names is None or name in names]
    return statistics.fmean(chosen) if chosen else float("nan")


def cell(values: list[float], plain: list[float]) -> str:
    """A mean, and the mean difference to the plain row with half its interval."""
    text = f"{statistics.fmean(values):.3f}"
    differences = [one - other for one, other in zip(values, plain, strict=True)]
    if values is plain or len(values) < 2:
        return text
    half = STUDENT[len(values) - 1] * statistics.stdev(differences) / len(values) ** 0.5
    return f"{text} ({statistics.fmean(differences):+.3f} ± {half:.3f})"


def main() -> None:
    """Train and measure the rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc")
    parser.add_argument("--local-weights", default="DEFAULT")
    parser.add_argument("--out", type=Path, default=Path("runs/regularisers"))
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=288)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, help="of train, and of val without --val-images, in the place of all")
    parser.add_argument("--val-images", type=int, help="of val, with --images")
    parser.add_argument("--train-flags", default="", help="further flags of wsl-train, such as '--mean 0.5 0.5 0.5'")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.images:
        images = {"train": args.images, "val": args.val_images or args.images}
        args.voc = str(subset(Path(args.voc), args.out / "subset", images))
    more = shlex.split(args.train_flags)
    results: dict[str, list[list[float]]] = {}
    seconds: dict[str, float] = {}
    for seed in args.seeds:
        start = args.out / f"start-{seed}"
        frozen = ["--weights", args.local_weights, "--freeze-backbone", "--optimizer", "lbfgs", "--seed", str(seed)]
        train(start, [*frozen, *more], args)
        tuned = ["--weights", str(start), "--epochs", str(args.epochs), "--batch-size", str(args.batch_size)]
        tuned += ["--backbone-lr-factor", "0.1", "--weight-decay", "0.05", "--min-crop", "0.6", "--seed", str(seed)]
        for name in dict.fromkeys(["plain", *args.rows]):
            out, flags = args.out / f"{name}-{seed}", [*tuned, *ROWS[name]]
            if name in OWN_STARTS:
                own = args.out / f"start-{name}-{seed}"
                learning = ["--freeze-backbone", "--epochs", str(OWN_STARTS[name]), "--seed", str(seed)]
                train(own, ["--weights", args.local_weights, *learning, *ROWS[name], *more], args)
                flags += ["--weights", str(own)]
            taken = train(out, [*flags, *more], args)
            seconds[name] = seconds.get(name, 0) + taken / len(args.seeds)
            results.setdefault(name, []).append(measure(out, args))
    print(f"\n| | {' | '.join(COLUMNS)} | training |\n| --- |{' ---: |' * (len(COLUMNS) + 1)}")
    plain = list(map(list, zip(*results["plain"], strict=True)))
    for name, runs in results.items():
        columns = plain if name == "plain" else list(map(list, zip(*runs, strict=True)))
        cells = [cell(values, base) for values, base in zip(columns, plain, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {seconds[name]:.0f} s |")


if __name__ == "__main__":
    main()
