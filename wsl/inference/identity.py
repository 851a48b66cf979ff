"""The settings that determine the results of a run, compared with those of existing results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wsl.errors import UserError


def check_identity(earlier: Mapping[str, Any], ours: Mapping[str, Any], place: str) -> None:
    """Check that a run is continued with the settings with which it was begun.

    Raises:
        UserError: a setting differs; the message names the first one.

    >>> check_identity({"pick": {"top_k": 1}}, {"pick": {"top_k": 2}}, "found")
    Traceback (most recent call last):
    wsl.errors.UserError: found was begun with top_k 1, and this run has 2: give the same settings, ...
    """
    before, now = _flat(earlier), _flat(ours)
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            setting = name.rpartition(".")[2]  # flags are named without the group of their settings
            then, this = _shown(before.get(name)), _shown(now.get(name))
            raise UserError(
                f"{place} was begun with {setting} {then}, and this run has {this}: "
                "give the same settings, choose another --out, or start anew with --overwrite"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if len(text) == 64 else text[:80]
