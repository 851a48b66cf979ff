"""NIH ChestX-ray14: the findings of each image in one table, boxes of some images in another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsl.boxes import Boxes
from wsl.data.splits import unknown_split
from wsl.documents import guarded, number, text_lines
from wsl.documents.tables import table_cells, table_rows
from wsl.errors import UserError
from wsl.images.sources import images_below
from wsl.samples import Sample, SampleSet

_BOXES = "BBox_List_2017.csv"
_SPLITS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
_COLUMNS = ("Image Index", "Finding Labels")
_EXPECTED = "a table of ChestX-ray14 with the columns Image Index and Finding Labels"
# Findings with another name in the table of boxes.
_NAMES = {"Infiltrate": "Infiltration"}


def chest_xray_table(root: Path) -> Path | None:
    """The table of findings in a folder.

    >>> chest_xray_table(Path("no such folder")) is None
    True
    """
    return next(iter(sorted(root.glob("Data_Entry_2017*.csv"))), None)


def chest_xray_splits(root: Path) -> tuple[str, ...]:
    """The splits that have a list.

    >>> chest_xray_splits(Path("no such folder"))
    ()
    """
    return tuple(name for name, file in _SPLITS.items() if (root / file).is_file())


@guarded("the tables of ChestX-ray14")
def read_chest_xray(root: str | Path, split: str | None) -> SampleSet:
    """The images, findings and boxes of one split of ChestX-ray14.

    ``Data_Entry_2017*.csv`` lists each image's findings, separated by ``|``, or ``No Finding``. The classes are all
    findings in it, sorted. ``BBox_List_2017.csv`` has boxes (x, y, width, height in pixels) of some findings of some
    images; the others have no known location. Images may lie in any folders below.

    Args:
        root: The folder of the tables.
        split: ``train_val`` or ``test``, the images listed in ``<split>_list.txt``; ``boxes``, the images with boxes;
            None or ``all`` takes every existing image of the table.

    Raises:
        UserError: a table is missing or malformed (the message names the line); there is no such split; an image of
            the split is missing.

    >>> read_chest_xray("lost", "test")
    Traceback (most recent call last):
    wsl.errors.UserError: lost: no Data_Entry_2017*.csv in it; expected the tables of ChestX-ray14
    """
    root = Path(root)
    table = chest_xray_table(root)
    if table is None:
        raise UserError(f"{root}: no Data_Entry_2017*.csv in it; expected the tables of ChestX-ray14")
    findings = {
        row.cells["Image Index"]: {name.strip() for name in row.cells["Finding Labels"].split("|")} - {"", "No Finding"}
        for row in table_rows(table, _EXPECTED, *_COLUMNS)
    }
    classes = tuple(sorted(set().union(*findings.values())))
    if not classes:
        raise UserError(f"{table}: no image has a finding; expected {_EXPECTED}")
    files = {path.name: path for path in map(Path, images_below(root))}
    boxes = _boxes(root / _BOXES, classes)
    names = _of_split(root, split, findings, boxes, files)
    missing = [name for name in names if name not in files]
    if missing or not names:
        what = f"{missing[0]}: no such image; {len(missing)} of {len(names)}" if missing else "none of the"
        raise UserError(f"{root}: {what} images of split {split} are missing: unpack them there")
    samples = []
    for name in names:
        sample = Sample(path=files[name], id=name, labels=tuple(sorted(findings[name])))
        samples.append(replace(sample, boxes=boxes[name]) if name in boxes else sample)
    return SampleSet(classes=classes, samples=tuple(samples))


def _of_split(
    root: Path,
    split: str | None,
    findings: Mapping[str, set[str]],
    boxes: Mapping[str, Boxes],
    files: Mapping[str, Path],
) -> list[str]:
    """The names of a split's images."""
    if split in (None, "all"):
        return [name for name in findings if name in files]
    if split == "boxes" and boxes:
        return [name for name in findings if name in boxes]
    lists = chest_xray_splits(root)
    if split not in lists:
        raise unknown_split(split, [*lists, *(["boxes"] if boxes else []), "all"], root)
    names, file = [], root / _SPLITS[str(split)]
    for line, text in text_lines(file, "the name of an image a line"):
        if text.strip() not in findings:
            raise UserError(f"{file}:{line}: {text.strip()!r:.80} is not in the table of findings")
        names.append(text.strip())
    return names


def _boxes(table: Path, classes: tuple[str, ...]) -> dict[str, Boxes]:
    """The boxes by image name. Columns are read by position, because the header's names are unreliable."""
    if not table.is_file():
        return {}
    rows: defaultdict[str, list[tuple[str, list[float]]]] = defaultdict(list)
    for line, cells in table_cells(table, "a table of boxes"):
        if line == 1:
            continue
        where = f"{table}: line {line}"
        if len(cells) < 6:
            raise UserError(f"{where} has {len(cells)} cells, expected an image, a finding and x, y, width, height")
        name, finding = cells[0], _NAMES.get(cells[1], cells[1])
        if finding not in classes:
            raise UserError(f"{where}: the finding {finding!r:.80} is in no image's; known: {', '.join(classes)}")
        x, y, width, height = (number(cell, f"{where}: {edge}") for cell, edge in zip(cells[2:6], "xywh", strict=True))
        if min(width, height) <= 0:
            raise UserError(f"{where}: the box is {width:g} by {height:g}, expected a positive width and height")
        rows[name].append((finding, [x, y, x + width, y + height]))
    return {
        name: Boxes(xyxy=np.array([edges for _, edges in found], np.float32), labels=tuple(label for label, _ in found))
        for name, found in rows.items()
    }
