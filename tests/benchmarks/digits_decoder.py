"""The heads of the digits demo, each with a map decoder: boxes of its class maps beside those of the decoder.

    python demo/digits.py --from-scratch --out runs/scratch
    python tests/benchmarks/digits_decoder.py runs/scratch --out runs/digits --heads gap

Each run of the demo is copied, gets a map decoder by `wsl-train --decoder`, and is evaluated on the demo's held-out
canvases, once with each kind of maps. For both, threshold and box rule are selected on the training canvases by their
boxes, which no training reads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import torch
from voc_table import command

METRICS = ("pointing", "CorLoc", "AP50", "MaxBoxAcc@0.5", "MaxBoxAccV2")


def main() -> None:
    """Train the decoders, evaluate them and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the demo's folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heads", nargs="*", default=[], help="names of runs; all by default")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    every = sorted(path.parent for path in args.demo.glob("*/model.safetensors"))
    heads = [head for head in every if head.name in args.heads or not args.heads]
    if not heads:
        sys.exit(f"no run in {args.demo}: expected the folder of a finished demo/digits.py")
    print(f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}", flush=True)
    lines = []
    for head in heads:
        run = args.out / head.name
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(head, run, ignore=shutil.ignore_patterns("found", "pictures"))
        started = time.perf_counter()
        command("train", ["--decoder", str(run), "--device", args.device])
        seconds = time.perf_counter() - started
        figures = []
        for maps in ("none", "decoder"):
            flags = ["--weights", str(run), "--data", str(args.demo / "canvases"), "--split", "val", "--refine", maps]
            command(
                "evaluate", [*flags, "--select-threshold", "train", "--device", args.device, "--out", str(run / maps)]
            )
            figures.append(metrics(run / maps))
        lines.append(
            [f"`{head.name}`", *(f"{old} / {new}" for old, new in zip(*figures, strict=True)), f"{seconds:.0f} s"]
        )
    header = ["pooling", *METRICS, "decoder's training"]
    for line in (header, ["---", *["---:"] * (len(header) - 1)], *lines):
        print(f"| {' | '.join(line)} |")


def metrics(folder: Path) -> list[str]:
    """The figures of an evaluation."""
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    return [f"{found[name]['value']:.3f}" for name in METRICS]


if __name__ == "__main__":
    main()
