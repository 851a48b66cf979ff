"""Commands that are killed at random moments, and run again: the files are those of a run that nobody killed.

python tests/soak/kills.py 500 --seed 0
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import commands
from attempts import Child, Trial, report


def kills(count: int, seed: int, root: Path, *, commands_tried: Sequence[str] = ()) -> list[Trial]:
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
            lines.append(Trial(name, f"after {moment:.3f} s", _killed(command, root, moment, expected, over=over)))
    return lines


def _killed(command: commands.Command, root: Path, moment: float, expected: dict[str, bytes], *, over: bool) -> str:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    if over:
        shutil.copytree(root / "whole", out)
    child = Child(command, root / "world", out, again=over)
    time.sleep(moment)
    child.kill()
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=500, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), help="these commands")
    given = parser.parse_args()
    each = -(-given.kills // len(given.only or commands.COMMANDS))
    with tempfile.TemporaryDirectory() as folder:
        print(f"{each} kills of each command, seed {given.seed}")
        return report(kills(each, given.seed, Path(folder), commands_tried=given.only), "kills") > 0


if __name__ == "__main__":
    sys.exit(main())
