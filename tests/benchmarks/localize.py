"""`wsl-localize` against a plain loop: the same classifier, the same photographs, decoding and writing included.

    python tests/benchmarks/localize.py PHOTOS --local-weights mobilenet_v2.pth
    python tests/benchmarks/localize.py PHOTOS --local-weights mobilenet_v2.pth --memory

The plain loop is what a short script does: Pillow, float32 on one image at a time, cv2.resize of the winning map to
the photograph, a threshold, findContours, the largest contour's box, one JSON line. Both use all cores that torch
takes. The pairs run in turn, A B A B; the ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from wsl.formats import LocalizationWriter
from wsl.images import find_images
from wsl.inference import Predictor
from wsl.models import Localizer


def plain_loop(net: Localizer, paths: list[Path], size: int, out: Path) -> None:
    """One image at a time, as a script would do it."""
    to_input = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    with out.open("w", encoding="utf-8") as lines, torch.no_grad():
        for path in paths:
            image = Image.open(path).convert("RGB")
            scores, maps = net(to_input(image)[None])
            label = int(scores[0].argmax())
            score_map = cv2.resize(maps[0, label].numpy(), image.size)
            score_map = (score_map - score_map.min()) / (score_map.max() - score_map.min())
            mask = (score_map > 0.2).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
            record = {"image": str(path), "label": label, "score": float(scores[0].softmax(0)[label])}
            lines.write(json.dumps({**record, "xyxy": [x, y, x + w, y + h]}) + "\n")


def ours(model: Localizer, paths: list[Path], size: int, folder: Path) -> None:
    """What `wsl-localize` does."""
    predictor = Predictor(model, image_size=size)
    with LocalizationWriter(folder) as writer:
        for found in predictor.stream((path, ()) for path in paths):
            writer.write(found)


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
    """Print the images a second of both and their ratio."""
    model, paths = load(args), find_images([args.photos])[: args.images]
    with tempfile.TemporaryDirectory() as name:
        plain_file, folder = Path(name) / "plain.jsonl", Path(name) / "ours"
        rates = []
        for turn in range(args.pairs + 1):
            started = time.perf_counter()
            plain_loop(model, paths, args.image_size, plain_file)
            middle = time.perf_counter()
            ours(model, paths, args.image_size, folder)
            if turn:  # the first pair warms up caches
                rates.append((len(paths) / (middle - started), len(paths) / (time.perf_counter() - middle)))
        print(f"{len(paths)} photographs, {args.weights} at {args.image_size} px, {torch.get_num_threads()} threads")
        print(f"plain loop    {statistics.median(rate for rate, _ in rates):6.1f} images/s")
        print(f"wsl-localize  {statistics.median(rate for _, rate in rates):6.1f} images/s")
        ratios = [fast / slow for slow, fast in rates]
        print(f"ratio         {statistics.median(ratios):6.2f}  (pairs: {', '.join(f'{r:.2f}' for r in ratios)})")
        print(agreement(plain_file, folder, model))


def load(args: argparse.Namespace) -> Localizer:
    """The classifier as a localizer."""
    return Localizer.from_classifier(args.weights, args.local_weights or "DEFAULT").eval()


def peak_memory(args: argparse.Namespace) -> None:
    """Print the peak memory of runs of 500 and 5,000 images, each in a process of its own."""
    for count in (500, 5000):
        command = [sys.executable, __file__, args.photos, "--stream", str(count), "--weights", args.weights]
        if args.local_weights:
            command += ["--local-weights", args.local_weights]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def stream(args: argparse.Namespace) -> None:
    """Localize `--stream` images (the photographs over and over) and print this process's peak memory."""
    paths = list(itertools.islice(itertools.cycle(find_images([args.photos])), args.stream))
    with tempfile.TemporaryDirectory() as name:
        ours(load(args), paths, args.image_size, Path(name))
    print(f"{args.stream} images: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Parse the flags and run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--weights", default="mobilenet_v2")
    parser.add_argument("--local-weights")
    parser.add_argument("--image-size", type=int, default=288)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--stream", type=int, default=0)
    args = parser.parse_args()
    (peak_memory if args.memory else stream if args.stream else compare)(args)


if __name__ == "__main__":
    main()
