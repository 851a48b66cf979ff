"""Running of commands: parse flags, set up logging, turn failures into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from wsl.cli.flag_checks import check_flags
from wsl.errors import RunError, UserError, causes, printable
from wsl.interrupts import Stopped, stoppable
from wsl.limits import allowing
from wsl.version import __version__

C = TypeVar("C")
log = logging.getLogger("wsl")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The output of a command: a text for people, and the same as plain values for ``--json``."""

    text: str
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Command(Generic[C]):
    """The settings of a command, and the flags that all commands share."""

    # With an empty name, the headings of --help are only those of the groups of settings.
    settings: Annotated[C, tyro.conf.arg(name="")]
    json: bool = False
    """Print the outcome as one JSON object instead of text."""
    max_pixels: int | None = None
    """Accept images of up to this many pixels, and files that state such sizes; None is 200,000,000."""
    verbose: bool = False
    """Also print the traceback of an error."""
    version: bool = False
    """Print the version and exit."""


def run(
    work: Callable[[C], Outcome | None],
    kind: Any,
    description: str,
    args: Sequence[str] | None,
    *,
    first: str = "",
    stopped: str = "stopped: what was finished is kept",
    defaults: Callable[[Sequence[str]], C | None] = lambda args: None,
) -> int:
    """Parse the arguments, do the work, print the outcome if there is one, and return the exit code.

    Every failure becomes one line; the exit code is 2 for a user's mistake and 1 for a failed run. ``first`` is printed
    if there are no arguments, ``stopped`` if Ctrl-C or a signal ends the command, and ``defaults`` gives the settings
    from files named in the arguments.
    """
    _set_up_logging()
    args = sys.argv[1:] if args is None else args
    if "--version" in args:
        print(f"wsl-toolkit {__version__}")
        return 0
    if first and not args:
        print(first, file=sys.stderr)
        return 2
    verbose = False
    try:
        known = defaults(args)
        check_flags(args, Command[kind], required=known is None, example=_command(first))
        command = _parsed(args, kind, description, known)
        verbose = command.verbose
        with stoppable(), allowing(command.max_pixels):
            outcome = work(command.settings)
        if outcome is not None:
            print(json.dumps(outcome.record, ensure_ascii=False, allow_nan=False) if command.json else outcome.text)
    except BrokenPipeError:  # the reader of the output (head, less) has exited
        return 1
    except (UserError, RunError, OSError, UnicodeEncodeError, MemoryError) as error:
        if verbose:
            traceback.print_exception(error)
        code, line = _explain(error)
        _tell(line)
        return code
    except KeyboardInterrupt as stop:
        _tell(stopped)
        return stop.exit_code if isinstance(stop, Stopped) else 130
    return 0


def _command(first: str) -> str:
    """The command in a usage hint, which is its second line."""
    return "".join(first.splitlines()[1:2]).strip()


def _parsed(args: Sequence[str], kind: Any, description: str, known: C | None) -> Command[C]:
    """The parsed arguments, with the settings `known` as their defaults.

    Raises:
        UserError: an argument is refused.
    """
    style: tuple[Any, ...] = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    given: dict[str, Any] = {}
    if known is not None:  # a flag may repeat or negate a setting of the file
        style, given = style[:1], {"default": Command(settings=known)}
    name = Path(sys.argv[0]).name  # tyro would print the path with which the command was started
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            command: Command[C] = tyro.cli(
                Command[kind], prog=name, description=description, args=args, config=style, **given
            )
        return command
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        # The error of a setting because of which tyro exits.
        error = next((one for one in causes(stop) if isinstance(one, UserError)), None)
        # A box of several lines, of which none but the text is kept.
        text = " ".join(re.sub("[\u2500-\u257f]", " ", told.getvalue()).split())
        raise UserError(text if error is None else str(error)) from stop


def _tell(line: str) -> None:
    """Print a line to stderr, unless its reader has exited; the exit code says the same."""
    with contextlib.suppress(BrokenPipeError):
        print(printable(line), file=sys.stderr, flush=True)


def _explain(error: Exception) -> tuple[int, str]:
    """The exit code and the message of an error."""
    if isinstance(error, UserError):
        return 2, f"error: {error}"
    if isinstance(error, UnicodeEncodeError):  # a name from another encoding, in a file's JSON or on the disk
        around = error.object[max(error.start - 20, 0) : error.end + 20]
        return 2, f"error: {around!r} cannot be written as text: rename the file or the class"
    if isinstance(error, MemoryError):
        return 1, "failed: not enough memory: use smaller images or a smaller batch"
    return 1, f"failed: {_explain_system(error) if isinstance(error, OSError) else error}"


def _set_up_logging() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may contain what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        if type(handler.formatter) is logging.Formatter and isinstance(handler, logging.StreamHandler):
            handler.setFormatter(_Printable())
        if isinstance(handler.formatter, _Printable):
            handler.filters = [_Once()]  # a new command begins
    log.setLevel(logging.INFO)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


class _Once:
    """A filter for warnings that were printed before: several trainings, or two readings of one data set, repeat them.

    It remembers the latest hundred, because there may be one for each of millions of images.
    """

    def __init__(self) -> None:
        self._printed: deque[str] = deque(maxlen=100)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        new = text not in self._printed
        if new:
            self._printed.append(text)
        return new


def _explain_system(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{where}; files written before are complete: free some space and run it again"
    if isinstance(error, PermissionError):
        return f"not allowed to use {error.filename or 'a file'}: check its permissions"
    return f"{error.strerror or error}{where}"
