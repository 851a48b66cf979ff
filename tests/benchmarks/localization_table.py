"""The table of this folder's README with every localization metric of three heads on three data sets, one command.

    python tests/benchmarks/localization_table.py DATA --out runs/localization
    python tests/benchmarks/localization_table.py DATA --out runs/localization --sets coco --rows gap

The first argument is the folder of development photographs (VOCdevkit, coco2017_subset, tiny-imagenet-wsol20.zip,
weights). Each cell is one `wsl-train` with a frozen mobilenet_v2 and one `wsl-evaluate`, printed as they run; threshold
and box rule are selected on the set's other split. Heads that were trained before are not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tiny_imagenet import make_lists
from voc_table import FROZEN, command, train

# Epochs as in voc_table.py: the sharper the pooling, the more it needs.
ROWS = {
    "gap": ["--pooling", "gap", "--epochs", "8"],
    "kmax": ["--pooling", "kmax(k=0.2)", "--epochs", "24"],
    "weldon": ["--pooling", "weldon(k_max=0.2, k_min=0.2)", "--epochs", "8"],
}
WEIGHTS = "weights/mobilenet_v2-coral-tf2ptq-fp16.pth"


def data_sets(root: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Where each set is, its splits (to train, to select, to report), and how it is evaluated."""
    return {
        "voc": {
            "data": str(root / "VOCdevkit" / "VOC2012"),
            "splits": ("train", "train", "val"),
            "size": "288",
            "protocols": ("default",),
        },
        "tiny-imagenet": {
            "data": str(make_lists(root / "tiny-imagenet-wsol20.zip", out / "tiny-imagenet")),
            "splits": ("train", "val", "test"),
            "size": "224",
            "protocols": ("default", "wsolevaluation"),
        },
        "coco": {
            "data": str(root / "coco2017_subset"),
            "splits": ("train2017", "train2017", "val2017"),
            "size": "288",
            "protocols": ("default",),
        },
    }


def run(name: str, row: str, settings: dict[str, Any], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Train (unless it was) one head on one set and evaluate it, by protocol."""
    train_split, select, report = settings["splits"]
    out = args.out / name / row
    places = ["--data", settings["data"], "--train-split", train_split, "--val-split", "None"]
    model = ["--backbone", "mobilenet_v2", "--weights", str(args.root / WEIGHTS), "--image-size", settings["size"]]
    train(out, [*places, *model, *ROWS[row], *FROZEN, "--workers", str(args.workers)])
    reports = {}
    for protocol in settings["protocols"]:
        place = out / f"{report}-{protocol}"
        flags = ["--weights", str(out), "--data", settings["data"], "--split", report, "--out", str(place)]
        flags += ["--refine", "none", "--select-threshold", select, "--workers", str(args.workers)]
        flags += ["--protocol", protocol] if protocol != "default" else []
        command("evaluate", [*flags, "--plots"])
        reports[protocol] = json.loads((place / "evaluation.json").read_text(encoding="utf-8"))
        reports[protocol]["seconds"] = json.loads((place / "seconds.json").read_text(encoding="utf-8"))
    return reports


def table(name: str, protocol: str, reports: dict[str, dict[str, Any]]) -> list[str]:
    """A line a metric: the set, the metric, what it counts, each head, the baseline."""
    names = dict.fromkeys(metric for report in reports.values() for metric in report["metrics"])
    lines = []
    for metric in names:
        if protocol not in ("default", metric.partition("(")[2].rstrip(")")) and metric != "PxAP":
            continue  # the protocol has no say in the others
        found = [report["metrics"].get(metric) for report in reports.values()]
        known = next(one for one in found if one is not None)
        values = ["" if one is None else f"{one['value']:.3f}" for one in found]
        baseline = "" if known["baseline"] is None else f"{known['baseline']:.3f}"
        lines.append(f"| {name} | {metric} | {sum(known['counts'].values())} | {' | '.join(values)} | {baseline} |")
    return lines


def main() -> None:
    """Run everything and print two tables: the metrics, and where the time went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/localization"))
    parser.add_argument("--sets", nargs="*", default=["voc", "tiny-imagenet", "coco"])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    found = {
        name: {row: run(name, row, settings, args) for row in args.rows}
        for name, settings in data_sets(args.root, args.out).items()
        if name in args.sets
    }
    lines, times = [], []
    for name, rows in found.items():
        for protocol in next(iter(rows.values())):
            reports = {row: by_protocol[protocol] for row, by_protocol in rows.items()}
            lines += table(name, protocol, reports)
            for row, report in reports.items():
                spent = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report["seconds"].items())
                boxes = report["boxes"]
                drawn = f"{boxes['threshold']:g} {boxes['box_rule']}, {boxes['origin']}"
                times.append(f"| {name} | {protocol} | `{row}` | {report['images']} | {drawn} | {spent} |")
    print(f"\n| data | metric | count | {' | '.join(args.rows)} | baseline |")
    print(f"| --- | --- | ---: |{' ---: |' * (len(args.rows) + 1)}")
    print("\n".join(lines))
    print("\n| data | protocol | run | images | boxes | seconds |\n| --- | --- | --- | ---: | --- | --- |")
    print("\n".join(times))


if __name__ == "__main__":
    main()
