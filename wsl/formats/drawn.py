"""How the boxes of stored localizations were drawn, from the settings stored beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsl.config import BoxConfig
from wsl.documents import load_json, located, reading
from wsl.errors import UserError
from wsl.formats.localizations import RECORD

_EXPECTED = "what wsl-localize writes"


def localize_settings(folder: Path) -> dict[str, Any]:
    """The contents of ``localize.json`` in a folder of results; empty if another system made the results.

    Raises:
        UserError: the file cannot be read.

    >>> localize_settings(Path("no such folder"))
    {}
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    document = load_json(path, _EXPECTED)
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a JSON object: expected {_EXPECTED}")
    return document


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
