"""How long `wsl-evaluate` takes: against an older version, against the WSOL benchmark's way, and at size.

    wsl-localize --weights runs/voc/gap --data VOC --split val --classes CLASSES --maps --refine none --out found
    python tests/benchmarks/evaluation.py found VOC --against OLD    # OLD: a checkout of an older version
    python tests/benchmarks/evaluation.py found VOC --copies 10      # as many images, in as many times the files
    python tests/benchmarks/evaluation.py --benchmark 200            # MaxBoxAccV2 and PxAP of so many 224x224 maps

Whole commands are timed, from files to numbers; the second run of each counts, since the first one may compile. By
``--benchmark`` each has one thread: theirs is the published algorithm as `tests/reference/threshold_sweep.py` tells it,
a process that reads the same ``.npy`` files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]

THEIRS = """
import sys, importlib.util
from pathlib import Path
import cv2, numpy as np
cv2.setNumThreads(1)
place, count, metric = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
spec = importlib.util.spec_from_file_location("sweep", sys.argv[4])
sweep = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sweep)
thresholds = np.arange(0, 1, 1 / count)
names = (place / "metadata" / "boxes" / "image_ids.txt").read_text().split()
boxes, right = {}, 0
for line in (place / "metadata" / "boxes" / "localization.txt").read_text().split():
    name, *numbers = line.split(",")
    boxes.setdefault(name, []).append(numbers)
masks = dict(line.split(",")[:2] for line in (place / "metadata" / "masks" / "localization.txt").read_text().split())
if metric == "PxAP":
    edges = np.append(np.arange(0, 1, 1 / count), [1.0, 2.0])
    inside, outside = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for name in names:
        score_map = np.load(place / "maps" / f"{name}.npy")
        mask = cv2.resize(cv2.imread(str(place / "images" / masks[name]), 0), (224, 224),
                          interpolation=cv2.INTER_NEAREST) > 0
        inside += np.histogram(score_map[mask], bins=edges)[0]
        outside += np.histogram(score_map[~mask], bins=edges)[0]
    above, below = inside[::-1].cumsum(), outside[::-1].cumsum()
    print((above / np.maximum(above + below, 1) * inside[::-1]).sum() / above[-1])
else:
    for name in names:
        score_map = np.load(place / "maps" / f"{name}.npy")
        best = sweep.overlaps(score_map, np.array(boxes[name], float), "all", thresholds)
        right = right + np.stack([best >= level for level in (0.3, 0.5, 0.7)])
    print((right.max(axis=1) / len(names)).mean())
