"""Signals that end a process, as exceptions that allow cleaning up."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class Stopped(KeyboardInterrupt):
    """The process was asked to end by Slurm, a container or a closed terminal; treated like Ctrl-C.

    ``exit_code`` is the code that a shell reports for the signal.

    >>> Stopped(signal.SIGTERM).exit_code
    143
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.exit_code = 128 + number


class Pending:
    """Whether a signal was received and deferred; call `end` at a suitable moment.

    >>> Pending().requested
    False
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def requested(self) -> bool:
        """Whether the process was asked to end."""
        return self.number is not None

    def end(self) -> NoReturn:
        """End the process as the signal requested.

        Raises:
            KeyboardInterrupt: always; `Stopped` for signals other than Ctrl-C's.
        """
        number, self.number = self.number or signal.SIGTERM, None
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)


@contextlib.contextmanager
def deferred(patience: float = 8.0) -> Iterator[Pending]:
    """Defer Ctrl-C, SIGTERM and SIGHUP inside the block until `Pending.end` is called.

    A second signal is raised immediately, and so is the first one after ``patience`` seconds if `Pending.end` was not
    called by then. In other threads, where no handler can be set, nothing is deferred.

    >>> with contextlib.suppress(Stopped), deferred() as pending:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     asked = pending.requested
    ...     pending.end()
    >>> asked
    True
    """
    pending, timers = Pending(), list[threading.Timer]()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def note(number: int, frame: FrameType | None) -> None:
        if pending.requested:
            pending.end()
        pending.number = number
        timers.append(threading.Timer(patience, signal.raise_signal, [number]))
        timers[-1].daemon = True
        timers[-1].start()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            # Signals that are ignored (`nohup`) or have another handler are left unchanged.
            if before[number] in (signal.SIG_DFL, signal.default_int_handler, _stop):
                signal.signal(number, note)
        yield pending
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)
    if pending.requested:
        pending.end()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the main thread on SIGTERM or SIGHUP inside the block.

    Ignored signals (`nohup`) stay ignored, and in other threads, where no handler can be set, nothing changes.

    >>> with contextlib.suppress(Stopped), stoppable():
    ...     signal.raise_signal(signal.SIGTERM)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            if before[number] is signal.SIG_DFL:
                signal.signal(number, _stop)
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _stop:
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
