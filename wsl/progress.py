"""A progress bar on the standard error stream; silent when that is not a terminal."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.control import Control
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import ControlType
from rich.text import Text

T = TypeVar("T")
Advance = Callable[..., None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Units a second, once they are known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['unit']}/s" if speed else "", style="progress.data.speed")


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
    """A bar for the length of the block; call what it gives with the units done and, if you like, a note.

    >>> with progress("counting", total=2) as advance:
    ...     advance(1, note="loss 0.1")
    """
    if not sys.stderr.isatty():
        # A disabled bar of rich before 14.3 ends in an empty line.
        yield _silent
        return
    columns: list[ProgressColumn | str] = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, unit=unit, note="")

        def advance(count: int = 1, *, note: str | None = None) -> None:
            bar.update(task, advance=count, **({} if note is None else {"note": note}))  # type: ignore[arg-type]

        yield advance


def _silent(count: int = 1, *, note: str | None = None) -> None:
    """Counts nothing."""


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Say on a terminal what is being loaded; the line is erased at the end of the block.

    >>> with loading("resnet50"):
    ...     import math
    """
    if not sys.stderr.isatty():
        with quiet_import():
            yield
        return
    console = Console(stderr=True)
    # A plain line that anything may overwrite: a spinner would hold back the progress bar of a download.
    console.print(Text(f"loading {what} …"), end="\r", no_wrap=True, overflow="ellipsis")
    try:
        with quiet_import():
            yield
    finally:
        console.control(Control((ControlType.ERASE_IN_LINE, 2)))


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Inside, tqdm does not warn that a notebook lacks the widgets of its progress bars, as other libraries import it.

    >>> with quiet_import():
    ...     import math
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        yield


def track(items: Iterable[T], description: str, total: int | None, unit: str = "images") -> Iterator[T]:
    """The items of an iterable, counted in a bar as they are taken.

    >>> list(track([1, 2], "counting", total=2))
    [1, 2]
    """
    with progress(description, total, unit) as advance:
        for item in items:
            yield item
            advance(1)
