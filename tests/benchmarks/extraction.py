"""Time to extract a map's boxes and its peak, on one thread and on two, beside the plain implementation.

    python tests/benchmarks/extraction.py

Prints a table of microseconds a map: 20x20 cells, an image of 500x375 pixels. On two threads it is the time on the
clock over the number of maps, so that half the time of one thread is what two cores can give.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from wsl.maps import boxes_from_map, extract_boxes, extract_many, peak, peaks

SIZE = (500, 375)
MAPS, ROUNDS = 512, 7
Work = Callable[[np.ndarray], object]


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    maps = [cv2.GaussianBlur(rng.standard_normal((20, 20)).astype(np.float32), (0, 0), 2) for _ in range(MAPS)]
    batches = [np.stack(maps[start : start + 64]) for start in range(0, MAPS, 64)]
    plain = reference()
    rows: dict[str, Work] = {}
    for rule in ("largest", "peak", "all"):
        rows[f"plain extraction, {rule}"] = lambda m, rule=rule: plain.extract(m, SIZE, 0.4, rule, 0.001, 256)
        rows[f"boxes_from_map, {rule}"] = lambda m, rule=rule: boxes_from_map(m, threshold=0.4, rule=rule, size=SIZE)
        rows[f"extract_boxes, {rule}"] = lambda m, rule=rule: extract_boxes(m, SIZE, threshold=0.4, rule=rule)
    rows["plain peak"] = lambda m: plain.peak(m, SIZE)
    rows["peak"] = lambda m: peak(m, SIZE)
    rows["boxes_from_map and peak"] = lambda m: (boxes_from_map(m, threshold=0.4, size=SIZE), peak(m, SIZE))
    sizes = [SIZE] * 64
    rows["extract_many and peaks, 64"] = lambda some: (extract_many(some, sizes, threshold=0.4), peaks(some, sizes))
    print(f"{'':28}{'one thread':>12}{'two threads':>13}{'ratio':>7}")
    for name, work in rows.items():
        units = batches if "many" in name else maps
        one, two = seconds(work, units, 1), seconds(work, units, 2)
        print(f"{name:28}{1e6 * one / MAPS:9.1f} µs{1e6 * two / MAPS:10.1f} µs{one / two:7.2f}")


def seconds(work: Work, maps: list[np.ndarray], threads: int) -> float:
    """The best of some rounds over all maps, split evenly among the threads."""

    def share(number: int) -> None:
        for score_map in maps[number::threads]:
            work(score_map)

    work(maps[0])
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            list(pool.map(share, range(threads)))
            best = min(best, time.perf_counter() - start)
    return best


def reference() -> ModuleType:
    """The plain implementation that the tests compare with."""
    path = Path(__file__).parents[1] / "reference" / "boxes.py"
    spec = importlib.util.spec_from_file_location("reference_boxes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