"""


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", type=Path, nargs="?", help="localizations with maps")
    parser.add_argument("voc", type=Path, nargs="?")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--copies", type=int)
    parser.add_argument("--benchmark", type=int)
    parser.add_argument("--split", default="val")
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.benchmark:
            against_the_benchmark(Path(folder), args.benchmark, args.pairs)
            return
        found, voc = args.found, args.voc
        if args.copies:
            found, voc = copies(found, voc, args.split, args.copies, Path(folder))
        flags = ["--predictions", found, "--data", voc, "--split", args.split, "--out", Path(folder) / "out"]
        versions = {"ours": ROOT, **({"before": args.against} if args.against else {})}
        times: dict[str, list[float]] = {name: [] for name in versions}
        for turn in range(1 + args.pairs):
            for name, place in versions.items():
                spent, _ = timed([sys.executable, place / "tools" / "evaluate.py", *flags], place)
                if turn:  # the first may compile
                    times[name].append(spent)
        for name, spent in times.items():
            print(f"{name:<7} {np.median(spent):7.2f} s  ({', '.join(f'{one:.2f}' for one in spent)})")
        if args.against:
            ratios = [old / new for old, new in zip(times["before"], times["ours"], strict=True)]
            print(f"ratio   {np.median(ratios):7.2f}    ({', '.join(f'{one:.2f}' for one in ratios)})")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"peak memory of a process: {peak:.0f} MiB")


def timed(command: list[object], place: Path, **environment: str) -> tuple[float, str]:
    """How long a command takes that imports the version at a place, and what it prints."""
    env = {**os.environ, "PYTHONPATH": str(place.resolve()), **environment}
    started = time.perf_counter()
    ended = subprocess.run([str(word) for word in command], env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, ended.stdout


def copies(found: Path, voc: Path, split: str, count: int, folder: Path) -> tuple[Path, Path]:
    """The same photographs and localizations several times, under other names; maps are shared."""
    data, results = folder / "voc", folder / "found"
    names = (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    rows = [json.loads(line) for line in (found / "localizations.jsonl").read_text().splitlines()]
    (data / "ImageSets" / "Main").mkdir(parents=True)
    shutil.copytree(found / "maps", results / "maps")
    shutil.copy(found / "localize.json", results)
    (data / "ImageSets" / "Main" / f"{split}.txt").write_text(
        "\n".join(f"{name}_{copy}" for copy in range(count) for name in names)
    )
    for part, suffix in (("JPEGImages", ".jpg"), ("SegmentationClassAug", ".png"), ("Annotations", ".xml")):
        (data / part).mkdir()
        for name in names:
            source = (voc / part / f"{name}{suffix}").resolve()
            for copy in range(count if source.is_file() else 0):
                target = data / part / f"{name}_{copy}{suffix}"
                if suffix == ".xml":
                    target.write_text(source.read_text().replace(f"{name}.jpg", f"{name}_{copy}.jpg"))
                else:
                    os.link(source, target) if source.stat().st_dev == folder.stat().st_dev else target.symlink_to(
                        source
                    )
    with (results / "localizations.jsonl").open("w") as file:
        for copy in range(count):
            for row in rows:
                path = data / "JPEGImages" / f"{Path(row['image']).stem}_{copy}.jpg"
                file.write(json.dumps({**row, "image": str(path)}) + "\n")
    return results, data


def against_the_benchmark(folder: Path, count: int, pairs: int) -> None:
    """MaxBoxAccV2 by 100 and 1,000 thresholds and PxAP, of the same files, one thread each."""
    made_up(folder, count)
    alone = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for metric, thresholds in (("MaxBoxAccV2", 100), ("MaxBoxAccV2", 1000), ("PxAP", 1000)):
        data = folder / "metadata"
        mine = [sys.executable, ROOT / "tools" / "evaluate.py", "--predictions", folder / "maps", "--data", data]
        mine += [
            "--split",
            "masks" if metric == "PxAP" else "boxes",
            "--protocol",
            "wsolevaluation",
            "--processes",
            "1",
        ]
        mine += ["--metrics", metric, "--num-thresholds", thresholds, "--out", folder / "out"]
        sweep = ROOT / "tests" / "reference" / "threshold_sweep.py"
        theirs = [sys.executable, "-c", THEIRS, folder, thresholds, metric, sweep]
        ratios, spent = [], []
        for turn in range(1 + pairs):
            ours_took, _ = timed([*mine, "--image-root", folder / "images"], ROOT, **alone)
            theirs_took, value = timed(theirs, ROOT, **alone)
            if turn:
                ratios.append(theirs_took / ours_took)
                spent.append((ours_took, theirs_took))
        metrics = json.loads((folder / "out" / "evaluation.json").read_text())["metrics"]
        own = next(one["value"] for name, one in metrics.items() if name.split(" ")[0] == metric)
        ours_took, theirs_took = np.median(spent, axis=0)
        print(
            f"{metric}, {thresholds} thresholds, {count} maps: theirs {theirs_took:.2f} s, ours {ours_took:.2f} s, "
            f"ratio {np.median(ratios):.1f}; values {float(value):.6f} and {own:.6f}"
        )


def made_up(folder: Path, count: int) -> None:
    """Smooth maps of 14x14 cells as the benchmark stores them, with a box and a mask each."""
    import cv2

    rng = np.random.default_rng(0)
    for place in ("maps/images", "images/images"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {"image_ids": [], "class_labels": [], "image_sizes": [], "localization": []}
    masked = []
    for i in range(count):
        name = f"images/{i:05}.jpg"
        x0, y0 = rng.integers(10, 100, 2)
        x1, y1 = x0 + rng.integers(40, 110), y0 + rng.integers(40, 110)
        cells = np.zeros((224, 224))
        cells[y0:y1, x0:x1] = 1
        Image.fromarray((cells * 255).astype(np.uint8)).save(folder / "images" / f"{name[:-4]}.png")
        cells = cv2.resize(cells, (14, 14), interpolation=cv2.INTER_AREA) * rng.random((14, 14)) + rng.random((14, 14))
        score_map = cv2.resize(cells, (224, 224), interpolation=cv2.INTER_CUBIC)
        score_map = (score_map - score_map.min()) / (score_map.max() - score_map.min())
        np.save(folder / "maps" / f"{name}.npy", score_map)
        Image.new("RGB", (224, 224)).save(folder / "images" / name)
        lines["image_ids"].append(name)
        lines["class_labels"].append(f"{name},{i % 10}")
        lines["image_sizes"].append(f"{name},224,224")
        lines["localization"].append(f"{name},{x0},{y0},{x1 - 1},{y1 - 1}")
        masked.append(f"{name},{name[:-4]}.png,")
    for split, localization in (("boxes", lines["localization"]), ("masks", masked)):
        (folder / "metadata" / split).mkdir(parents=True)
        for file, content in {**lines, "localization": localization}.items():
            (folder / "metadata" / split / f"{file}.txt").write_text("\n".join(content) + "\n")


if __name__ == "__main__":
    main()
