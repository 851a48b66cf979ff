"""Damaged inputs of every reader: each ends as one line or as what can be used, in 10 seconds and 2 GiB.

    python tests/soak/fuzz.py 50000 --seed 0

Readers run in a process of their own, which is watched: what ends it, hangs, leaves the folder or runs code is wrong.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import mutation
import targets as readers

SECONDS, GIB = 10, 1 << 30
RUNS_CODE = (
    *("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn"),
    *("ctypes.dlopen", "socket.connect", "pickle.find_class"),
)
INPUTS_A_PROCESS = 20_000


class WrongError(BaseException):
    """What no reader may do; it passes by every ``except Exception``."""


def _audit(root: Path, state: dict[str, Any]) -> None:
    """Refuse what is written outside a folder, and what starts other code, while a reader is at work."""

    def see(event: str, args: tuple[Any, ...]) -> None:
        if not state["active"]:
            return
        if event in RUNS_CODE and not (event == "pickle.find_class" and str(args[0]).startswith("torch")):
            raise WrongError(f"{event} {args!r:.200}")
        if event == "open" and isinstance(args[0], (str, bytes)) and isinstance(args[2], int):
            name = os.path.realpath(os.fsdecode(args[0]))
            if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not name.startswith((str(root), "/dev/null")):
                raise WrongError(f"wrote {name}")

    sys.addaudithook(see)


def judge(target: readers.Target, folder: Path) -> str:
    """What a reader made of a folder: "read", "refused", or what is wrong."""
    from wsl.errors import RunError, UserError

    def late(*_: object) -> None:
        raise WrongError(f"took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        target.read(folder)
    except (UserError, RunError) as error:
        return "refused" if len(str(error).splitlines()) <= 1 else f"several lines: {str(error)[:200]!r}"
    except WrongError as error:
        return f"WRONG {error}"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:160]!r} at {Path(last.filename).name}:{last.lineno}"
    finally:
        signal.alarm(0)
    return "read"


def _work(seed: int, names: list[str], count: int, results: Any, kept: Path, models: bool) -> None:
    import resource

    logging_off()
    with tempfile.TemporaryDirectory(prefix="wsl-soak-") as temporary:
        root, state = Path(temporary).resolve(), {"active": False}
        tempfile.tempdir = str(root)
        known = {target.name: target for target in readers.targets(models=models)}
        whole = {}
        for name in names:
            (root / "whole" / name).mkdir(parents=True)
            known[name].make(root / "whole" / name)
            whole[name] = sorted(known[name].damaged(root / "whole" / name))
            shutil.copytree(root / "whole" / name, root / "work")
            known[name].read(root / "work")  # loads what it needs, and must be fine
            shutil.rmtree(root / "work")
        sys.dont_write_bytecode = True  # what a reader loads late is not written beside it, which would look wrong
        _audit(root, state)
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * GIB, used + 2 * GIB))
        for number in range(count):
            rng = random.Random(zlib.crc32(f"{seed} {number}".encode()))
            name = rng.choice(names)
            shutil.rmtree(root / "work", ignore_errors=True)
            shutil.copytree(root / "whole" / name, root / "work")
            file = rng.choice(whole[name]).relative_to(root / "whole" / name)
            data = mutation.damaged((root / "whole" / name / file).read_bytes(), rng)
            (root / "work" / file).write_bytes(data)
            results.send(("at", seed, number, name))
            started = time.perf_counter()
            state["active"] = True
            said = judge(known[name], root / "work")
            state["active"] = False
            if said not in ("read", "refused"):
                shutil.copytree(root / "work", kept / f"{seed}-{number}", dirs_exist_ok=True)
            results.send(("said", name, said, time.perf_counter() - started))
        results.send(("end", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))


def logging_off() -> None:
    """Warnings of readers are part of what they do, and nobody reads 50,000."""
    import logging

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # decoders write to it by themselves


def fuzz(
    inputs: int, seed: int, kept: Path, *, models: bool = True, only: str = ""
) -> dict[str, collections.Counter[str]]:
    """What became of so many inputs, by reader; inputs that ended wrongly are kept."""
    names = [target.name for target in readers.targets(models=models) if only in target.name]
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    context = multiprocessing.get_context("spawn")
    done = batch = peak = 0
    while done < inputs:
        count = min(INPUTS_A_PROCESS, inputs - done)
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(seed * 100_003 + batch, names, count, theirs, kept, models))
        process.start()
        theirs.close()
        at = ("", 0, 0, "start")
        while True:
            try:
                message = ours.recv() if ours.poll(180) else None
            except EOFError:
                outcomes[at[3]][f"the process ended at input {at[1]}-{at[2]}"] += 1
                break
            if message is None:
                outcomes[at[3]][f"hung at input {at[1]}-{at[2]}"] += 1
                process.kill()
                break
            if message[0] == "at":
                at = message
            elif message[0] == "said":
                outcomes[message[1]][message[2]] += 1
                done += 1
            else:
                peak = max(peak, message[1])
                break
        process.join(30)
        batch += 1
        if batch > 4 * (inputs // INPUTS_A_PROCESS + 1):
            break
    outcomes["(process)"][f"peak {peak} MiB"] = 1
    return outcomes


def report(outcomes: dict[str, collections.Counter[str]]) -> int:
    """Print what became of the inputs; the number that ended wrongly."""
    wrong = 0
    for name, said in sorted(outcomes.items()):
        other = {what: count for what, count in said.items() if what not in ("read", "refused")}
        if name == "(process)":
            print(f"memory: {', '.join(said)}")
            continue
        wrong += sum(other.values())
        print(f"{name:40} {said['read']:8} read {said['refused']:8} refused {sum(other.values()):6} wrong")
        for what, count in sorted(other.items(), key=lambda one: -one[1])[:6]:
            print(f"    {count} x {what}")
    total = sum(sum(said.values()) for name, said in outcomes.items() if name != "(process)")
    print(f"{total} inputs, {wrong} wrong")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=int, nargs="?", default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "wsl-soak-wrong")
    parser.add_argument("--only", default="", help="readers with this in their name")
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    print(f"{given.inputs} inputs, seed {given.seed}")
    wrong = report(fuzz(given.inputs, given.seed, given.kept, only=given.only))
    print(f"{time.perf_counter() - started:.0f} s; inputs that ended wrongly are in {given.kept}")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
