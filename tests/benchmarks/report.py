"""The report at size: how fast a page opens, how large it is, and that memory does not grow with the images.

    python tests/benchmarks/report.py found --data VOCdevkit/VOC2012 --split val
    python tests/benchmarks/report.py found --memory

``found`` is a folder of wsl-localize with --maps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wsl.config import DataConfig, VisualizeConfig
from wsl.verbs.visualize import visualize

BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def open_seconds(page: Path, runs: int = 5) -> list[float]:
    """From the request to the first pictures of the gallery being painted, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        for _ in range(runs):
            tab = browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
            started = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector(".card img")
            tab.evaluate("Promise.all([...document.querySelectorAll('.card img')].map(image => image.decode()))")
            tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            seconds.append(time.perf_counter() - started)
            tab.close()
        browser.close()
    return seconds


def peak_mebibytes(found: Path, images: int) -> float:
    """Peak memory of a process that reports ``images`` images, those of ``found`` again and again."""
    with tempfile.TemporaryDirectory() as folder:
        lines = (found / "localizations.jsonl").read_text(encoding="utf-8").splitlines()
        repeated = Path(folder, "localizations.jsonl")
        shutil.copytree(found / "maps", Path(folder, "maps"))
        with repeated.open("w", encoding="utf-8") as file:
            for i in range(images):
                file.write(json.dumps(json.loads(lines[i % len(lines)])) + "\n")
        command = [sys.executable, __file__, folder, "--once"]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--memory", action="store_true", help="peak memory for 1,000 and 10,000 images instead")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        visualize(VisualizeConfig(predictions=given.found, out=given.found / "report", report=True))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if given.memory:
        for images in (1_000, 10_000):
            print(f"{images:6d} images: peak {peak_mebibytes(given.found, images):.0f} MiB")
        return
    data = None if given.data is None else DataConfig(data=given.data)
    with tempfile.TemporaryDirectory() as folder:
        config = VisualizeConfig(predictions=given.found, out=Path(folder), data=data, split=given.split, report=True)
        started = time.perf_counter()
        summary = visualize(config)
        made = time.perf_counter() - started
        size = sum(page.stat().st_size for page in summary.paths) / 1e6
        seconds = open_seconds(summary.paths[0])
        print(f"{summary.pictures} images, {len(summary.paths)} page(s), {size:.1f} MB, made in {made:.1f} s")
        print(f"opens in {statistics.median(seconds):.2f} s (of {', '.join(f'{s:.2f}' for s in sorted(seconds))})")


if __name__ == "__main__":
    main()
