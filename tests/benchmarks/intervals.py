"""What intervals cost and how often they hold the truth: python tests/benchmarks/intervals.py VOC

The cost is CPU time of all metrics over the validation split, on noise for maps, with and without intervals. The
truth is that of simulated rankings and rates, whose population is known.
"""

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


def cost(folder):
    samples = read_voc(folder, "val")
    rng = np.random.default_rng(0)
    pairs = [(noise(sample, samples.classes, rng), sample) for sample in samples.samples]
    seconds = {0: [], 1000: []}
    for _ in range(3):
        for replicates, times in seconds.items():
            started = time.process_time()
            evaluation = Evaluation(samples.classes, replicates=replicates)
            for found, sample in pairs:
                evaluation.update(found, sample)
            evaluation.compute("noise")
            times.append(time.process_time() - started)
    without, with_intervals = (float(np.median(times)) for times in seconds.values())
    print(f"{len(pairs)} images, {len(samples.classes)} maps each: {without:.1f} s CPU without, ", end="")
    print(f"{with_intervals:.1f} s with intervals ({with_intervals / without - 1:+.0%})")


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
    coverage()
    cost(Path(sys.argv[1]))
