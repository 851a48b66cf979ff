"""Settings that the command line reads from files: ``--config``, or the run to ``--resume``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from wsl import config as settings
from wsl.checkpoints import POOLINGS
from wsl.cli.flags import TrainFlags
from wsl.errors import UserError
from wsl.files import UniqueNames
from wsl.training.starting import settings_in

_RUN = "config.json"


def train_defaults(args: Sequence[str]) -> TrainFlags | None:
    """The settings of a training that its flags override: from the file ``--config``, or from the run to resume.

    Raises:
        UserError: the file does not exist, or contains an unknown setting.

    >>> train_defaults(["--data", "photos"]) is None
    True
    """
    given = _value(args, "--config")
    if given is not None:
        return _from_file(Path(given))
    out = _value(args, "--out")
    if "--resume" not in args or out is None:
        return None
    runs = [_from_file(file) for file in _runs(Path(out))]
    if not runs:
        return None
    poolings = _poolings(Path(out)) or tuple(run.model.pooling[0] for run in runs)
    return dataclasses.replace(runs[0], out=Path(out), model=dataclasses.replace(runs[0].model, pooling=poolings))


def _poolings(out: Path) -> tuple[str, ...]:
    """The poolings of a training of several runs, also of those that it has not begun; empty for a single run."""
    file = out / POOLINGS
    if (out / _RUN).is_file() or not file.is_file():
        return ()
    from wsl.documents import load_json

    names = load_json(file, "a list of poolings")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file} is not a list of poolings: remove it, and name them with --pooling")
    return tuple(names)


def _runs(out: Path) -> list[Path]:
    """The settings files of the run in a folder, or of the runs that one command started for several poolings."""
    if (out / _RUN).is_file():
        return [out / _RUN]
    files = sorted(out.glob(f"*/{_RUN}"))
    return [file for file in files if UniqueNames()(_from_file(file).model.pooling[0]) == file.parent.name]


def _value(args: Sequence[str], flag: str) -> str | None:
    """The value of a flag, given as the next argument or after an equals sign; the last one counts."""
    found = None
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            found = args[i + 1]
        elif arg.startswith(f"{flag}="):
            found = arg.partition("=")[2]
    return found


def _from_file(file: Path) -> TrainFlags:
    values = settings_in(file)
    model = values.get("model")
    if isinstance(model, dict) and isinstance(model.get("pooling"), str):
        values["model"] = {**model, "pooling": [model["pooling"]]}
    try:
        return settings.from_json(json.dumps(values), TrainFlags)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
