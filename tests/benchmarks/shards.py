"""A manifest of very many rows through the engine `array`, in equal shares on this machine: rates, memory, resuming.

    python tests/benchmarks/shards.py PHOTOS --images 1000000 --tasks 2 --minutes 60
    python tests/benchmarks/shards.py PHOTOS --images 2000 --shard-size 256

The photographs are repeated under other ids until there are as many rows, and localized by a tinynet at 64 px, whose
own time is small: what is measured is everything around a network. Tasks are commands, ended by SIGTERM after the
minutes. Memory is that of the largest task, sampled every five seconds, Linux. A last command that lists what is done
and computes nothing tells what resuming takes. The lines at the end carry the figures over to a billion images, by
--rate images a second of a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import wsl
from wsl.config import Preprocessing
from wsl.formats.shards.manifest import MANIFEST, write_manifest
from wsl.formats.shards.parts import parts_of
from wsl.formats.shards.storage import Storage
from wsl.images import find_images
from wsl.images.rows import ImageRow
from wsl.models import save

TOOL = Path(__file__).parents[2] / "tools" / "localize.py"
BILLION = 10**9


def repeated(photos: Sequence[Path], images: int) -> Iterator[ImageRow]:
    """So many rows of few photographs."""
    for number, path in zip(range(images), itertools.cycle(photos), strict=False):
        yield ImageRow(path.as_posix(), f"{number:010}")


def start(out: Path, model: Path, *flags: str) -> subprocess.Popen[str]:
    """One task."""
    command = [sys.executable, str(TOOL), "--weights", str(model), "--out", str(out), "--engine", "array"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([*command, "--device", "cpu", *flags], **pipes)  # type: ignore[call-overload,no-any-return]


def resident(pid: int) -> float:
    """Memory of a process in MiB."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 2**20


def run_tasks(out: Path, model: Path, tasks: int, minutes: float) -> list[float]:
    """The shares of all tasks, and the memory of the largest as time goes by."""
    running = [start(out, model, "--shard", f"{number + 1}/{tasks}") for number in range(tasks)]
    ends, memory = time.monotonic() + 60 * minutes, []
    while any(task.poll() is None for task in running):
        time.sleep(5)
        memory.append(max(resident(task.pid) for task in running))
        if time.monotonic() > ends:
            for task in running:
                task.send_signal(signal.SIGTERM)
            break
    for task in running:
        task.communicate()
    return memory


def on_paper(sizes: dict[str, float], shard_size: int, rate: float, price: float) -> str:
    """What a billion images would take by these figures."""
    shards = BILLION / shard_size
    gpus = 64
    days = BILLION / rate / gpus / 86400
    writes, requests = 2 * shards, shards / 1000
    space = f"{BILLION * sizes['part'] / 2**40:.2f} TiB"
    manifest = f"{BILLION * sizes['manifest'] / 2**30:.1f} GiB"
    footer = f"{shards * sizes['footer'] / 2**20:.0f} MiB"
    return (
        f"10^9 images in shards of {shard_size}: {shards:,.0f} parts of {space}; a manifest of {manifest}, of which "
        f"each worker reads a footer of {footer}; {writes:,.0f} looks and writes, {requests:,.0f} requests a listing\n"
        f"at {rate:g} images/s of a GPU: {days:.1f} days on {gpus} GPUs, {BILLION / rate / 3600:,.0f} GPU hours, "
        f"{BILLION / rate / 3600 * price:,.0f} at {price:g} an hour"
    )


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shard-size", type=int, default=2048)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--price", type=float, default=2.5)
    parser.add_argument("--out", type=Path, help="keep the results there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder), args.out or Path(folder, "found")
        torch.manual_seed(0)
        small = Preprocessing(image_size=64)
        names = [f"class {number}" for number in range(20)]
        save(wsl.Localizer("tinynet", classes=names, weights="none", preprocessing=small), root / "model.safetensors")
        out.mkdir(parents=True, exist_ok=True)
        if not (out / MANIFEST).exists():
            began = time.monotonic()
            rows = repeated(find_images([args.photos]), args.images)
            write_manifest(rows, out / MANIFEST, shard_size=args.shard_size, made_from={"sources": [args.photos]})
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"manifest: {time.monotonic() - began:.1f} s, peak {peak:.0f} MiB with PyTorch", flush=True)
        began = time.monotonic()
        memory = run_tasks(out, root / "model.safetensors", args.tasks, args.minutes)
        seconds = time.monotonic() - began
        began = time.monotonic()
        parts = sum(len(shards) for shards in parts_of(Storage(out)).values())
        listing = time.monotonic() - began
        began = time.monotonic()
        start(out, root / "model.safetensors", "--dry-run").communicate()
        resuming = time.monotonic() - began
        done = min(parts * args.shard_size, args.images)
        memory = [one for one in memory if one]  # none is left when the last task has ended
        tenth = max(1, len(memory) // 10)
        print(f"{done} of {args.images} images in {seconds:.0f} s: {done / seconds:.0f} images/s by {args.tasks} tasks")
        print(f"memory of the largest task: {max(memory[:tenth]):.0f} MiB at first, {max(memory[-tenth:]):.0f} at last")
        print(f"listing {parts} parts: {1000 * listing:.1f} ms; a command that computes nothing: {resuming:.1f} s")
        whole = (out / MANIFEST).read_bytes()
        footer = int.from_bytes(whole[-8:-4], "little")
        sizes = {
            "part": sum(path.stat().st_size for path in out.glob("part-*")) / max(1, done),
            "manifest": len(whole) / args.images,
            "footer": footer / -(-args.images // args.shard_size),
        }
        print(", ".join(f"{name} {size:.1f} B" for name, size in sizes.items()), "an image; the footer a shard")
        print(on_paper(sizes, args.shard_size, args.rate, args.price))


if __name__ == "__main__":
    main()
