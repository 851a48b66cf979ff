"""Kill -9 at random moments: of the local engine, of tasks of an array, of a Ray actor; then compare all bytes.

    python tests/benchmarks/kills.py --engine array --kills 120
    python tests/benchmarks/kills.py --engine local --kills 60
    python tests/benchmarks/kills.py --engine ray --kills 20

An undisturbed run is made first. Then runs are killed until they end all the same: of `local` the command or one of its
two processes, of `array` one of two tasks, of `ray` an actor. What was killed is started again, as Slurm or a person
would. Each time that all shards are there, the folder is compared with the undisturbed one, and a new one begun. Linux.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import wsl
from wsl.config import LocalizeConfig, PickConfig, Preprocessing, RuntimeConfig, ShardConfig
from wsl.models import save
from wsl.verbs.localize_shards import run_shards

TOOL = Path(__file__).parents[2] / "tools" / "localize.py"
IMAGES, SHARD = 360, 12


def make_world(root: Path) -> None:
    """A model, and photographs of noise."""
    torch.manual_seed(0)
    classes = [f"class {number}" for number in range(5)]
    model = wsl.Localizer("tinynet", classes=classes, weights="none", preprocessing=Preprocessing(image_size=64))
    save(model, root / "run" / "model.safetensors")
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(IMAGES):
        height, width = rng.integers(200, 700, 2)
        cv2.imwrite(str(root / "photos" / f"{number:04}.jpg"), rng.integers(0, 255, (height, width, 3), np.uint8))
    (root / "photos" / "0017.jpg").write_text("text")


def settings(root: Path, out: Path, **sharding: object) -> LocalizeConfig:
    """The run that is killed."""
    return LocalizeConfig(
        sources=(str(root / "photos"),),
        weights=str(root / "run"),
        out=out,
        maps=True,
        pick=PickConfig(top_k=2),
        runtime=RuntimeConfig(device="cpu", precision="fp32"),
        sharding=ShardConfig(shard_size=SHARD, **sharding),  # type: ignore[arg-type] # as given
    )


def command(root: Path, out: Path, engine: str) -> subprocess.Popen[bytes]:
    """The same as a command with two processes."""
    flags = ["--weights", str(root / "run"), "--out", str(out), "--maps", "--top-k", "2", "--device", "cpu"]
    flags += ["--precision", "fp32", "--shard-size", str(SHARD), "--engine", engine, "--processes", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, str(TOOL), str(root / "photos"), *flags], **quiet)  # type: ignore[call-overload,no-any-return]


def contents(folder: Path) -> dict[str, bytes]:
    """All files, temporary ones too, but the settings, which name their folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "localize.json"}


def processes_like(text: str, parent: int | None = None) -> list[int]:
    """The processes with a text in their command, of one parent or of any."""
    rows = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    found = (row.split(None, 2) for row in rows.splitlines())
    return [int(pid) for pid, ppid, args in found if text in args and parent in (None, int(ppid))]


def kill(pid: int) -> bool:
    """Whether a process was there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def killed_commands(root: Path, out: Path, engine: str, most: int, wait: Callable[[], None]) -> int:
    """Run a command to its end, killing it or what it has started so many times at most; how many times it was."""
    kills, running = 0, command(root, out, engine)
    while True:
        wait()
        if running.poll() is not None:
            if running.returncode == 0:
                return kills
            running = command(root, out, engine)  # killed, or its shards had ended too many processes
            continue
        if kills == most:
            running.wait()
            continue
        victims = processes_like("spawn_main", running.pid) if engine == "local" else processes_like("ray::MapWorker")
        if engine == "local":
            victims.append(running.pid)
        kills += bool(victims) and kill(random.choice(victims))


def task(config: LocalizeConfig) -> None:
    """A task of an array."""
    torch.set_num_threads(1)
    run_shards(config)


def killed_tasks(root: Path, out: Path, most: int, wait: Callable[[], None]) -> int:
    """The same with two tasks of an array, forked where all is loaded already, so that kills come while they work."""
    context = multiprocessing.get_context("fork")
    configs = [settings(root, out, engine="array", shard=share) for share in ("1/2", "2/2")]
    kills, tasks = 0, [context.Process(target=task, args=(config,)) for config in configs]
    for one in tasks:
        one.start()
    while any(one.exitcode != 0 for one in tasks):
        wait()
        for number, one in enumerate(tasks):
            if one.exitcode not in (None, 0):
                tasks[number] = context.Process(target=task, args=(configs[number],))
                tasks[number].start()
        alive = [one.pid for one in tasks if one.is_alive() and one.pid is not None]
        kills += bool(alive) and kills < most and kill(random.choice(alive))
    return kills


def main() -> None:
    """Kill, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["local", "array", "ray"], default="array")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, help="longest time between two kills, in seconds")
    args = parser.parse_args()
    random.seed(args.seed)
    longest = args.longest or {"array": 1.5, "local": 8.0, "ray": 12.0}[args.engine]
    kills = runs = 0

    def wait() -> None:
        time.sleep(random.uniform(0, longest))

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_world(root)
        # In a process of its own: PyTorch does not compute in children that are forked after it has.
        whole = multiprocessing.get_context("spawn").Process(
            target=task, args=(settings(root, root / "whole", engine="local"),)
        )
        whole.start()
        whole.join()
        expected = contents(root / "whole")
        started = time.monotonic()
        while kills < args.kills:
            out, left = root / "out", args.kills - kills
            if args.engine == "array":
                kills += killed_tasks(root, out, left, wait)
            else:
                kills += killed_commands(root, out, args.engine, left, wait)
            runs += 1
            found = contents(out)
            names = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
            if names:
                sys.exit(f"different after {kills} kills: {sorted(names)[:5]}")
            shutil.rmtree(out)
            print(f"{args.engine}: {kills} kills, {runs} runs ended with the bytes of an undisturbed one", flush=True)
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
