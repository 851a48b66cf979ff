"""Which system wrote the results at a path, by what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from wsl.errors import UserError
from wsl.formats.localizations import FILE_NAME, find_localizations
from wsl.formats.score_maps import holds_score_maps
from wsl.formats.voc_results import result_files

PredictionsKind = Literal["localizations", "maps", "coco", "voc"]


def detect_predictions(path: Path) -> PredictionsKind:
    """``localizations`` (ours), ``maps`` (a folder of .npy), ``coco`` (results JSON) or ``voc`` (comp3/comp4 files).

    Raises:
        UserError: nothing is there, or nothing that is known; names what was looked for.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.npy").touch()
    ...     detect_predictions(Path(folder))
    'maps'
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder, expected {_KNOWN}")
    ours = path.name.startswith(FILE_NAME) or path.suffix == ".jsonl" or (path / FILE_NAME).is_file()
    if not ours:
        if path.suffix.lower() == ".json":
            return "coco"
        if result_files(path):
            return "voc"
        # An interrupted run of ours has maps too; it is told below what it left.
        if path.is_dir() and holds_score_maps(path) and not (path / f"{FILE_NAME}.partial").is_file():
            return "maps"
        if path.is_file():
            raise UserError(f"{path}: results of an unknown kind, expected {_KNOWN}")
    find_localizations(path)
    return "localizations"


_KNOWN = (
    f"{FILE_NAME} or its folder, a folder of <image id>.npy score maps, a COCO results .json, or the VOC devkit's "
    "comp3_det_<split>_<class>.txt"
)
