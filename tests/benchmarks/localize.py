"""`wsl-localize` against a plain loop and against its own parts: the same classifier, the same photographs.

    python tests/benchmarks/localize.py PHOTOS --local-weights mobilenet_v2.pth
    python tests/benchmarks/localize.py PHOTOS --local-weights mobilenet_v2.pth --refine affinity
    python tests/benchmarks/localize.py PHOTOS --local-weights mobilenet_v2.pth --memory
    python tests/benchmarks/localize.py PHOTOS --weights resnet50 --local-weights none --image-size 448 --device cuda
    python tests/benchmarks/localize.py PHOTOS --weights runs/voc/decoder --refine decoder

The plain loop is what a short script does: Pillow, float32 on one image at a time, cv2.resize of the winning map to
the photograph, a threshold, findContours, the largest contour's box, one JSON line. "decoding alone" reads and resizes
the photographs, "network alone" runs batches that are on the device already, without maps; each uses all cores. The
pairs run in turn, A B A B; ratios are medians over the pairs. With weights "none" the network is untrained; a run of
`wsl-train` is taken as it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

import wsl
from wsl.config import Refine
from wsl.formats import LocalizationWriter
from wsl.images import find_images
from wsl.images.cuda import decode_planes, fit_planes
from wsl.images.tensors import Normalise
from wsl.inference import Predictor
from wsl.inference.stream import batched, pipeline
from wsl.models import Localizer


def plain_loop(net: Localizer, paths: Sequence[Path], predictor: Predictor, out: Path) -> None:
    """One image at a time, as a script would do it."""
    device = predictor.device
    to_input = transforms.Compose(
        [
            transforms.Resize((predictor.preprocessing.image_size,) * 2),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    with out.open("w", encoding="utf-8") as lines, torch.no_grad():
        for path in paths:
            image = Image.open(path).convert("RGB")
            scores, maps = net(to_input(image)[None].to(device))
            label = int(scores[0].argmax())
            score_map = cv2.resize(maps[0, label].cpu().numpy(), image.size)
            score_map = (score_map - score_map.min()) / (score_map.max() - score_map.min())
            mask = (score_map > 0.2).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
            record = {"image": str(path), "label": label, "score": float(scores[0].softmax(0)[label])}
            lines.write(json.dumps({**record, "xyxy": [x, y, x + w, y + h]}) + "\n")


def ours(predictor: Predictor, paths: Sequence[Path], folder: Path) -> None:
    """What `wsl-localize` does."""
    with LocalizationWriter(folder) as writer:
        for found in predictor.stream(paths):
            writer.write(found)


def decoding(predictor: Predictor, paths: Sequence[Path]) -> None:
    """Photographs to network input, and nothing else."""
    normalise = Normalise(predictor.preprocessing, predictor.device)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        prepared = threads.map(predictor.prepare, paths)
        for batch in batched(prepared, predictor.batch_size):
            if batch[0].jpeg is not None:
                fit_planes(decode_planes(batch, predictor.device), predictor.preprocessing.image_size, normalise)
    _wait(predictor.device)


def network(predictor: Predictor, paths: Sequence[Path]) -> None:
    """Batches of as many images as there are photographs through the network alone."""
    run, size = predictor._network._run, predictor.preprocessing.image_size
    shape = (predictor.batch_size, 3, size, size)
    images = torch.randn(shape, device=predictor.device).contiguous(memory_format=torch.channels_last)
    batches = range(-(-len(paths) // predictor.batch_size))
    done = pipeline(
        batches,
        lambda _: images,
        lambda batch: batch[0],
        lambda batch: run(batch).scores,
        _wait,
        batch_size=1,
        device=predictor.device,
    )
    for _ in done:
        pass


def _wait(result: object) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def agreement(plain: Path, folder: Path, model: Localizer) -> str:
    """How far the two answers agree: the same class, and boxes with IoU of at least 0.8."""
    same = close = count = 0
    lines = zip(plain.open(encoding="utf-8"), (folder / "localizations.jsonl").open(encoding="utf-8"), strict=True)
    for left, right in lines:
        a, b = json.loads(left), json.loads(right)["boxes"]
        count += 1
        if b and b[0]["label"] == model.classes[a["label"]]:
            same += 1
            close += iou(a["xyxy"], b[0]["xyxy"]) >= 0.8
    return f"same class in {same} of {count} images, IoU >= 0.8 in {close} of those {same}"


def iou(a: list[float], b: list[float]) -> float:
    """Intersection over union of two xyxy boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def compare(args: argparse.Namespace) -> None:
    """Print the images a second of each and their ratios."""
    model, paths = load(args), find_images([args.photos])
    paths = list(itertools.islice(itertools.cycle(paths), args.images))
    predictor = create(model, args)
    plain = paths[: args.plain or None]
    net = model.to(predictor.device)
    with tempfile.TemporaryDirectory() as name:
        plain_file, folder = Path(name) / "plain.jsonl", Path(name) / "ours"
        parts: dict[str, tuple[Callable[[], None], int]] = {
            "plain loop": (lambda: plain_loop(net, plain, predictor, plain_file), len(plain)),
            "wsl-localize": (lambda: ours(predictor, paths, folder), len(paths)),
            "decoding alone": (lambda: decoding(predictor, paths), len(paths)),
            "network alone": (lambda: network(predictor, paths), len(paths)),
        }
        rates: dict[str, list[float]] = {part: [] for part in parts}
        for turn in range(args.pairs + 1):
            for part, (work, count) in parts.items():
                started = time.perf_counter()
                work()
                if turn:  # the first round warms up caches
                    rates[part].append(count / (time.perf_counter() - started))
        where = torch.cuda.get_device_name() if predictor.device.type == "cuda" else "CPU"
        print(f"{len(paths)} photographs, {args.weights} at {predictor.preprocessing.image_size} px, {where}, "
              f"{torch.get_num_threads()} threads, refine {predictor.refine}")  # fmt: skip
        for part, measured in rates.items():
            print(f"{part:<15} {statistics.median(measured):8.1f} images/s")
        ratios = [fast / slow for slow, fast in zip(rates["plain loop"], rates["wsl-localize"], strict=True)]
        print(f"{'ratio':<15} {statistics.median(ratios):8.2f}  (pairs: {', '.join(f'{r:.2f}' for r in ratios)})")
        slowest = min(statistics.median(rates[part]) for part in ("decoding alone", "network alone"))
        print(f"of the slower part {statistics.median(rates['wsl-localize']) / slowest:.0%}")
        if len(plain) == len(paths) and predictor.refine == "none":
            print(agreement(plain_file, folder, model))


