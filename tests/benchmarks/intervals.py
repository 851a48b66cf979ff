"""What intervals cost and how often they hold the truth.

    python tests/benchmarks/intervals.py VOC
    python tests/benchmarks/intervals.py 500 5000

The cost is CPU time of all metrics over the validation split, on noise for maps, with and without intervals; or, where
numbers of images are given, over so many made-up ones of 20 classes with a box each and no maps. The report's digest
tells whether two versions agree in every digit. The truth is that of simulated rankings and rates, whose population is
known.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from wsl import maps
from wsl.boxes import Boxes
from wsl.data import read_voc
from wsl.metrics import Evaluation
from wsl.metrics.bootstrap import percentile_interval, poisson_weights
from wsl.metrics.ranking import ranking_ap
from wsl.metrics.resampling import resampled_ap
from wsl.results import Localization
from wsl.samples import Sample


def noise(sample, classes, rng):
    """A localization with a smooth map of noise for every class."""
    found = {label: cv2.GaussianBlur(rng.normal(size=(9, 12)).astype(np.float32), (0, 0), 1.5) for label in classes}
    boxes = [maps.boxes_from_map(found[label], threshold=0.3, size=sample.size, label=label) for label in classes]
    return Localization(
        path=sample.path,
        size=sample.size,
        scores=dict(zip(classes, rng.random(len(classes)).tolist(), strict=True)),
        boxes=Boxes.concatenate(boxes),
        points={label: maps.peak(found[label], sample.size) for label in classes},
        maps=found,
    )


def simulated(path, classes, rng):
    """An image of one to three classes, each found near its first object, and each other one somewhere."""
    own = sorted(rng.choice(len(classes), rng.integers(1, 4), replace=False).tolist())
    objects = [(i, rng.uniform(0, 150, 2), rng.uniform(20, 100, 2)) for i in own for _ in range(rng.integers(1, 4))]
    there = Boxes(
        xyxy=[[*corner, *(corner + sides)] for _, corner, sides in objects],
        labels=[classes[i] for i, _, _ in objects],
        difficult=rng.random(len(objects)) < 0.1,
    )
    scores, found, points = {}, [], {}
    for i, label in enumerate(classes):
        corner, sides = next((place for number, *place in objects if number == i), (np.full(2, 50.0), np.full(2, 99.0)))
        corner = corner + rng.normal(0, 6 if i in own else 20, 2)
        found.append([*corner, *(corner + sides)])
        points[label] = tuple((corner + sides / 2).tolist())
        scores[label] = float(np.clip(rng.normal(0.6 if i in own else 0.3, 0.2), 0, 1))
    return (
        Localization(
            path=path,
            size=(250, 250),
            scores=dict(sorted(scores.items(), key=lambda item: -item[1])),
            boxes=Boxes(xyxy=found, labels=classes, scores=list(scores.values())),
            points=points,
        ),
        Sample(path=path, labels=[classes[i] for i in own], boxes=there, size=(250, 250)),
    )


def cost(pairs, classes, runs=3):
    seconds = {0: [], 1000: []}
    Evaluation(classes).update(*pairs[0])  # what is compiled or loaded is so before
    for _ in range(runs):
        for replicates, times in seconds.items():
            started = time.process_time()
            evaluation = Evaluation(classes, replicates=replicates)
            for found, sample in pairs:
                evaluation.update(found, sample)
            updated = time.process_time()
            report = evaluation.compute("noise")
            times.append((updated - started, time.process_time() - updated))
    digest = hashlib.sha256(json.dumps(report.to_json(), sort_keys=True).encode()).hexdigest()[:12]
    (update, compute), (drawn_update, drawn_compute) = (np.median(times, axis=0) for times in seconds.values())
    without, with_intervals = update + compute, drawn_update + drawn_compute
    print(f"{len(pairs)} images: {without:.1f} s CPU without ({update:.1f} images, {compute:.1f} report), ", end="")
    print(f"{with_intervals:.1f} s with intervals ({drawn_update:.1f} and {drawn_compute:.1f}), ", end="")
    print(f"{with_intervals / without - 1:+.0%}; digest {digest}")


def ranking(rng, n, positives):
    correct = rng.random(n) < positives
    return rng.normal(size=n) + correct, correct


def coverage(trials=400):
    rng = np.random.default_rng(0)
    for positives, n in ((0.2, 300), (0.05, 400), (0.5, 100)):
        scores, correct = ranking(rng, 400_000, positives)
        truth, held = ranking_ap(scores, correct, int(correct.sum())), 0
        for trial in range(trials):
            scores, correct = ranking(rng, n, positives)
            weights = poisson_weights(range(trial * n, trial * n + n), 400)
            drawn = resampled_ap(scores, correct, np.arange(n), correct, weights)
            low, high = percentile_interval(drawn, ranking_ap(scores, correct, int(correct.sum())))
            held += low <= truth <= high
        print(f"AP of {n} images, {positives:.0%} positive: {held / trials:.1%} of the intervals hold the truth")
    for n in (50, 400):
        held = 0
        for trial in range(trials):
            hits = rng.random(n) < 0.75
            weights = poisson_weights(range(trial * n, trial * n + n), 400).astype(float)
            low, high = percentile_interval((hits @ weights) / weights.sum(axis=0), hits.mean())
            held += low <= 0.75 <= high
        print(f"a rate of 75 % over {n} images: {held / trials:.1%} of the intervals hold the truth")


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        for number in map(int, sys.argv[1:]):
            rng, classes = np.random.default_rng(0), [f"class {i:02}" for i in range(20)]
            cost([simulated(f"made-up/{i:06}.jpg", classes, rng) for i in range(number)], classes)
    else:
        coverage()
        samples, rng = read_voc(Path(sys.argv[1]), "val"), np.random.default_rng(0)
        cost([(noise(sample, samples.classes, rng), sample) for sample in samples.samples], samples.classes)
