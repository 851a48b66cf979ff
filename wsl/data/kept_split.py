"""The validation images that a run held out of a data set without a validation split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from wsl.checkpoints import run_folder
from wsl.config import DataConfig
from wsl.documents import guarded, load_json
from wsl.errors import UserError
from wsl.formats.localizations import RECORD

_EXPECTED = "the settings of wsl-train or wsl-localize"


def as_trained(data: DataConfig, weights: str | Path) -> DataConfig:
    """The settings of a data set, divided as in the training of a run unless they already say how.

    They are unchanged if ``weights`` is not a run, the run held out no images, or it was trained on a data set of
    another name, whose splits do not apply here. A data set that was moved keeps its name.

    Raises:
        UserError: the settings of the run cannot be read.

    >>> as_trained(DataConfig(data=Path("photos")), "resnet50").val_fraction is None
    True
    """
    folder = run_folder(weights)
    return data if folder is None else _with_record(data, folder / "config.json")


def as_localized(data: DataConfig, results: Path) -> DataConfig:
    """The settings of a data set, divided as for the localizations in a folder, or in the folder of a file."""
    folder = results if results.is_dir() else results.parent
    return _with_record(data, folder / RECORD)


class _Made(NamedTuple):
    """A data set, and how it was divided."""

    data: str
    fraction: float
    seed: int


def _with_record(data: DataConfig, file: Path) -> DataConfig:
    if data.val_fraction is not None or not file.is_file():
        return data
    recorded = _recorded(file)
    if recorded is None or Path(recorded.data).absolute().name != data.data.absolute().name:
        return data
    return replace(data, val_fraction=recorded.fraction, split_seed=recorded.seed)


@guarded(_EXPECTED)
def _recorded(file: Path) -> _Made | None:
    document = load_json(file, _EXPECTED)
    if not isinstance(document, dict):
        raise UserError(f"{file}: not a JSON object; expected {_EXPECTED}")
    data = document.get("data")
    if not isinstance(data, dict) or data.get("val_fraction") is None:
        return None
    return _Made(str(data.get("data", "")), data["val_fraction"], data.get("split_seed", 0))
