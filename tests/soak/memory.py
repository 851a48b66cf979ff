"""Memory over a long run: many localizations in one process, a large results file read and reported.

python tests/soak/memory.py            # 20,000 images, 1,000 calls, a report of 10,000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import commands
import numpy as np

import wsl
from wsl.formats import LocalizationWriter, read_localizations

MOST_GROWTH = 48  # MiB from a quarter of the way on: arenas of the allocator


def now() -> float:
    """MiB that the process has in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def growth(steps: int, step: Callable[[int], object]) -> tuple[float, float]:
    """The memory at the end, and how much of it came after the first quarter."""
    for number in range(steps):
        if number == steps // 4:
            before = now()
        step(number)
    return now(), now() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--items", type=int, default=10_000)
    given = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        commands.make_world(root / "world")
        photo = root / "world" / "voc" / "JPEGImages" / "000.png"
        predictor = wsl.Predictor(wsl.load(root / "world" / "run"), device="cpu", image_size=32)
        stream = predictor.stream((photo for _ in range(given.images)), workers=1)
        cases = {
            f"{given.images} images of one stream": growth(given.images, lambda _: next(stream)),
            f"{given.calls} calls": growth(given.calls, lambda _: predictor(photo).overlay()),
        }
        (found,) = [next(read_localizations(root / "world" / "found"))]
        shutil.copytree(root / "world" / "found" / "maps", root / "many" / "maps")
        with LocalizationWriter(root / "many") as writer:
            for _ in range(given.items):
                writer.write(found)
        items = read_localizations(root / "many")
        cases[f"{given.items} lines with maps read"] = growth(given.items, lambda _: next(items))
        report = ["--predictions", str(root / "many"), "--report", "--out", str(root / "report")]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            before, code, after = now(), commands.cli.visualize(report), now()
        cases[f"a report of {given.items}"] = (after, after - before if code == 0 else float(np.inf))
        for name, (end, grown) in cases.items():
            print(f"{name:36} {end:7.0f} MiB at the end, {grown:+6.1f} MiB {'' if grown < MOST_GROWTH else 'wrong'}")
            wrong += not grown < MOST_GROWTH
    print(f"{wrong} wrong")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
