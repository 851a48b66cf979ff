"""What every refinement is worth on held-out photographs and what it costs, on one thread.

    python tests/benchmarks/refinement.py
    python tests/benchmarks/refinement.py runs/voc/gap VOCdevkit/VOC2012 --split val
    python tests/benchmarks/refinement.py runs/voc/gap VOCdevkit/VOC2012 --split train --limit 300 --best

Without a run: the milliseconds an image that each takes alone, on random tensors of the shapes of mobilenet_v2 at 288
pixels. With a run: a table on a split that the run was not trained on. Its classes are those that the development
subset of VOC covers well, six maps an image. MaxBoxAccV2 is of the photographs of one object and picks its thresholds
on the split, as it is defined; CorLoc and AP50 draw the boxes as each refinement does by default.
``--best`` also prints the fraction of (image, class) pairs that are right at other thresholds, to choose a default by:
on photographs that are not reported on.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

import wsl
from wsl.config import BoxConfig
from wsl.config.shared import BOX_DEFAULTS
from wsl.data import read_voc
from wsl.inference import boxes_of_class, network
from wsl.maps.refine import REFINEMENTS, Refinement
from wsl.metrics import CorLoc, MaxBoxAccV2, VOCDetectionAP
from wsl.metrics.overlap import best_iou
from wsl.results import Localization
from wsl.samples import Sample, SampleSet

CLASSES = ("dog", "cat", "person", "horse", "sheep", "cow")
SHAPES = ((192, 72, 72), (576, 36, 36))
GROUPS = ((1, 1), (1, 5), (8, 1), (8, 5))
THRESHOLDS = np.arange(0.1, 0.75, 0.05)
ROUNDS = 5


def main() -> None:
    """Print the times, or the table of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=None, help="so many photographs, drawn with a fixed seed")
    parser.add_argument("--refine", nargs="+", choices=("none", *REFINEMENTS), help="those that the run allows")
    parser.add_argument("--best", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run is None:
        print("| refinement | " + " | ".join(f"{images} x {classes}" for images, classes in GROUPS) + " |")
        print("| --- |" + " ---: |" * len(GROUPS))
        for name in options.refine or REFINEMENTS:
            if name != "none":
                print(f"| {name} | " + " | ".join(f"{cost(name, *group):.1f}" for group in GROUPS) + " |", flush=True)
        return
    if options.data is None:
        parser.error("a run needs the VOC folder, too")
    samples = read_voc(options.data, options.split)
    chosen = list(samples.samples)
    if options.limit is not None:
        chosen = random.Random(0).sample(chosen, min(options.limit, len(chosen)))
    samples = SampleSet(classes=samples.classes, samples=tuple(chosen))
    print(f"{len(samples)} photographs of {options.split}\n")
    print("| refinement | V2 | 0.3 | 0.5 | 0.7 | CorLoc-6 | AP50-6 | ms an image |")
    print("| --- |" + " ---: |" * 7)
    for name in options.refine or allowed(options.run):
        print(row(options.run, samples, name, best=options.best), flush=True)


def allowed(run: str) -> list[str]:
    """The refinements that a run's model has what is needed for."""
    model = wsl.load(run)
    lacking = [
        name
        for name, one in REFINEMENTS.items()
        if (one.decoded and not model.decodes) or (one.reads_features and not one.decoded and not model.levels)
    ]
    return ["none", *(name for name in REFINEMENTS if name not in lacking)]


def cost(name: str, images: int, classes: int) -> float:
    """The least milliseconds an image."""
    rng = torch.Generator().manual_seed(0)
    layers = [torch.randn(images, *shape, generator=rng) for shape in SHAPES]
    maps = torch.randn(images, classes, 36, 36, generator=rng)
    image = torch.nn.functional.interpolate(torch.rand(images, 3, 18, 18, generator=rng), (288, 288), mode="bilinear")
    times = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = time.perf_counter()
            REFINEMENTS[name].apply(maps, image, layers)
            times.append(time.perf_counter() - start)
    return 1e3 * min(times) / images


class Timed:
    """A refinement that adds up the time it takes."""

    def __init__(self, one: Refinement) -> None:
        self.one, self.seconds = one, 0.0

    def __call__(self, *arguments: object) -> torch.Tensor:
        """Refine."""
        start = time.perf_counter()
        try:
            return self.one.apply(*arguments)
        finally:
            self.seconds += time.perf_counter() - start


def row(run: str, samples: SampleSet, name: str, *, best: bool) -> str:
    """One row of the table, and below it the accuracy at other thresholds where asked."""
    settings = {"report_classes": CLASSES, "replicates": 0}
    boxes = MaxBoxAccV2(samples.classes, single_object=True, **settings)
    metrics = (boxes, CorLoc(samples.classes, **settings), VOCDetectionAP(samples.classes, **settings))
    timed = None if name == "none" else Timed(REFINEMENTS[name])
    overlaps = []
    for found, sample in pairs(run, samples, name, timed):
        for metric in metrics:
            metric.update(found, sample)
        if best:
            overlaps += list(by_threshold(found, sample))
    accuracies, *others = (metric.compute() for metric in metrics)
    figures = " | ".join(f"{metric.value:.3f}" for metric in (*accuracies, *others))
    line = f"| {name} | {figures} | {0 if timed is None else 1e3 * timed.seconds / len(samples):.1f} |"
    if best:
        right = (np.array(overlaps) >= 0.5).mean(0)
        line += "\n" + " ".join(f"{t:.2f}: {share:.3f}" for t, share in zip(THRESHOLDS, right, strict=True)) + "\n"
    return line


def pairs(run: str, samples: SampleSet, name: str, timed: Timed | None) -> Iterator[tuple[Localization, Sample]]:
    """What is found of the classes in each photograph, with its annotation."""
    registry: Mapping[str, Refinement] = REFINEMENTS
    if timed is not None:
        registry = {**REFINEMENTS, name: timed.one._replace(apply=timed)}
    before, network.REFINEMENTS = network.REFINEMENTS, registry
    try:
        predictor = wsl.Predictor(wsl.load(run), classes=CLASSES, refine=name, device="cpu", precision="fp32")
    finally:
        network.REFINEMENTS = before
    assert predictor.boxes.threshold == BOX_DEFAULTS[name].threshold
    sources = [wsl.Source(sample.path) for sample in samples.samples]
    yield from zip(predictor.stream(sources, errors="raise", workers=0), samples.samples, strict=True)


def by_threshold(found: Localization, sample: Sample) -> Iterator[list[float]]:
    """The best IoU of each labelled class's box at each threshold."""
    for label in sorted(set(sample.labels) & set(CLASSES)):
        truth = sample.boxes.of(label).xyxy
        if len(truth):
            drawn = (
                boxes_of_class(found.maps[label], label, 1.0, found.size, BoxConfig(threshold=float(t)))
                for t in THRESHOLDS
            )
            yield [float(best_iou(boxes.xyxy, truth).max(initial=0)) for boxes in drawn]


if __name__ == "__main__":
    main()
