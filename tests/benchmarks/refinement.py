"""Time to refine the maps of an image with the random walk, alone and in a batch of eight, on one thread.

    python tests/benchmarks/refinement.py

The features have the shapes of mobilenet_v2's taps at 288 pixels once they are resampled to where their cells look.
"""

from __future__ import annotations

import time

import torch

from wsl.maps import random_walk

SHAPES = ((192, 72, 72), (576, 36, 36))
ROUNDS = 50


def main() -> None:
    """Print the milliseconds an image."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        for images in (1, 8):
            layers = [torch.randn(images, *shape) for shape in SHAPES]
            for classes in (1, 5):
                maps = torch.randn(images, classes, 36, 36)
                best = min(seconds(maps, layers) for _ in range(ROUNDS))
                print(f"batch of {images}, {classes} maps an image: {1e3 * best / images:5.1f} ms an image")


def seconds(maps: torch.Tensor, layers: list[torch.Tensor]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    random_walk(maps, layers)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
