"""Which images a run kept for validation, where its data set has no split for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wsl.checkpoints import run_folder
from wsl.config import DataConfig
from wsl.documents import guarded, load_json
from wsl.errors import UserError
from wsl.formats.localizations import RECORD

_EXPECTED = "the settings of wsl-train or wsl-localize"


def as_trained(data: DataConfig, weights: str | Path) -> DataConfig:
    """The data set divided as in the training of a run, unless its settings say how.

    ``weights`` that are no run, and runs that kept no images, change nothing.

    Raises:
        UserError: the settings of the run cannot be read.

    >>> as_trained(DataConfig(data=Path("photos")), "resnet50").val_fraction is None
    True
    """
    folder = run_folder(weights)
    return data if folder is None else _with_record(data, folder / "config.json")


def as_localized(data: DataConfig, results: Path) -> DataConfig:
    """The same for localizations in a folder, or a file of it, which were made with the images of a run."""
    folder = results if results.is_dir() else results.parent
    return _with_record(data, folder / RECORD)


def _with_record(data: DataConfig, file: Path) -> DataConfig:
    if data.val_fraction is not None or not file.is_file():
        return data
    fraction, seed = _recorded(file)
    return data if fraction is None else replace(data, val_fraction=fraction, split_seed=seed)


@guarded(_EXPECTED)
def _recorded(file: Path) -> tuple[float | None, int]:
    document = load_json(file, _EXPECTED)
    if not isinstance(document, dict):
        raise UserError(f"{file}: not a JSON object; expected {_EXPECTED}")
    data = document.get("data")
    if not isinstance(data, dict) or data.get("val_fraction") is None:
        return None, 0
    return data["val_fraction"], data.get("split_seed", 0)
