"""Data sets: images with what is known of them, read from the layouts that people have."""

from wsl.data.chest_xray import read_chest_xray
from wsl.data.coco import coco_numbers, read_coco
from wsl.data.cub import read_cub
from wsl.data.folder import read_folder
from wsl.data.huggingface import read_hub
from wsl.data.imagefolder import read_imagefolder
from wsl.data.imagenet import read_imagenet
from wsl.data.kaggle_loc import read_kaggle_loc
from wsl.data.kept_split import as_localized, as_trained
from wsl.data.label_tables import read_csv
from wsl.data.openimages import read_openimages
from wsl.data.parquet_images import read_parquet_images
from wsl.data.reading import detect_format, divided_samples, list_splits, read_samples, stacked_targets, targets
from wsl.data.voc import VOC_CLASSES, read_voc
from wsl.data.webdataset import read_webdataset
from wsl.data.wsol_lists import read_wsol

__all__ = [
    "VOC_CLASSES",
    "as_localized",
    "as_trained",
    "coco_numbers",
    "detect_format",
    "divided_samples",
    "list_splits",
    "read_chest_xray",
    "read_coco",
    "read_csv",
    "read_cub",
    "read_folder",
    "read_hub",
    "read_imagefolder",
    "read_imagenet",
    "read_kaggle_loc",
    "read_openimages",
    "read_parquet_images",
    "read_samples",
    "read_voc",
    "read_webdataset",
    "read_wsol",
    "stacked_targets",
    "targets",
]
