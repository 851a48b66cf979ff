"""A box threshold for each map, chosen without ground truth, against one for all: the largest box of each class.

    python tests/benchmarks/voc_table.py VOC --local-weights WEIGHTS --out runs/held --rows decoder --hold-out 500
    python tests/benchmarks/image_thresholds.py runs/held/decoder runs/held/held-out --split val

Of each map of a labelled class, the largest box at thresholds 0.05, 0.1, …, 0.95 is compared with the true boxes of the
class. `single` are photographs with one box: the share of boxes with an IoU of at least 0.3, 0.5 and 0.7, and the mean
IoU. `CorLoc-6` is that share at 0.5 over all pairs of an image and a well-covered class, and `several` over those of
photographs with several boxes. The rules are:

- fixed: one threshold for all maps, as in wsl-localize;
- Otsu: the threshold that parts the map's values best into two groups;
- stable: that at which the box changes least between 0.1 below and 0.1 above, from 0.3 to 0.75;
- expected area: that at which the share of pixels above it is the map's mean probability;
- expected IoU: that whose region, or whose box, has the highest expected IoU with the object, if the map's values are
  independent probabilities;
- oracle: the best of all for each map, by its true boxes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from voc_table import WELL_COVERED

import wsl
from wsl.config import DataConfig
from wsl.data import read_samples
from wsl.maps import heatmap, threshold_boxes
from wsl.metrics.overlap import best_iou

Floats = npt.NDArray[np.float64]

THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
SIDE = 256  # of the maps that the rules read
NEAR, FIRST, LAST = 2, 5, 15  # steps of the thresholds: 0.1 to each side, from 0.3 to 0.75


class Pair(NamedTuple):
    """A map of a class: the IoU of its largest box with the best true one at each threshold, and each rule's choice."""

    overlaps: Floats
    chosen: dict[str, int]
    single: bool
    covered: bool


def main() -> None:
    """Localize, choose and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--tta", nargs="*", default=[])
    args = parser.parse_args()
    pairs = measured(args.run, args.data, args.split, args.tta)
    single, covered = (np.array([getattr(pair, name) for pair in pairs]) for name in ("single", "covered"))
    counts = f"{single.sum()} of photographs with a single box, {covered.sum()} of well-covered classes"
    print(f"{len(pairs)} maps, {counts}\n")
    print("| threshold | single 0.3 | 0.5 | 0.7 | mean IoU | CorLoc-6 | several |")
    print(f"| --- |{' ---: |' * 6}")
    for name in pairs[0].chosen:
        found = np.array([pair.overlaps[pair.chosen[name]] for pair in pairs])
        alone, six, several = found[single], found[covered], found[covered & ~single]
        shares = [(alone >= level).mean() for level in (0.3, 0.5, 0.7)]
        figures = [*shares, alone.mean(), (six >= 0.5).mean(), (several >= 0.5).mean()]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in figures)} |")


def measured(run: Path, data: Path, split: str, tta: list[str]) -> list[Pair]:
    """The maps of all classes that images are labelled with and have boxes of."""
    samples = [sample for sample in read_samples(DataConfig(data=data), split).samples if sample.boxes is not None]
    predictor = wsl.Predictor(wsl.load(run), refine="decoder", tta=tta)
    sources = (wsl.Source(sample.path, classes=sample.labels) for sample in samples)
    pairs = []
    for sample, found in zip(samples, predictor.stream(sources, errors="raise"), strict=True):
        assert sample.boxes is not None
        assert found.maps is not None
        for label in sample.labels:
            if label in sample.boxes.labels:
                boxes = threshold_boxes(found.maps[label], THRESHOLDS, size=found.size).boxes_by("largest")
                overlaps = best_iou(boxes, sample.boxes.of(label).xyxy)
                chosen = choices(found.maps[label], boxes, found.size, overlaps)
                pairs.append(Pair(overlaps, chosen, len(sample.boxes) == 1, label in WELL_COVERED))
    return pairs


def choices(
    map: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32], size: tuple[int, int], overlaps: Floats
) -> dict[str, int]:
    """The index of each rule's threshold."""
    scale = SIDE / max(size)
    heat = heatmap(map, (max(2, round(size[0] * scale)), max(2, round(size[1] * scale)))).astype(np.float64)
    probabilities = heat * float(map.max())
    total, at = probabilities.sum(), np.pad(probabilities.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    above = [heat > threshold for threshold in THRESHOLDS]

    def of_box(box: npt.NDArray[np.float32]) -> float:
        x0, y0, x1, y1 = np.clip(np.round(box * scale).astype(int), 0, [heat.shape[1], heat.shape[0]] * 2)
        hit = at[y1, x1] - at[y0, x1] - at[y1, x0] + at[y0, x0]
        return float(hit / (max((x1 - x0) * (y1 - y0), 1) + total - hit))

    def of_region(region: npt.NDArray[np.bool_]) -> float:
        hit = probabilities[region].sum()
        return float(hit / (region.sum() + total - hit))

    steps = range(FIRST, LAST)
    stable = [float(best_iou(boxes[[step - NEAR]], boxes[[step + NEAR]])[0]) for step in steps]
    areas = np.array([region.mean() for region in above])
    fixed = {
        f"fixed {threshold:g}": step for step, threshold in enumerate(THRESHOLDS) if threshold in (0.3, 0.4, 0.5, 0.6)
    }
    return {
        **fixed,
        "Otsu": nearest(otsu(heat)),
        "stable": FIRST + int(np.argmax(stable)),
        "expected area": int(np.abs(areas - probabilities.mean()).argmin()),
        "expected IoU of the region": best(of_region, above),
        "expected IoU of the box": best(of_box, boxes),
        "*oracle*": int(overlaps.argmax()),
    }


def best(score: Callable[..., float], of: npt.NDArray[np.generic] | list[npt.NDArray[np.bool_]]) -> int:
    """The index of the highest score."""
    return int(np.argmax([score(one) for one in of]))


def nearest(threshold: float) -> int:
    """The index of the nearest threshold."""
    return int(np.abs(THRESHOLDS - threshold).argmin())


def otsu(values: Floats, levels: int = 256) -> float:
    """The threshold that maximises the variance between the values below and above it.

    Source: Otsu, A threshold selection method from gray-level histograms, 1979.
    """
    shares = np.bincount(np.round(values * (levels - 1)).astype(int).ravel(), minlength=levels) / values.size
    below, mean = shares.cumsum(), (shares * np.arange(levels)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * below - mean) ** 2 / (below * (1 - below))
    return float(np.nan_to_num(between, posinf=0).argmax() / (levels - 1))


if __name__ == "__main__":
    main()
