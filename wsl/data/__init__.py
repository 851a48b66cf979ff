"""Images, data sets and their way into the network and back."""

from wsl.data.coco import coco_numbers, read_coco
from wsl.data.decode import MAX_PIXELS, image_size, read_image
from wsl.data.files import IMAGE_SUFFIXES, find_images
from wsl.data.folder import read_folder
from wsl.data.geometry import Geometry
from wsl.data.loading import Batch, ImageDataset, Item, collate, start_worker
from wsl.data.multilabel import read_csv
from wsl.data.reading import detect_format, read_samples, targets
from wsl.data.transforms import augment, fit, place, to_tensor
from wsl.data.voc import VOC_CLASSES, read_voc
from wsl.data.wsol_lists import read_wsol

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "VOC_CLASSES",
    "Batch",
    "Geometry",
    "ImageDataset",
    "Item",
    "augment",
    "coco_numbers",
    "collate",
    "detect_format",
    "find_images",
    "fit",
    "image_size",
    "place",
    "read_coco",
    "read_csv",
    "read_folder",
    "read_image",
    "read_samples",
    "read_voc",
    "read_wsol",
    "start_worker",
    "targets",
    "to_tensor",
]
