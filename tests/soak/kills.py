"""Commands that are killed at random moments, and run again: the files are those of a run that nobody killed.

python tests/soak/kills.py 500 --seed 0
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import commands


class Line(NamedTuple):
    """What became of a command that was killed after so many seconds; ``wrong`` is empty where it was right."""

    command: str
    seconds: float
    wrong: str


def kills(count: int, seed: int, root: Path, *, commands_tried: Sequence[str] = ()) -> list[Line]:
    """Kill each command so many times, over nothing or over the results of an earlier run."""
    rng = random.Random(seed)
    commands.make_world(root / "world")
    lines = []
    for name in commands_tried or commands.COMMANDS:
        command = commands.COMMANDS[name]
        whole = root / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        started = time.perf_counter()
        assert command(root / "world", whole)[0] == 0
        length = time.perf_counter() - started
        expected = commands.contents(whole)
        for _ in range(count):
            moment, over = rng.uniform(0, 1.1 * length), name != "train" and rng.random() < 0.5
            lines.append(Line(name, moment, _killed(command, root, moment, expected, over=over)))
    return lines


def _killed(command: commands.Command, root: Path, moment: float, expected: dict[str, bytes], *, over: bool) -> str:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    if over:
        shutil.copytree(root / "whole", out)
    # A process of its own with all that is loaded already; no thread is running here.
    child = os.fork()
    if child == 0:
        try:
            command(root / "world", out, again=over)
        finally:
            os._exit(0)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    torn = [name for name, data in commands.contents(out).items() if _is_result(name) and data != expected.get(name)]
    if torn and command.name != "train":  # whose model is that of the best epoch so far
        return f"torn {torn}"
    code, said = command(root / "world", out, again=command.name != "train" or (out / "config.json").is_file())
    if code != 0:
        return f"afterwards exit {code}: {said.strip()[-200:]!r}"
    now = commands.contents(out)
    unequal = [name for name in expected if _is_result(name) and now.get(name) != expected[name]]
    return f"afterwards unequal {unequal}" if unequal else ", ".join(commands.litter(out))


def _is_result(name: str) -> bool:
    """Whether a file has its name only when it is whole; a state to resume from has times in it."""
    return not name.rpartition("/")[2].startswith(".") and ".wsl-export" not in name and not name.startswith("last")


def report(lines: Sequence[Line]) -> int:
    """Print what became of each command; the number that ended wrongly."""
    for name in dict.fromkeys(line.command for line in lines):
        own = [line for line in lines if line.command == name]
        print(f"{name:24} {len(own):5} kills {sum(bool(line.wrong) for line in own):4} wrong")
        for line in [one for one in own if one.wrong][:3]:
            print(f"    after {line.seconds:.3f} s: {line.wrong[:300]}")
    wrong = sum(bool(line.wrong) for line in lines)
    print(f"{len(lines)} kills, {wrong} wrong")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=500, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), help="these commands")
    given = parser.parse_args()
    each = -(-given.kills // len(given.only or commands.COMMANDS))
    with tempfile.TemporaryDirectory() as folder:
        print(f"{each} kills of each command, seed {given.seed}")
        return report(kills(each, given.seed, Path(folder), commands_tried=given.only)) > 0


if __name__ == "__main__":
    sys.exit(main())
