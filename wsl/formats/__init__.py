"""Readers and writers of files of localizations: those of `wsl-localize`, and those of other systems."""

from wsl.formats.localizations import (
    LocalizationWriter,
    count_localizations,
    find_localizations,
    read_localizations,
    results_folder,
)
from wsl.formats.map_shards import MapStore
from wsl.formats.predictions import READERS, Numbers, Pairs, Reader, Split, detect_predictions

__all__ = [
    "READERS",
    "LocalizationWriter",
    "MapStore",
    "Numbers",
    "Pairs",
    "Reader",
    "Split",
    "count_localizations",
    "detect_predictions",
    "find_localizations",
    "read_localizations",
    "results_folder",
]
