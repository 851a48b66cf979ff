"""One door to every layout of data sets, and labels as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.config import DataConfig
from wsl.data.coco import instances_files, read_coco
from wsl.data.folder import read_folder
from wsl.data.multilabel import read_csv
from wsl.data.voc import read_voc, voc_folders
from wsl.data.wsol_lists import IDS, read_wsol, wsol_splits
from wsl.errors import UserError
from wsl.files import is_left_over
from wsl.images.sources import images_below
from wsl.samples import Sample, SampleSet


def read_samples(config: DataConfig, split: str | None, *, images: bool = True, outlines: bool = False) -> SampleSet:
    """The samples of one split of the data set that a configuration names.

    Where the ``images`` themselves are not needed, metadata lists do without them; where ``outlines`` are, COCO's
    polygons are read too.

    Raises:
        UserError: no such file or folder, a layout that is not recognised, or what the layout's reader finds.
        RunError: a download failed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "train", "dog").mkdir(parents=True)
    ...     Path(root, "train", "dog", "a.jpg").touch()
    ...     read_samples(DataConfig(data=Path(root)), "train").classes
    ('dog',)
    """
    data = config.data
    layout = config.format
    if config.download and layout not in ("auto", "voc"):
        raise UserError(f"the format {layout} cannot be downloaded, expected voc: leave the download out")
    if layout == "auto":
        layout = "voc" if config.download else detect_format(data)
    if layout == "voc":
        return read_voc(data, split, year=config.year, download=config.download)
    if layout == "coco":
        return read_coco(data, split, outlines=outlines)
    if layout == "wsol":
        return read_wsol(data, split, config.image_root, images=images)
    if layout == "csv":
        return read_csv(data, split)
    return read_folder(data, split)


def detect_format(data: Path) -> Literal["voc", "coco", "wsol", "csv", "folder"]:
    """The layout of a data set, by what is there.

    Raises:
        UserError: nothing is there, or nothing that is known; names what was looked for.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "dog").mkdir()
    ...     Path(root, "dog", "a.jpg").touch()
    ...     detect_format(Path(root))
    'folder'
    """
    if data.is_file():
        if data.suffix.lower() == ".json":
            return "coco"
        if data.suffix.lower() == ".csv":
            return "csv"
        raise UserError(f"{data}: a file of unknown kind, expected a folder, a COCO .json or a .csv with labels")
    if not data.is_dir():
        raise UserError(f"{data}: no such file or folder; expected a data set")
    if voc_folders(data):
        return "voc"
    if instances_files(data):
        return "coco"
    if (data / IDS).is_file() or wsol_splits(data):
        return "wsol"
    folders = (path for path in data.iterdir() if path.is_dir() and not is_left_over(path.name))
    if any(next(images_below(folder), None) for folder in folders):
        return "folder"
    raise UserError(
        f"{data}: no data set recognised; looked for ImageSets/Main and JPEGImages (VOC, also in VOC<year>), "
        "annotations/instances_<split>.json (COCO), <split>/image_ids.txt (lists of the WSOL benchmark) and "
        "class/image.jpg; a CSV is given by its own path"
    )


class Targets(NamedTuple):
    """What is to be learnt of an image: the share of each class in it, and which of them are known.

    Shape:
        ``values`` (K,) float32 in [0, 1]: 1 present, 0 absent; ``known`` (K,) float32: 1 known, 0 to be left out.
    """

    values: npt.NDArray[np.float32]
    known: npt.NDArray[np.float32]


def targets(sample: Sample, classes: Sequence[str]) -> Targets:
    """A sample's labels as numbers, in the order of ``classes``.

    Known are the classes present, and of the others those of which it is certain that they are absent
    (`Sample.unknown`).

    Raises:
        UserError: the sample has a class that is not among ``classes``.

    >>> values, known = targets(Sample(path="a.jpg", labels=["dog"], ignored=["cow"]), ["cat", "cow", "dog"])
    >>> values.tolist(), known.tolist()
    ([0.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    >>> targets(Sample(path="a.jpg", labels=["dog"], negatives=["cat"]), ["cat", "cow", "dog"]).known.tolist()
    [1.0, 0.0, 1.0]
    """
    values, known = np.zeros(len(classes), np.float32), np.ones(len(classes), np.float32)
    if sample.negatives is not None:
        known[:] = 0
    for names, value, certain in (
        (sample.negatives or (), 0, 1),
        (sample.ignored, 0, 0),
        (sample.labels, 1, 1),
    ):
        for name in names:
            if name not in classes:
                raise UserError(f"{sample.path}: unknown class {name!r}; known: {', '.join(classes[:40])}")
            index = classes.index(name)
            values[index], known[index] = value, certain
    return Targets(values, known)


def stacked_targets(samples: SampleSet) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The `targets` of all samples of a set, and which of them are known.

    Shape:
        (N, K) each.

    >>> every = SampleSet(classes=["cat", "dog"], samples=[Sample(path="a.jpg", labels=["dog"])])
    >>> [part.tolist() for part in stacked_targets(every)]
    [[[0.0, 1.0]], [[1.0, 1.0]]]
    """
    rows = [targets(sample, samples.classes) for sample in samples.samples]
    if not rows:
        return np.zeros((0, len(samples.classes)), np.float32), np.zeros((0, len(samples.classes)), np.float32)
    return np.stack([row.values for row in rows]), np.stack([row.known for row in rows])
