"""Settings that a training takes from a file, or from the finished run from which it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsl.checkpoints import read_recipe
from wsl.config import ModelConfig, TrainConfig
from wsl.config.checks import kinds
from wsl.config.keywords import groups_of
from wsl.errors import UserError, nearest

# Settings that apply to one call only, and are not taken over from a file.
_ONCE = ("resume", "overwrite")


def settings_in(file: str | Path) -> dict[str, Any]:
    """The settings in a JSON file, some or all of those of a `TrainConfig`, as it nests them.

    Raises:
        UserError: the file does not exist, or contains an unknown setting; the message names the group to which it
            belongs, or the nearest known name.
    """
    from wsl.documents import load_json  # imports the parsers of all kinds of documents, which --help does not need

    expected = "settings of wsl-train, as config.json of a run has them"
    values = load_json(Path(file), expected)
    if not isinstance(values, dict):
        raise UserError(f"{file} is not a JSON object: expected {expected}")
    _check_names(values, TrainConfig, str(file))
    return {name: value for name, value in values.items() if name not in _ONCE}


def keywords_in(file: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a JSON file that differ from their defaults, by name and without their groups.

    Raises:
        UserError: as for `settings_in`, or a group of settings is not a JSON object.
    """
    found: dict[str, Any] = {}
    groups = groups_of(TrainConfig)
    for name, value in settings_in(file).items():
        if name in groups and not isinstance(value, dict):
            raise UserError(f"{file}: {name} is {value!r:.80}, expected a JSON object of settings")
        own = value if name in groups else {name: value}
        defaults = {one.name: one.default for one in dataclasses.fields(groups.get(name, TrainConfig))}
        found |= {key: one for key, one in own.items() if _frozen(one) != defaults[key]}
    return found


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def settings_of(run: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which a training starts from a finished run, by name: network, preprocessing and weights.

    Raises:
        UserError: there is no such run, it is a whole classifier, or other weights are `given`.
    """
    if "model" in given or given.get("weights", ModelConfig.weights) != ModelConfig.weights:
        raise UserError("--from uses the weights of a run, and --weights gives others: expected one of the two")
    recipe = read_recipe(run)
    if recipe.layer:
        raise UserError(f"{run} is a whole classifier, not a run of wsl-train: expected --backbone and --weights")
    network = {one.name: getattr(recipe, one.name) for one in dataclasses.fields(ModelConfig) if one.name != "weights"}
    return {**network, "weights": Path(run).as_posix(), "preprocessing": recipe.preprocessing}


def _check_names(values: dict[str, Any], kind: type, where: str) -> None:
    groups = groups_of(kind)
    known = {one.name for one in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in known:
            group = next((group for group, inner in groups.items() if name in kinds(inner)), None)
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"expected some of {', '.join(sorted(known))}"
            hint = f"it belongs to {group!r}" if group is not None else hint
            raise UserError(f"{where}: unknown setting {name!r}: {hint}")
        if name in groups and isinstance(value, dict):
            _check_names(value, groups[name], f"{where}: {name}")
