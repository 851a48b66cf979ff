"""What a run of `wsl-localize` writes down of itself, and by which it goes on after a stop."""

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
    """Check that no results are overwritten which nobody gave up.

    Raises:
        UserError: there are some, and neither --resume nor --overwrite.
    """
    partial = partial_file(config.out)
    # A run that found nothing, as where no image could be read, leaves an empty one.
    kept = partial.exists() and partial.stat().st_size > 0
    there = config.out / FILE_NAME if (config.out / FILE_NAME).exists() else partial if kept else None
    if there is not None and not (config.resume or config.overwrite):
        raise UserError(
            f"{there} exists: --resume goes on with the run that wrote it, --overwrite replaces it, or choose another "
            "--out"
        )


def images_digest(images: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """What tells one list of images from another, given as (path, id, labels).

    >>> images_digest([("a.jpg", "a", ["dog"])]) == images_digest([("a.jpg", "a", ["cat"])])
    False
    """
    digest = hashlib.sha256()
    for path, id, labels in images:
        digest.update("\0".join((path, id, *labels, "\n")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def write_record(config: LocalizeConfig, opened: OpenedModel, **more: Any) -> None:
    """Write the settings down, with what was left open filled in."""
    write_text(config.out / RECORD, json.dumps(opened.record(**more), indent=2) + "\n")


def read_record(folder: Path) -> Mapping[str, Any]:
    """What the run that was stopped wrote down.

    Raises:
        UserError: there is no such file, or not what `write_record` writes.
    """
    file = folder / RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(record["identity"], dict):
            raise TypeError("identity")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} does not say how the results beside it were made ({type(error).__name__}: {error}), so that they "
            "cannot be gone on with: start anew with --overwrite"
        ) from error
    return dict(record)
