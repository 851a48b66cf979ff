"""Which regularisers help: GAP fine-tuned on the VOC subset with each of them, over seeds, with intervals.

    python tests/benchmarks/regularisers.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/regularisers
    python tests/benchmarks/regularisers.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/quick \\
        --seeds 0 --epochs 1 --images 64 --image-size 96

Every row goes on from the same head, trained on the frozen backbone, and is fine-tuned with one thing added. ACoL's two
classifiers have layers of their own, which learn on the frozen backbone by ``--epochs 10`` in the place of the other
rows' head, whose minimum is found at once. A row is evaluated on val with its maps as they are and refined. Figures are
means over the seeds; behind them stands the mean difference to the plain row, seed by seed, with half the width of its
95 % interval (Student's t over the seeds; none of two seeds, of which it would be 13 standard errors). With
``--images`` a part of train and of val is used, for CPUs. ``--jobs`` trains several rows at once, for a GPU that one
small network does not fill. Rows that were trained before are not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from voc_folders import names_of, write_splits
from voc_table import WELL_COVERED, command, side_by_side, train

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
METRICS = ("mAP", "pointing", "MaxBoxAccV2", "CorLoc", "AP50")
READINGS = {"raw": ["--refine", "none"], "refined": ["--refine", "affinity", "--threshold", "0.5"]}
COLUMNS = ("mAP-20", "pointing", "V2 raw", "V2 ref.", "CorLoc-6 raw", "ref.", "AP50-6 raw", "ref.")
# Two-sided 95 % points of Student's t by degrees of freedom.
STUDENT = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def subset(voc: Path, folder: Path, images: dict[str, int]) -> Path:
    """A VOC folder of so many photographs of each split, in steps through its list."""
    splits = {}
    for split, count in images.items():
        names = names_of(voc, split)
        count = min(count, len(names))
        splits[split] = [names[place * len(names) // count] for place in range(count)]
    return write_splits(voc, folder, splits)


def shared(args: argparse.Namespace) -> list[str]:
    """The flags of every training."""
    places = ["--data", args.voc, "--val-split", "None", "--workers", str(args.workers)]
    return [*places, "--backbone", args.backbone, "--image-size", str(args.image_size), *shlex.split(args.train_flags)]


def measure(out: Path, args: argparse.Namespace) -> list[float]:
    """The figures of a run, in the order of the columns."""
    found = {}
    for reading, flags in READINGS.items():
        places = ["--weights", str(out), "--data", args.voc, "--split", "val", "--out", str(out / reading)]
        if not (out / reading / "evaluation.json").is_file():
            command("evaluate", [*places, *flags, "--metrics", *METRICS])
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


def cell(values: Sequence[float], plain: Sequence[float] | None) -> str:
    """A mean and, beside a plain row, the mean difference to it with half its interval."""
    text = f"{statistics.fmean(values):.3f}"
    if plain is None or len(values) < 2:
        return text
    differences = [one - other for one, other in zip(values, plain, strict=True)]
    text += f" ({statistics.fmean(differences):+.3f}"
    if len(values) > 2:
        text += f" ± {STUDENT[len(values) - 1] * statistics.stdev(differences) / len(values) ** 0.5:.3f}"
    return f"{text})"


def prepare(seed: int, args: argparse.Namespace) -> None:
    """Train the heads that the rows of a seed start from."""
    frozen = [*shared(args), "--weights", args.local_weights, "--freeze-backbone", "--seed", str(seed)]
    train(args.out / f"start-{seed}", [*frozen, "--optimizer", "lbfgs"])
    for name in OWN_STARTS.keys() & set(args.rows):
        train(args.out / f"start-{name}-{seed}", [*frozen, "--epochs", str(OWN_STARTS[name]), *ROWS[name]])


def run_row(row: tuple[str, int], args: argparse.Namespace) -> tuple[float, list[float]]:
    """The seconds that the training of a row took, and its figures."""
    name, seed = row
    start = args.out / (f"start-{name}-{seed}" if name in OWN_STARTS else f"start-{seed}")
    tuned = ["--weights", str(start), "--epochs", str(args.epochs), "--batch-size", str(args.batch_size)]
    tuned += ["--backbone-lr-factor", "0.1", "--weight-decay", "0.05", "--min-crop", "0.6", "--seed", str(seed)]
    out = args.out / f"{name}-{seed}"
    return train(out, [*shared(args), *tuned, *ROWS[name]]), measure(out, args)


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
    parser.add_argument("--jobs", type=int, default=1, help="rows at once")
    args = parser.parse_args()
    if args.images:
        images = {"train": args.images, "val": args.val_images or args.images}
        args.voc = str(subset(Path(args.voc), args.out / "subset", images))
    for seed in args.seeds:
        prepare(seed, args)
    # Seed by seed, so that a table of the first seeds can be made of what was trained before an interruption.
    rows = [(name, seed) for seed in args.seeds for name in dict.fromkeys(["plain", *args.rows])]
    runs = side_by_side(run_row, rows, args)
    print(f"\n| | {' | '.join(COLUMNS)} | training |\n| --- |{' ---: |' * (len(COLUMNS) + 1)}")
    for name in dict.fromkeys(name for name, _ in rows):
        seconds = statistics.fmean(runs[name, seed][0] for seed in args.seeds)
        columns, plain = (zip(*(runs[row, seed][1] for seed in args.seeds), strict=True) for row in (name, "plain"))
        cells = [cell(values, None if name == "plain" else base) for values, base in zip(columns, plain, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} s |")


if __name__ == "__main__":
    main()
