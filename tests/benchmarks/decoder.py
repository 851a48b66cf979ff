"""A map decoder trained on a GPU and on the CPU beside it: the time it takes, and whether both see the same.

    python tests/benchmarks/decoder.py VOCdevkit/VOC2012 --local-weights mobilenet_v2.pth --out runs/devices

A head and a probe are fitted on frozen features of `--limit` photographs of train, once; then each device trains a
decoder for that run, after one of 16 photographs that does not count. What is compared after that:

- the maps that one decoder (the first device's) gives of the same pixels on each device and in each arithmetic,
  relative to those of float32 on the CPU; the box of a class is that of the default threshold and rule;
- CorLoc, AP50 and MaxBoxAccV2 of each device's own decoder on so many photographs of val.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from voc_folders import names_of, write_splits

import wsl
from wsl import cli
from wsl.config import DataConfig, DecodeConfig, RuntimeConfig
from wsl.data import read_voc
from wsl.images import read_image
from wsl.metrics.overlap import best_iou
from wsl.results import Localization

Found = list[Localization]


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc", type=Path)
    parser.add_argument("--local-weights", default="none")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--image-size", type=int, default=288)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200, help="photographs of each split")
    parser.add_argument("--devices", nargs="+", default=["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"])
    parser.add_argument("--compared", type=int, default=64, help="photographs whose maps are compared")
    args = parser.parse_args()
    where = torch.cuda.get_device_name() if "cuda" in args.devices else "no GPU"
    print(f"{where}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}", flush=True)
    data = few(args.voc, args.out / "data", args.limit)
    head = args.out / "head"
    flags = ["--data", str(data), "--val-split", "None", "--out", str(head), "--overwrite", "--pooling", "gap"]
    flags += ["--backbone", args.backbone, "--weights", args.local_weights, "--image-size", str(args.image_size)]
    flags += ["--freeze-backbone", "--optimizer", "lbfgs", "--probe", "--device", args.devices[0]]
    if cli.train(flags):
        sys.exit("the head's training failed")
    warm = few(args.voc, args.out / "warm", 16)
    runs = {device: train(head, args.out / device / "run", device, warm) for device in args.devices}
    compare(runs[args.devices[0]], data, args)
    for device, run in runs.items():
        print(f"decoder of {device}, on {args.limit} of val: {evaluate(run, data, args.devices[0])}", flush=True)


def few(voc: Path, folder: Path, count: int) -> Path:
    """A VOC folder of the first photographs of train and of val."""
    return write_splits(voc, folder, {split: names_of(voc, split)[:count] for split in ("train", "val")})


def train(head: Path, run: Path, device: str, warm: Path) -> Path:
    """A copy of the run with a decoder that the device trained, from no cached features."""
    runtime = RuntimeConfig(device=device)
    for data in (DataConfig(data=warm), None):
        shutil.rmtree(run.parent, ignore_errors=True)
        shutil.copytree(head, run)
        started = time.perf_counter()
        wsl.decode(DecodeConfig(run=run, data=data, train_split="train", runtime=runtime))
    print(f"decoder trained on {device}: {time.perf_counter() - started:.1f} s, features included", flush=True)
    return run


def compare(run: Path, data: Path, args: argparse.Namespace) -> None:
    """Print how far the maps of one decoder differ between devices and arithmetics."""
    samples = read_voc(data, "val").samples[: args.compared]
    sources = [wsl.Source(read_image(sample.path), id=sample.path.name, classes=sample.labels) for sample in samples]

    def found(device: str, precision: str) -> Found:
        predictor = wsl.Predictor(wsl.load(run), refine="decoder", device=device, precision=precision)
        return list(predictor(sources))

    exact = found("cpu", "fp32")
    for device in args.devices:
        for precision in ("fp32", "bf16"):
            if (device, precision) != ("cpu", "fp32"):
                print(f"{device} {precision}, maps against cpu fp32: {difference(exact, found(device, precision))}")
    if "cuda" in args.devices:
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        print(f"cuda fp32 without TF32, maps against cpu fp32: {difference(exact, found('cuda', 'fp32'))}", flush=True)
        torch.backends.cudnn.allow_tf32 = before


def difference(exact: Found, other: Found) -> str:
    """The differences of maps, whose values are probabilities, and of boxes."""
    gaps, overlaps, counts = [], [], []
    for one, two in zip(exact, other, strict=True):
        for label, values in (one.maps or {}).items():
            gaps.append(np.abs(np.asarray(values) - np.asarray((two.maps or {})[label])).ravel())
            first, second = one.boxes.of(label).xyxy, two.boxes.of(label).xyxy
            counts.append(len(first) == len(second))
            overlaps += [float(best_iou(box[None], second).max(initial=0)) for box in first]
    all_gaps = np.concatenate(gaps)
    return (
        f"mean {all_gaps.mean():.1e}, 99.9% below {np.quantile(all_gaps, 0.999):.1e}, max {all_gaps.max():.1e}; "
        f"{len(overlaps)} boxes: mean IoU {np.mean(overlaps):.4f}, {np.mean(np.array(overlaps) > 0.9):.1%} above 0.9; "
        f"as many boxes in {np.mean(counts):.1%} of {len(counts)} maps"
    )


def evaluate(run: Path, data: Path, device: str) -> str:
    """The figures of a run's decoder on val."""
    out = run / "val"
    flags = ["--weights", str(run), "--data", str(data), "--split", "val", "--refine", "decoder", "--out", str(out)]
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli.evaluate([*flags, "--device", device])
    if code:
        sys.exit("the evaluation failed")
    metrics = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    return ", ".join(f"{name} {metrics[name]['value']:.3f}" for name in ("CorLoc", "AP50", "MaxBoxAccV2"))


if __name__ == "__main__":
    main()
