"""What was tried on the commands, in processes of their own, and what became of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# A child has none of its parent's threads, and would wait for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import commands


class Trial(NamedTuple):
    """What became of a command; ``wrong`` is empty where it was right."""

    command: str
    situation: str
    wrong: str


class Child:
    """A command in a process of its own, with all that is loaded already; no thread is running here."""

    def __init__(
        self, command: commands.Command, root: Path, out: Path, *, again: bool = False, user: int | None = None
    ) -> None:
        self._answer, answer = multiprocessing.Pipe(duplex=False)
        self._number = os.fork()
        if self._number:
            answer.close()
            return
        try:
            if user is not None:
                os.setuid(user)
            answer.send(command(root, out, again=again))
        finally:
            os._exit(0)

    def wait(self) -> tuple[int, str]:
        """The exit code and what was told to people; -1 where the process ended with neither."""
        try:
            code, said = self._answer.recv()
        except EOFError:
            code, said = -1, "the process ended by itself"
        self._end()
        return code, said

    def kill(self) -> None:
        """End the process where it is."""
        os.kill(self._number, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        self._answer.close()
        os.waitpid(self._number, 0)


def report(trials: Sequence[Trial], what: str, *, by_situation: bool = False) -> int:
    """Print what became of each command; the number that ended wrongly."""

    def group(trial: Trial) -> str:
        return f"{trial.situation:16} {trial.command}" if by_situation else trial.command

    for name in dict.fromkeys(map(group, trials)):
        own = [trial for trial in trials if group(trial) == name]
        wrong = [trial for trial in own if trial.wrong]
        print(f"{name:40} {len(own):5} {what} {len(wrong):4} wrong")
        for trial in wrong[:3]:
            print(f"    {trial.situation}: {trial.wrong[:300]}")
    count = sum(bool(trial.wrong) for trial in trials)
    print(f"{len(trials)} {what}, {count} wrong")
    return count