def load(args: argparse.Namespace) -> Localizer:
    """The classifier as a localizer, or the model of a run."""
    if Path(args.weights).is_dir():
        return wsl.load(args.weights).eval()
    return Localizer.from_classifier(args.weights, args.local_weights or "DEFAULT").eval()


def create(model: Localizer, args: argparse.Namespace) -> Predictor:
    """The predictor that is measured."""
    return Predictor(
        model, image_size=args.image_size, refine=args.refine, device=args.device, batch_size=args.batch_size
    )


def peak_memory(args: argparse.Namespace) -> None:
    """Print the peak memory of runs of 500 and 20,000 images, each in a process of its own."""
    for count in (500, 20_000):
        command = [sys.executable, __file__, args.photos, "--stream", str(count), "--weights", args.weights]
        command += ["--refine", args.refine, "--image-size", str(args.image_size), "--device", args.device]
        if args.local_weights:
            command += ["--local-weights", args.local_weights]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def stream(args: argparse.Namespace) -> None:
    """Localize `--stream` images (the photographs over and over) and print this process's peak memory."""
    import resource

    paths = list(itertools.islice(itertools.cycle(find_images([args.photos])), args.stream))
    with tempfile.TemporaryDirectory() as name:
        ours(create(load(args), args), paths, Path(name))
    print(f"{args.stream} images: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Parse the flags and run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--weights", default="mobilenet_v2")
    parser.add_argument("--local-weights")
    parser.add_argument("--image-size", type=int, default=288)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--refine", default="none", choices=get_args(Refine)[1:])
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--plain", type=int, default=0, help="images for the plain loop (default: all)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--stream", type=int, default=0)
    args = parser.parse_args()
    (peak_memory if args.memory else stream if args.stream else compare)(args)


if __name__ == "__main__":
    main()
