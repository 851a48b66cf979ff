"""The record of a run of `wsl-localize`, from which it can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsl.config import LocalizeConfig
from wsl.errors import UserError
from wsl.files import write_text
from wsl.formats.localizations import FILE_NAME, RECORD, partial_file

if TYPE_CHECKING:
    from wsl.inference.opening import OpenedModel


def check_vacant(config: LocalizeConfig) -> None:
    """Check that no existing results would be overwritten unintentionally.

    Raises:
        UserError: there are results, and neither --resume nor --overwrite is given.
    """
    partial = partial_file(config.out)
    # A run without results, for example because no image could be read, leaves an empty file.
    kept = partial.exists() and partial.stat().st_size > 0
    there = config.out / FILE_NAME if (config.out / FILE_NAME).exists() else partial if kept else None
    if there is not None and not (config.resume or config.overwrite):
        raise UserError(
            f"{there} exists: --resume continues the run that wrote it, --overwrite replaces it, or choose another "
            "--out"
        )


def images_digest(images: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """A hash of a list of images, given as (path, id, labels).

    >>> images_digest([("a.jpg", "a", ["dog"])]) == images_digest([("a.jpg", "a", ["cat"])])
    False
    """
    digest = hashlib.sha256()
    for path, id, labels in images:
        digest.update("\0".join((path, id, *labels, "\n")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def write_record(config: LocalizeConfig, opened: OpenedModel, **more: Any) -> None:
    """Write the settings, with defaults resolved."""
    write_text(config.out / RECORD, json.dumps(opened.record(**more), indent=2) + "\n")


def read_record(folder: Path) -> Mapping[str, Any]:
    """The record of an earlier run.

    Raises:
        UserError: the file does not exist, or was not written by `write_record`.
    """
    file = folder / RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(record["identity"], dict):
            raise TypeError("identity")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} does not say how the results beside it were made ({type(error).__name__}: {error}), so that they "
            "cannot be continued: start again with --overwrite"
        ) from error
    return dict(record)
