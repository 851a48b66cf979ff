"""ImageNet's localization data by Kaggle's tables: ``LOC_train_solution.csv``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsl.boxes import Boxes
from wsl.data.imagenet import imagenet_root, synset_names
from wsl.data.splits import unknown_split
from wsl.documents import guarded, number
from wsl.documents.tables import columns_of, table_rows
from wsl.errors import UserError
from wsl.images.sources import require_files
from wsl.samples import Sample, SampleSet

_COLUMNS = ("ImageId", "PredictionString")
_EXPECTED = "a table with the columns ImageId and PredictionString"


def is_kaggle_loc(path: Path) -> bool:
    """Whether a file is such a table.

    >>> is_kaggle_loc(Path("no such file.csv"))
    False
    """
    return set(_COLUMNS) <= set(columns_of(path))


@guarded("a table as Kaggle has it")
def read_kaggle_loc(path: str | Path, split: str | None = None) -> SampleSet:
    """The images, labels and boxes of a table of the ImageNet localization challenge at Kaggle.

    ``ImageId`` is an image's name, and ``PredictionString`` its objects, five values each: synset, and xmin, ymin,
    xmax, ymax, which count pixels from 0 and include both corners. Images lie in ``ILSVRC/Data/CLS-LOC`` beside the
    table, in ``train/<synset>`` or ``val``; those that are not there are an error. Classes are named as by
    `wsl.data.read_imagenet`. A table is the split that its name says (``train``, ``val``); None or ``all`` takes it
    whatever its name.

    Raises:
        UserError: another split; a malformed row, with its line; an unknown synset; the images are not beside the
            table.

    >>> read_kaggle_loc("lost.csv")
    Traceback (most recent call last):
    wsl.errors.UserError: lost.csv: no ILSVRC/Data/CLS-LOC beside it; expected the images there
    """
    path = Path(path)
    named = [name for name in ("train", "val") if name in path.stem.lower()]
    if split not in (None, "all", *named):
        raise unknown_split(split, [*named, "all"], path)
    base = imagenet_root(path.parent)
    if base is None:
        raise UserError(f"{path}: no ILSVRC/Data/CLS-LOC beside it; expected the images there")
    names = synset_names(base)
    samples = [
        _sample(row.cells["ImageId"], row.cells["PredictionString"].split(), base, names, f"{path}: line {row.line}")
        for row in table_rows(path, _EXPECTED, *_COLUMNS)
    ]
    if not samples:
        raise UserError(f"{path}: no row below the header; expected one for each image")
    require_files((sample.path for sample in samples), path.name)
    return SampleSet(classes=tuple(names.values()), samples=tuple(samples))


def _sample(id: str, values: list[str], base: Path, names: dict[str, str], where: str) -> Sample:
    if not id.replace("_", "").isalnum():
        raise UserError(f"{where}: the image {id!r:.80}, expected a name such as n01440764_10026")
    if not values or len(values) % 5:
        raise UserError(f"{where}: {len(values)} values, expected five an object: synset, xmin, ymin, xmax, ymax")
    rows, labels = [], []
    for start in range(0, len(values), 5):
        synset, *edges = values[start : start + 5]
        if synset not in names:
            raise UserError(f"{where}: the synset {synset!r:.80} is unknown; known: {', '.join(list(names)[:5])}, …")
        x0, y0, x1, y1 = (number(edge, f"{where}: an edge") for edge in edges)
        if x1 < x0 or y1 < y0:
            raise UserError(f"{where}: the inverted box {edges}, expected xmin <= xmax and ymin <= ymax")
        rows.append([x0, y0, x1 + 1, y1 + 1])
        labels.append(names[synset])
    images = base / "Data" / "CLS-LOC"
    folder = images / "val" if id.startswith("ILSVRC2012_val") else images / "train" / id.partition("_")[0]
    return Sample(
        path=folder / f"{id}.JPEG",
        labels=tuple(name for name in names.values() if name in labels),
        boxes=Boxes(xyxy=np.array(rows, np.float32), labels=tuple(labels)),
    )
