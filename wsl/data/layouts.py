"""The layouts of data sets by name: how each is recognised and read, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from wsl.config import DataConfig
from wsl.data.annotated import TOOLS, Tool, read_annotated
from wsl.data.chest_xray import chest_xray_splits, chest_xray_table, read_chest_xray
from wsl.data.coco import read_coco
from wsl.data.coco_files import instances_files
from wsl.data.cub import cub_splits, is_cub, read_cub
from wsl.data.folder import folder_splits, is_folder_of_classes, read_folder
from wsl.data.huggingface import hub_name, hub_splits, read_hub
from wsl.data.imagefolder import metadata_files, read_imagefolder
from wsl.data.imagenet import imagenet_root, imagenet_splits, read_imagenet
from wsl.data.kaggle_loc import is_kaggle_loc, read_kaggle_loc
from wsl.data.label_tables import label_tables, read_csv
from wsl.data.openimages import openimages_splits, read_openimages
from wsl.data.parquet_images import holds_images, parquet_splits, read_parquet_images
from wsl.data.voc import read_voc, voc_folders, voc_splits
from wsl.data.webdataset import read_webdataset, webdataset_splits
from wsl.data.wsol_lists import is_wsol, read_wsol, wsol_splits
from wsl.samples import SampleSet


class Wanted(NamedTuple):
    """A request to read: the settings, the split, and whether image files and outlines are needed."""

    config: DataConfig
    split: str | None
    images: bool = True
    outlines: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One layout: ``looked_for`` says how it is recognised, ``splits`` lists its splits if possible.

    ``image_root`` says whether it reads that setting.
    """

    recognise: Callable[[Path], object]
    read: Callable[[Wanted], SampleSet]
    looked_for: str
    splits: Callable[[DataConfig], Iterable[str]] = lambda config: ()
    image_root: bool = False


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") or bool(label_tables(path))


def _plain(
    recognise: Callable[[Path], object],
    read: Callable[[Path, str | None], SampleSet],
    splits: Callable[[Path], Iterable[str]],
    *,
    looked_for: str,
) -> Layout:
    """A layout that is read from its path and split alone."""
    return Layout(
        recognise=recognise,
        read=lambda wanted: read(wanted.config.data, wanted.split),
        looked_for=looked_for,
        splits=lambda config: splits(config.data),
    )


def _of_tool(tool: Tool) -> Layout:
    return Layout(
        recognise=TOOLS[tool].recognise,
        read=lambda wanted: read_annotated(wanted.config.data, wanted.split, tool, wanted.config.image_root),
        looked_for=_TOOL_FILES[tool],
        image_root=True,
    )


_TOOL_FILES: Mapping[Tool, str] = MappingProxyType(
    {
        "yolo": "data.yaml with images/ and labels/",
        "cvat": "annotations.xml",
        "fiftyone": "samples.json or labels.json",
        "label-studio": "tasks.json",
        "labelme": "LabelMe's .json files",
        "boxes-csv": "boxes.csv as wsl-export writes it",
    }
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "voc": Layout(
            recognise=lambda data: data.is_dir() and voc_folders(data),
            read=lambda wanted: read_voc(
                wanted.config.data, wanted.split, year=wanted.config.year, download=wanted.config.download
            ),
            looked_for="ImageSets/Main and JPEGImages (also in VOC<year>)",
            splits=lambda config: voc_splits(config.data, config.year),
        ),
        "wsol": Layout(
            recognise=is_wsol,
            read=lambda wanted: read_wsol(
                wanted.config.data, wanted.split, wanted.config.image_root, images=wanted.images
            ),
            looked_for="<split>/image_ids.txt",
            splits=lambda config: wsol_splits(config.data),
            image_root=True,
        ),
        "openimages": _plain(
            openimages_splits,
            read_openimages,
            openimages_splits,
            looked_for="<split>-annotations-human-imagelabels.csv",
        ),
        "imagenet": Layout(
            recognise=lambda data: is_kaggle_loc(data) if data.is_file() else imagenet_root(data),
            read=lambda wanted: (
                read_kaggle_loc(wanted.config.data, wanted.split)
                if wanted.config.data.is_file()
                else read_imagenet(wanted.config.data, wanted.split)
            ),
            looked_for="Data/CLS-LOC",
            splits=lambda config: () if config.data.is_file() else imagenet_splits(config.data),
        ),
        "cub": _plain(is_cub, read_cub, cub_splits, looked_for="images.txt with image_class_labels.txt"),
        "chestxray14": _plain(chest_xray_table, read_chest_xray, chest_xray_splits, looked_for="Data_Entry_2017.csv"),
        "imagefolder": _plain(
            metadata_files, read_imagefolder, metadata_files, looked_for="metadata.csv or metadata.jsonl"
        ),
        "parquet": _plain(
            holds_images,
            read_parquet_images,
            parquet_splits,
            looked_for="<split>-00000-of-00001.parquet with a column of images",
        ),
        "webdataset": _plain(webdataset_splits, read_webdataset, webdataset_splits, looked_for="*.tar"),
        **{tool: _of_tool(tool) for tool in TOOLS},
        "coco": Layout(
            recognise=lambda data: data.suffix.lower() == ".json" if data.is_file() else instances_files(data),
            read=lambda wanted: read_coco(wanted.config.data, wanted.split, outlines=wanted.outlines),
            looked_for="annotations/instances_<split>.json",
            splits=lambda config: instances_files(config.data) if config.data.is_dir() else (),
        ),
        "csv": Layout(
            recognise=_is_table,
            read=lambda wanted: read_csv(wanted.config.data, wanted.split, uncertain=wanted.config.uncertain),
            looked_for="<split>.csv with columns of images and labels",
            splits=lambda config: label_tables(config.data),
        ),
        "folder": _plain(is_folder_of_classes, read_folder, folder_splits, looked_for="class/image.jpg"),
        "hfds": _plain(hub_name, read_hub, hub_splits, looked_for="hfds/NAME"),
    }
)
"""Every layout by name."""
