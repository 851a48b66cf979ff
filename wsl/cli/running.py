"""From a command line to an exit code: flags, logging, one line for each failure."""

from __future__ import annotations

import errno
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import tyro

from wsl.errors import RunError, UserError
from wsl.interrupts import Stopped, stoppable

C = TypeVar("C")
log = logging.getLogger("wsl")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has to say: a text for people, and the same as plain values for machines."""

    text: str
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Command(Generic[C]):
    """A command's settings, and how its outcome is printed."""

    settings: C
    json: bool = False
    """Print the outcome as one JSON object instead of text."""


def run(work: Callable[[C], Outcome], kind: Any, description: str, args: Sequence[str] | None) -> int:
    """Parse, work, print, and turn every failure into one line and an exit code: 2 the user's, 1 the run's."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        style = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
        command = tyro.cli(Command[kind], description=description, args=args, config=style)
        with stoppable():
            outcome = work(command.settings)
        print(json.dumps(outcome.record, ensure_ascii=False, allow_nan=False) if command.json else outcome.text)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        return 1
    except OSError as error:
        print(f"failed: {_explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("stopped: what was finished is kept", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Stopped) else 130
    return 0


def _explain(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{where}; what was written before is whole, free some space and run it again"
    if isinstance(error, PermissionError):
        return f"not allowed to use {error.filename or 'a file'}: check who may write there"
    return f"{error.strerror or error}{where}"
