"""All of one machine: one process per GPU, or several on the CPU, each replaced if it dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from wsl.config import LocalizeConfig, RuntimeConfig
from wsl.errors import RunError
from wsl.inference.shards.engines.outcomes import sendable
from wsl.inference.shards.receipt import Receipt

_ATTEMPTS = 3


@dataclass(frozen=True)
class LocalEngine:
    """Runs shards in one process for each of the `environments`, the variables with which the process is started.

    With a single empty environment everything runs in this process. If a process dies, its current shard is tried again
    by a new one.

    >>> [one.shard for one in LocalEngine().run(lambda shard: Receipt(shard, 1, 1, 0, 1.0), [3, 4])]
    [3, 4]
    """

    environments: Sequence[Mapping[str, str]] = ({},)

    @classmethod
    def from_config(cls, config: LocalizeConfig) -> LocalEngine:
        """One process per GPU if the device leaves the choice, else the number in the settings."""
        wanted = config.sharding.processes
        gpus = _gpus() if config.runtime.device in ("auto", "cuda") else []
        if gpus:
            chosen = [gpus[number % len(gpus)] for number in range(wanted or len(gpus))]
            return cls([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in chosen] if len(chosen) > 1 else ({},))
        if wanted is None or wanted == 1:
            return cls()
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // wanted))
        return cls([{"OMP_NUM_THREADS": threads}] * wanted)

    def machine(self, runtime: RuntimeConfig) -> None:
        """This one."""

    def supply(self) -> None:
        """Threads of the workers."""

    def share(self, shards: Sequence[int]) -> Sequence[int]:
        """All of them."""
        return shards

    def run(self, process_shard: Callable[[int], Receipt], shards: Sequence[int]) -> Iterator[Receipt]:
        """The receipts of all shards as they are done.

        Raises:
            RunError: a shard ended three processes; raised after the other shards are done.
        """
        if list(self.environments) == [{}]:
            yield from map(process_shard, shards)
            return
        board = _Board(shards)
        work = pickle.dumps(process_shard)
        workers = [_Process(work, environment, board) for environment in self.environments[: len(shards)]]
        try:
            for worker in workers:
                worker.start()
            yield from board.receipts()
        finally:
            board.stop(len(workers))
            for worker in workers:
                worker.end()


class _Board:
    """The shards to do and their results, shared by the threads that each supervise a process."""

    def __init__(self, shards: Sequence[int]) -> None:
        self._shards: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Receipt | BaseException | int] = queue.SimpleQueue()
        self._attempts: Counter[int] = Counter()
        self._open = len(shards)
        for shard in shards:
            self._shards.put(shard)

    def next(self) -> int | None:
        return self._shards.get()

    def put(self, result: Receipt | BaseException) -> None:
        self._results.put(result)

    def died(self, shard: int, code: int | None) -> None:
        self._attempts[shard] += 1
        if self._attempts[shard] < _ATTEMPTS:
            self._shards.put(shard)
        else:
            self._results.put(RunError(f"shard {shard} ended its process {_ATTEMPTS} times (exit code {code})"))

    def receipts(self) -> Iterator[Receipt]:
        lost: list[RunError] = []
        while self._open:
            try:
                result = self._results.get(timeout=1)  # on Windows, Ctrl-C is only handled between waits
            except queue.Empty:
                continue
            self._open -= 1
            if isinstance(result, Receipt):
                yield result
            elif isinstance(result, RunError):
                lost.append(result)
            elif isinstance(result, BaseException):
                raise result
        if lost:
            raise RunError(f"{lost[0]}, {len(lost)} such shards in all: the others are done, run it again for these")

    def stop(self, workers: int) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._shards.get_nowait()
        for _ in range(workers):
            self._shards.put(None)


class _Process:
    """One process, and the thread that gives it shards and restarts it if it dies."""

    def __init__(self, work: bytes, environment: Mapping[str, str], board: _Board) -> None:
        self._work, self._environment, self._board = work, environment, board
        self._ending = False
        self._process: Any = None
        self._thread = threading.Thread(target=self._look_after, name="wsl-shards", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending = True
        if self._process is not None:
            self._process.kill()  # an unfinished shard leaves only a temporary file
        self._thread.join()

    def _look_after(self) -> None:
        connection: Connection | None = None
        try:
            while not self._ending and (shard := self._board.next()) is not None:
                if connection is None:
                    connection = self._launch()
                try:
                    connection.send(shard)
                    self._board.put(connection.recv())
                except (EOFError, OSError):
                    connection.close()
                    connection = None
                    self._process.join()
                    self._board.died(shard, self._process.exitcode)
        except BaseException as error:  # raised where receipts are read
            self._board.put(error)
        finally:
            if connection is not None:
                connection.close()

    def _launch(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._work, dict(self._environment)), daemon=True)
        self._process.start()
        theirs.close()
        if self._ending:
            self._process.kill()
        return ours


def _serve(connection: Connection, work: bytes, environment: dict[str, str]) -> None:
    """Process shards on request; the entry point of a new process."""
    os.environ.update(environment)  # before torch is loaded, with the work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the main process
    process_shard = pickle.loads(work)  # noqa: S301 - of our own first process
    with contextlib.suppress(EOFError, OSError):  # it has gone
        while True:
            shard = connection.recv()
            try:
                receipt = process_shard(shard)
            except BaseException as error:
                connection.send(sendable(error))
            else:
                connection.send(receipt)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as named in the variable CUDA_VISIBLE_DEVICES."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [name.strip() for name in named.split(",")][:count] if named else list(map(str, range(count)))
