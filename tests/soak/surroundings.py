"""What goes on around a command: a folder that nobody may write, another run into the same one, images that change.

python tests/soak/surroundings.py 20 --seed 0
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import commands
from attempts import Child, Trial, report

NOBODY = 65534
CHANGED = ("localize", "train")  # the commands that read pictures


def tried(count: int, seed: int, root: Path, *, only: Sequence[str] = ()) -> list[Trial]:
    """Each command in a folder that is not its own to write, and so many times beside another and with other images."""
    rng = random.Random(seed)
    root.chmod(0o755)
    commands.make_world(root / "world")
    lines = []
    for name in only or commands.COMMANDS:
        command, whole = commands.COMMANDS[name], root / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        started = time.perf_counter()
        assert command(root / "world", whole)[0] == 0
        length, expected = time.perf_counter() - started, commands.contents(whole)
        lines.append(Trial(name, "read-only", _read_only(command, root)))
        for _ in range(count):
            lines.append(Trial(name, "two writers", _two(command, root, rng.uniform(0, 0.5 * length), expected)))
            if name in CHANGED:
                lines.append(Trial(name, "changing images", _changing(command, root, rng, length, expected)))
    return lines


def _read_only(command: commands.Command, root: Path) -> str:
    out = _empty(root / "out")
    out.chmod(0o555)
    code, said = Child(command, root / "world", out, user=NOBODY if os.getuid() == 0 else None).wait()
    out.chmod(0o755)
    if str(out) not in said:
        return f"exit {code} for another reason: {said.strip()[-300:]!r}"
    return _one_line(code, said, (1, 2)) or ", ".join(path.name for path in out.iterdir())


def _two(command: commands.Command, root: Path, later: float, expected: dict[str, bytes]) -> str:
    out = _empty(root / "out")
    first = Child(command, root / "world", out)
    time.sleep(later)
    second = Child(command, root / "world", out)
    ended = [first.wait(), second.wait()]
    wrong = [_one_line(code, said, (2,)) for code, said in ended if code != 0]
    if len(wrong) == 2:
        return f"both were refused: {ended}"
    return "".join(wrong) or _unequal(out, expected)


def _changing(
    command: commands.Command, root: Path, rng: random.Random, length: float, expected: dict[str, bytes]
) -> str:
    """Training with fewer images is another training: it ends well, or with one line."""
    world = root / "changing"
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(root / "world", world)
    pictures = sorted((world / "voc" / "JPEGImages").iterdir())
    child = Child(command, world, _empty(root / "out"))
    time.sleep(rng.uniform(0, length))
    picture, change = rng.choice(pictures), rng.choice(CHANGES)
    change(picture, pictures[0])
    code, said = child.wait()
    if code != 0:
        return _one_line(code, said, (1, 2))
    if command.name == "train":
        return ""
    left = {name: data for name, data in expected.items() if picture.stem not in name and "localizations" not in name}
    return _unequal(root / "out", left)


def _vanish(picture: Path, other: Path) -> None:
    picture.unlink()


def _replace(picture: Path, other: Path) -> None:
    shutil.copyfile(other, picture.with_suffix(".new"))
    picture.with_suffix(".new").replace(picture)


def _cut(picture: Path, other: Path) -> None:
    with picture.open("r+b") as file:
        file.truncate(100)


def _become_text(picture: Path, other: Path) -> None:
    picture.write_text("no picture", encoding="utf-8")


CHANGES: tuple[Callable[[Path, Path], None], ...] = (_vanish, _replace, _cut, _become_text)


def _empty(out: Path) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def _one_line(code: int, said: str, codes: tuple[int, ...]) -> str:
    told = [line for line in said.splitlines() if line.startswith(("failed:", "error:"))]
    return (
        "" if code in codes and len(told) == 1 and "Traceback" not in said else f"exit {code}: {said.strip()[-300:]!r}"
    )


def _unequal(out: Path, expected: dict[str, bytes]) -> str:
    now = commands.contents(out)
    unequal = [name for name, data in expected.items() if now.get(name) != data and not name.startswith("last")]
    return f"unequal {unequal}" if unequal else ", ".join(commands.litter(out))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=20, help="of each command beside another")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), help="these commands")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return report(tried(given.count, given.seed, Path(folder), only=given.only), "tried", by_situation=True) > 0


if __name__ == "__main__":
    sys.exit(main())
