"""Checks whether a run may start or continue in a folder, without loading torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsl import config
from wsl.config import TrainConfig
from wsl.documents import read_text
from wsl.errors import UserError
from wsl.files import check_folder, write_text

CONFIG = "config.json"
# The files of a finished run that other folders have too, and that a training would replace.
_REPLACED = ("README.md", "model.safetensors", "classes.json", "confusions.json")
# Settings that may change when a run is resumed: where and how it runs, but not what its epochs compute.
_FREE = (
    "out",
    "runtime",
    "resume",
    "overwrite",
    "compile",
    "checkpointing",
    "patience",
    "save_every",
    "tensorboard",
    "track",
    "download",
    "probing",
    "decoding",
    "detecting",
)


def check_run(settings: TrainConfig) -> None:
    """Check that `settings` may start a run in their folder, or continue the run that is there.

    Raises:
        UserError: the folder holds another run that may not be overwritten, or files of the same names as those of a
            run; with ``resume``, it holds no run, or a setting that affects the result differs.
    """
    folder = settings.out
    check_folder(folder, "the run")
    if settings.resume and settings.overwrite:
        raise UserError("--resume continues a run and --overwrite starts it again: expected one of them")
    if settings.resume:
        _check_same(settings)
    elif not settings.overwrite:
        _check_free(folder)


def _check_free(folder: Path) -> None:
    if (folder / CONFIG).exists():
        raise UserError(f"{folder} holds a run: --resume continues it, --overwrite starts it again")
    taken = next((name for name in _REPLACED if (folder / name).exists()), None)
    if taken is not None:
        raise UserError(
            f"{folder} holds no run, but a {taken}, which a training would replace: expected another --out, or "
            "--overwrite"
        )


def recorded(folder: Path, instead: str) -> TrainConfig | None:
    """The settings that a run was trained with; None if its folder has none. `instead` is the advice if it is damaged.

    Raises:
        UserError: the file is malformed.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        return config.from_json(read_text(path, "the settings of a training"), TrainConfig)
    except UserError as error:
        raise UserError(f"{path} cannot be read ({error}): {instead}") from error


def record(folder: Path, **settings: Any) -> None:
    """Update the settings in a run's folder, and the command in its README.md, after a part was trained later.

    Raises:
        UserError: the existing file is malformed.
    """
    from wsl.training.run_readme import command  # loads torch, which checks do not need

    before = recorded(folder, "start the run again with --overwrite")
    assert before is not None
    after = dataclasses.replace(before, **settings)
    write_text(folder / CONFIG, config.to_json(after) + "\n")
    readme = folder / "README.md"
    if readme.is_file():
        text = read_text(readme, "the README of a run")
        write_text(readme, text.replace(command(before), command(after), 1))


def to_resume(folder: Path) -> TrainConfig:
    """The settings of the run in a folder.

    Raises:
        UserError: there is none, or its settings are malformed.
    """
    before = recorded(folder, "--overwrite starts the run again")
    if before is None:
        raise UserError(f"no run to resume in {folder}: expected its config.json; leave out --resume to start a run")
    return before


def _check_same(settings: TrainConfig) -> None:
    before = to_resume(settings.out)
    for name, now, then in _differences(json.loads(config.to_json(settings)), json.loads(config.to_json(before))):
        what = "as many or more" if name == "--epochs" else "the same"
        raise UserError(f"--resume with {name} {now}: the run in {settings.out} began with {then}; give {what}")


def _differences(now: Any, then: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(now, dict):
        for key in now:
            if key not in _FREE:
                yield from _differences(now[key], then[key], key)
    elif now != then and not (name == "epochs" and now > then):  # a run may be extended
        yield f"--{name.replace('_', '-')}", now, then
