"""Data sets as stored by Hugging Face: Parquet files with a column of images and one of labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl.data.records import LABELS, Row, classes_of, row_of, sample_of
from wsl.data.splits import find_split
from wsl.documents import guarded, parse_json
from wsl.documents.arrow import load_pyarrow
from wsl.errors import UserError
from wsl.images.archives import archive_members
from wsl.images.parquet_members import has_images, schema_of
from wsl.samples import SampleSet

_PART = re.compile(r"(.+?)-\d{5}-of-\d{5}")


def parquet_splits(source: Path) -> dict[str, list[Path]]:
    """The Parquet files at a path, by split: ``train-00000-of-00002.parquet``, also in ``data`` or ``train``.

    >>> parquet_splits(Path("no such folder"))
    {}
    """
    if source.suffix.lower() == ".parquet":
        return {_split_of(source): [source]} if source.is_file() else {}
    splits: dict[str, list[Path]] = {}
    for file in sorted({*source.glob("*.parquet"), *source.glob("data/*.parquet")}):
        splits.setdefault(_split_of(file), []).append(file)
    for file in sorted(source.glob("*/*.parquet")):
        if file.parent.name != "data":
            splits.setdefault(file.parent.name, []).append(file)
    return splits


def _split_of(file: Path) -> str:
    match = _PART.fullmatch(file.stem)
    return match.group(1) if match else file.stem


def holds_images(source: Path) -> bool:
    """Whether a path names Parquet files with a column of images.

    >>> holds_images(Path("no such folder"))
    False
    """
    first = next((files[0] for files in parquet_splits(source).values()), None)
    return first is not None and has_images(first)


@guarded("Parquet with columns of images and labels")
def read_parquet_images(source: str | Path, split: str | None) -> SampleSet:
    """The images, labels and boxes of one split of a data set in Parquet, as served by the Hugging Face hub.

    A column ``image`` has structs of ``bytes`` and ``path``, or bytes. ``label`` is the number or name of a class,
    ``labels`` a list of them, ``objects`` boxes with their classes, as for `wsl.data.read_imagefolder`; numbers are
    named by the file's own metadata (``ClassLabel``). Images are not extracted: a path such as ``train.parquet/a.jpg``
    can be opened like any other. The classes are those of the metadata, else all of every split, sorted.

    Args:
        source: A file, or a folder with ``<split>-00000-of-00001.parquet``, with such files in ``data/``, or with
            ``<split>/*.parquet``.
        split: The split; None takes the only one.

    Raises:
        UserError: pyarrow is not installed; there is no such file or split, or no column of images or labels; a row has
            another form (the message names it).

    >>> read_parquet_images("lost.parquet", None)
    Traceback (most recent call last):
    wsl.errors.UserError: lost.parquet: no Parquet file there
    """
    source = Path(source)
    splits = parquet_splits(source)
    if not splits:
        raise UserError(f"{source}: no Parquet file there")
    return read_split(splits, split, source)


def read_split(splits: Mapping[str, Sequence[Path]], split: str | None, source: Path) -> SampleSet:
    """One of several splits, each given by its files.

    Raises:
        UserError: as for `read_parquet_images`.
    """
    root = source if source.is_dir() else source.parent
    wanted = find_split(split, splits, source)
    rows = [row for file in splits[wanted] for row in _rows(file)]
    classes = _listed(splits[wanted][0])
    if not classes:  # those of all splits, so that the order of the score vector does not depend on the split
        others = (file for name, files in splits.items() if name != wanted for file in files)
        classes = classes_of(row.labels for some in (rows, *map(_rows, others)) for row in some)
    if not classes:
        raise UserError(f"{source}: no row has a label; expected a column label, labels or objects")
    return SampleSet(classes=classes, samples=tuple(sample_of(row, root, classes) for row in rows))


def _rows(file: Path) -> Iterator[Row]:
    """The rows of a file in order; their images are members of the file."""
    pyarrow = load_pyarrow(str(file))
    names, paths = class_names(file), (file / name for name in archive_members(file))
    with pyarrow.parquet.ParquetFile(file) as opened:
        columns = [name for name in (*LABELS, "objects") if name in opened.schema_arrow.names]
        if not columns:
            raise UserError(
                f"{file}: has the columns {', '.join(opened.schema_arrow.names[:20])}, expected label, labels or "
                "objects"
            )
        row = 0
        for batch in opened.iter_batches(columns=columns):
            for record in batch.to_pylist():
                yield row_of(record, next(paths), f"{file}: row {row}", names)
                row += 1


def class_names(file: Path) -> dict[str, tuple[str, ...]]:
    """The class names in a file's metadata, by column; for ``objects``, those of its classes.

    >>> class_names(Path("lost.parquet"))
    Traceback (most recent call last):
    wsl.errors.UserError: lost.parquet: not readable as Parquet ...
    """
    metadata = schema_of(file).metadata or {}
    if b"huggingface" not in metadata:
        return {}
    document = parse_json(metadata[b"huggingface"], f"{file}: its metadata", "Hugging Face's features")
    info = document.get("info") if isinstance(document, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        return {}
    found = {column: _class_label(feature) for column, feature in features.items()}
    return {column: names for column, names in found.items() if names}


def _class_label(feature: Any) -> tuple[str, ...]:
    """The names of the first ClassLabel in a feature, at any depth of lists and structs."""
    if isinstance(feature, list):
        feature = {"feature": feature[0]} if feature else {}
    if not isinstance(feature, dict):
        return ()
    names = feature.get("names")
    if feature.get("_type") == "ClassLabel" and isinstance(names, list) and all(isinstance(one, str) for one in names):
        return tuple(names)
    inner = (value for value in feature.values() if isinstance(value, (dict, list)))
    return next((found for one in inner if (found := _class_label(one))), ())


def _listed(file: Path) -> tuple[str, ...]:
    """The classes in the metadata for the column of labels, if there are any."""
    names = class_names(file)
    column = next((name for name in (*LABELS, "objects") if name in schema_of(file).names), None)
    return names.get(column or "", ())
