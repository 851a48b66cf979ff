"""How long the commands take to say something: `--help` of each, and a small export. Best of several runs.

    python tests/benchmarks/startup.py --runs 5

Each run is a process of its own. What a command that worked writes to the standard error stream is a library's warning
in the user's face, and is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsl.boxes import Boxes
from wsl.formats import LocalizationWriter
from wsl.results import Localization

TOOLS = Path(__file__).parents[2] / "tools"
HELP_SECONDS, EXPORT_SECONDS = 0.5, 1.0


class Measured(NamedTuple):
    """A command, the seconds of its quickest run and the most that they may be, and what it said on stderr."""

    name: str
    seconds: float
    limit: float
    told: str


def measure(name: str, command: Sequence[str], limit: float, runs: int, folder: Path) -> Measured:
    """Run a command several times, each in a new process."""
    seconds, told = [], ""
    for number in range(runs):
        arguments = [one.replace("NUMBER", str(number)) for one in command]
        started = time.perf_counter()
        ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=folder)
        seconds.append(time.perf_counter() - started)
        told = ended.stderr or told
    return Measured(name, min(seconds), limit, told)


def small_results(folder: Path) -> Path:
    """Localizations of ten images with two boxes each."""
    found = folder / "found"
    found.mkdir()
    boxes = Boxes(xyxy=[[1, 2, 30, 40], [20, 20, 60, 60]], labels=["cat", "dog"], scores=[0.9, 0.8])
    with LocalizationWriter(found) as writer:
        for number in range(10):
            path = folder / f"{number}.png"
            Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
            writer.write(Localization(path=path, size=(64, 64), scores={"cat": 0.9, "dog": 0.8}, boxes=boxes))
    return found


def main() -> int:
    """Print the table; 1 if a command is slower than it may be, or said something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs: int = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = small_results(folder)
        rows = [
            measure(f"wsl-{tool.stem} --help", [str(tool), "--help"], HELP_SECONDS, runs, folder)
            for tool in sorted(TOOLS.glob("*.py"))
        ]
        for kind in ("coco", "yolo", "voc"):
            export = [str(TOOLS / "export.py"), str(found), "--format", kind, "--out", f"{kind}-NUMBER"]
            rows.append(measure(f"wsl-export --format {kind}", export, EXPORT_SECONDS, runs, folder))
    print("| command | seconds | at most |\n| --- | ---: | ---: |")
    for row in rows:
        print(f"| `{row.name}` | {row.seconds:.2f} | {row.limit:g} |")
    for row in rows:
        if row.told:
            print(f"\n{row.name} said:\n{row.told.rstrip()}")
    return int(any(row.seconds > row.limit or row.told for row in rows))


if __name__ == "__main__":
    sys.exit(main())
