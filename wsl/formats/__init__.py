"""Readers and writers of files that carry localizations: ours, and those of other systems."""

from wsl.formats.coco_results import read_coco_results
from wsl.formats.kinds import PredictionsKind, detect_predictions
from wsl.formats.localizations import LocalizationWriter, find_localizations, read_localizations
from wsl.formats.map_shards import MapStore
from wsl.formats.score_maps import read_score_maps
from wsl.formats.voc_results import read_voc_results

__all__ = [
    "LocalizationWriter",
    "MapStore",
    "PredictionsKind",
    "detect_predictions",
    "find_localizations",
    "read_coco_results",
    "read_localizations",
    "read_score_maps",
    "read_voc_results",
]
