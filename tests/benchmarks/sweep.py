"""The threshold sweep against the published algorithm: the same numbers, map by map, and how much sooner.

python tests/benchmarks/sweep.py
python tests/benchmarks/sweep.py --maps 300 --side 224

Prints the mismatches in best IoU at 1,000 thresholds, then for some kinds of maps the time of the plain algorithm
(OpenCV, every threshold by itself), of a shrewder loop (OpenCV, every distinct foreground once) and of the sweep. One
thread each; the ratios are medians over pairs that run in turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from wsl import maps

FOLDER = Path(__file__).parents[1]


def load(path: Path) -> ModuleType:
    """A file of the tests as a module: they are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load(FOLDER / "reference" / "threshold_sweep.py")
THRESHOLDS = reference.THRESHOLDS


def blurred(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    """Noise smoothed at a scale, from 0 to 1."""
    return maps.benchmark_map(cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), sigma), (side, side))


def class_map(rng: np.random.Generator, side: int) -> np.ndarray:
    """A smooth map of 14x14 cells, enlarged as the benchmark enlarges class maps."""
    return maps.benchmark_map(cv2.GaussianBlur(rng.standard_normal((14, 14)), (0, 0), 1.5), (side, side))


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "class map, 14x14 cells": class_map,
    "noise, sigma 20": lambda rng, side: blurred(rng, side, 20),
    "noise, sigma 8": lambda rng, side: blurred(rng, side, 8),
    "noise, sigma 3": lambda rng, side: blurred(rng, side, 3),
    "white noise": lambda rng, side: rng.random((side, side)),
}


def some_boxes(rng: np.random.Generator, side: int) -> np.ndarray:
    """One to three true boxes, whole numbers."""
    corners = np.sort(rng.integers(0, side, (int(rng.integers(1, 4)), 2, 2)), axis=1)
    return corners.reshape(-1, 4)


def sweep(score_map: np.ndarray, boxes: np.ndarray, candidates: str) -> np.ndarray:
    """Ours."""
    return maps.overlaps(score_map, boxes, THRESHOLDS, protocol="wsolevaluation", candidates=candidates)


def compare(count: int, side: int) -> None:
    """Count the maps whose best IoUs differ anywhere."""
    rng = np.random.default_rng(0)
    kinds = [*list(KINDS.values())[:4], *load(FOLDER / "reference" / "score_maps.py").KINDS.values()]
    for candidates in ("largest", "all"):
        wrong = 0
        for i in range(count):
            score_map, boxes = kinds[i % len(kinds)](rng, side), some_boxes(rng, side)
            (expected,) = reference.overlaps_by_level(score_map, boxes, [candidates])
            wrong += not np.array_equal(sweep(score_map, boxes, candidates), expected)
        print(f"{candidates:8} {count} maps of {side}x{side}: {wrong} with a mismatch", flush=True)


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Processor time of one run, which other work on the machine leaves alone."""
    start = time.thread_time()
    function(*arguments)
    return time.thread_time() - start


def measure(side: int, pairs: int) -> None:
    """Print a row a kind of map and candidates."""
    rng = np.random.default_rng(1)
    print(
        f"{'map':24} {'boxes':8} {'plain':>10} {'by level':>10} {'sweep':>9} {'ns/pixel':>8} "
        f"{'ratio':>6} {'by level':>8}"
    )
    for name, make in KINDS.items():
        for candidates in ("all", "largest"):
            plain, shrewd, ours = [], [], []
            for _ in range(1 if name == "white noise" else pairs):
                score_map, boxes = make(rng, side), some_boxes(rng, side)
                sweep(score_map, boxes, candidates)
                plain.append(seconds(reference.overlaps, score_map, boxes, candidates))
                shrewd.append(seconds(reference.overlaps_by_level, score_map, boxes, [candidates]))
                ours.append(np.median([seconds(sweep, score_map, boxes, candidates) for _ in range(9)]))
            ratio, of_shrewd = (np.median(np.divide(times, ours)) for times in (plain, shrewd))
            figures = [1e3 * np.median(times) for times in (plain, shrewd, ours)]
            print(
                f"{name:24} {candidates:8} {figures[0]:7.1f} ms {figures[1]:7.1f} ms {figures[2]:6.2f} ms "
                f"{figures[2] * 1e6 / side**2:8.1f} {ratio:6.0f} {of_shrewd:8.1f}",
                flush=True,
            )


def main() -> None:
    """Compare, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=60)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    compare(args.maps, args.side)
    measure(args.side, args.pairs)


if __name__ == "__main__":
    main()
