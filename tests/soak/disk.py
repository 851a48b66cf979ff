"""A disk that is full from the n-th write on, for every n: one line, old or new files, and all well afterwards.

python tests/soak/disk.py            # every write of every command
python tests/soak/disk.py --most 10  # ten of each
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import commands
from attempts import Trial, report


class _Disk:
    """Counts what Python writes to files below a folder, and refuses it from the n-th time on."""

    def __init__(self, folder: Path, full_at: int) -> None:
        self.folder, self.full_at, self.writes = str(folder), full_at, 0

    def see(self) -> None:
        self.writes += 1
        if self.writes >= self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _counting(folder: Path, full_at: int) -> Iterator[_Disk]:
    disk, plain = _Disk(folder, full_at), io.open

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            disk.see()
            return super().write(data)

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding=None, errors=None, newline=None, **more: Any):
        name = os.fspath(file) if not isinstance(file, int) else ""
        if not isinstance(name, str) or not name.startswith(disk.folder) or not set(mode) & set("wax+"):
            return plain(file, mode, buffering, encoding, errors, newline, **more)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    io.open = builtins.open = opened
    try:
        yield disk
    finally:
        io.open = builtins.open = plain


def full_at_every_write(root: Path, *, most: int | None = None, only: Sequence[str] = ()) -> list[Trial]:
    """Try each command at each of its writes, or at so many of them, over the results of an earlier run."""
    commands.make_world(root / "world")
    lines = []
    for name, command in commands.COMMANDS.items():
        if name == "train" or (only and name not in only):  # safetensors writes by itself
            continue
        old = root / "old"
        shutil.rmtree(old, ignore_errors=True)
        assert command(root / "world", old)[0] == 0
        with _counting(root / "out", sys.maxsize) as disk:
            _again(command, root)
        new, writes = commands.contents(root / "out"), disk.writes
        step = 1 if most is None else max(1, writes // most)
        lines += [Trial(name, f"write {at}", _tried(command, root, at, new)) for at in range(1, writes + 1, step)]
    return lines


def _again(command: commands.Command, root: Path) -> tuple[int, str]:
    shutil.rmtree(root / "out", ignore_errors=True)
    shutil.copytree(root / "old", root / "out")
    return command(root / "world", root / "out", again=True)


def _tried(command: commands.Command, root: Path, at: int, new: dict[str, bytes]) -> str:
    with _counting(root / "out", at):
        code, said = _again(command, root)
    old, left = commands.contents(root / "old"), commands.contents(root / "out")
    told = [line for line in said.splitlines() if line.startswith(("failed:", "error:"))]
    if code != 1 or len(told) != 1 or "no space left" not in told[0]:
        return f"exit {code}: {said.strip()[-200:]!r}"
    torn = [name for name, data in left.items() if data not in (old.get(name), new.get(name))]
    if torn or (lost := [name for name in old if name not in left]):
        return f"torn {torn}" if torn else f"lost {lost}"
    code, said = command(root / "world", root / "out", again=True)
    if code != 0:
        return f"afterwards exit {code}: {said.strip()[-200:]!r}"
    unequal = [name for name, data in commands.contents(root / "out").items() if data != new.get(name)]
    return f"afterwards unequal {unequal}" if unequal else ", ".join(commands.litter(root / "out"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, help="writes of each command; all by default")
    parser.add_argument("--only", nargs="*", default=(), help="these commands")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return report(full_at_every_write(Path(folder), most=given.most, only=given.only), "full disks") > 0


if __name__ == "__main__":
    sys.exit(main())
