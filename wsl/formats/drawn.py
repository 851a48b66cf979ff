"""How stored localizations were made, from the settings stored beside them: their split, and how boxes were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsl.config import BoxConfig
from wsl.documents import load_json, located, reading
from wsl.errors import UserError
from wsl.formats.localizations import RECORD
from wsl.formats.shards.storage import is_remote

_EXPECTED = "what wsl-localize writes"


def localize_settings(folder: Path) -> dict[str, Any]:
    """The contents of ``localize.json`` in a folder of results.

    They are empty if another system made the results, or if the folder is in an object store.

    Raises:
        UserError: the file cannot be read.

    >>> localize_settings(Path("no such folder"))
    {}
    """
    path = folder / RECORD
    if is_remote(folder) or not path.is_file():
        return {}
    document = load_json(path, _EXPECTED)
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a JSON object: expected {_EXPECTED}")
    return document


def localized_split(settings: Mapping[str, Any]) -> str | None:
    """The split of a data set that was localized, from `localize_settings`; None if the images were given as files.

    >>> localized_split({"data": {"data": "photos"}, "split": "train"})
    'train'
    """
    split = settings.get("split")
    return split if settings.get("data") and isinstance(split, str) else None


def drawn_boxes(settings: Mapping[str, Any], folder: Path) -> BoxConfig:
    """The settings with which boxes were drawn, from the `localize_settings` of a folder.

    Raises:
        UserError: they are not valid settings.

    >>> drawn_boxes({"boxes": {"threshold": 0.5}}, Path("found")).threshold
    0.5
    """
    boxes = settings.get("boxes") or {}
    with located(folder / RECORD), reading(folder / RECORD, "localize's settings"):
        return BoxConfig(**{key: value for key, value in boxes.items() if key in BoxConfig.__dataclass_fields__})
