"""YOLO's text files of predictions: ``labels/<image>.txt``, with lines ``class x y width height confidence``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from wsl.documents import guarded, number, read_text
from wsl.errors import UserError
from wsl.formats.exchange.parsing import files_below
from wsl.formats.exchange.yolo import class_names, class_number, from_fractions
from wsl.formats.predictions.detections import Detection, Detections
from wsl.formats.predictions.matching import Pairs, size_of
from wsl.samples import Sample, SampleSet

_EXPECTED = "class x y width height confidence, as fractions of the image"


@guarded(_EXPECTED)
def read_yolo_results(place: Path, samples: SampleSet, warnings: Counter[str]) -> Pairs:
    """Read the detections of every image of a split, from files of ultralytics written with ``save_txt save_conf``.

    ``place`` is the folder of the files, a folder with them in ``labels/``, or a ``data.yaml`` beside that. A file has
    the name of its image, or that of its folders and its name joined by underscores, as in ultralytics' validation.
    Classes are those of the ``data.yaml`` in that folder or beside the files, or else those of the data set in their
    order, counted from 0. An image without a file has no boxes.

    Tolerated problems are counted in ``warnings``, see `Detections`.

    Raises:
        UserError: there is no file; a line lacks a confidence, has another form or an unknown class, or is in pixels;
            two files belong to the same image; or as for `Detections`.

    >>> import tempfile
    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["cat", "dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(8, 8))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("1 0.5 0.5 0.5 0.25 0.9", encoding="utf-8")
    ...     [(found, _)] = read_yolo_results(Path(folder), samples, Counter())
    >>> found.boxes.labels, found.boxes.xyxy.tolist()
    (('dog',), [[2.0, 3.0, 6.0, 5.0]])
    """
    root = place if place.is_dir() else place.parent
    folder = root / "labels" if (root / "labels").is_dir() else root
    names, named_by = _names(place, folder, samples)
    files = label_files(folder)
    if not files:
        raise UserError(f"{place}: no .txt file in it, expected labels/<image>.txt with lines {_EXPECTED}")
    detections = Detections(samples, warnings, place, "fractions")
    joined = _joined_names(samples)
    of: dict[Path, Path] = {}
    for file in files:
        image = file.relative_to(folder).with_suffix("").as_posix()
        sample = detections.match(image) or joined.get(image)
        if sample is not None and of.setdefault(sample.path, file) != file:
            raise UserError(f"{of[sample.path]} and {file} both belong to the image {sample.id!r}, expected one file")
        size = (1, 1) if sample is None else size_of(sample)
        for i, line in enumerate(read_text(file, "YOLO's predictions").splitlines(), 1):
            if line.strip():
                where = f"{file}:{i}"
                detections.add(image, sample, _detection(line, names, named_by, size, where), where)
    return detections.pairs()


def label_files(folder: Path) -> list[Path]:
    """The text files that may contain boxes, without lists such as ``classes.txt``.

    >>> label_files(Path("no such folder"))
    []
    """
    return [path for path in files_below(folder, ".txt") if path.name not in ("classes.txt", "labels.txt")]


def _joined_names(samples: SampleSet) -> Mapping[str, Sample | None]:
    """The samples by the names of ultralytics' validation: ``cats_a`` for ``cats/a.jpg`` below their common folder.

    A name that two samples have belongs to neither.
    """
    parts = [sample.path.parent.parts for sample in samples.samples]
    depth = len(os.path.commonprefix(parts))  # noqa: RUF071 - of tuples, element by element
    found: dict[str, Sample | None] = {}
    for sample in samples.samples:
        name = "_".join((*sample.path.parent.parts[depth:], sample.path.stem))
        found[name] = None if name in found else sample
    return found


def _names(place: Path, folder: Path, samples: SampleSet) -> tuple[Mapping[int, str], object]:
    # dataset.yaml is FiftyOne's name.
    named = [parent / name for parent in (folder, folder.parent) for name in ("data.yaml", "dataset.yaml")]
    files = [place] if place.is_file() else named
    file = next((file for file in files if file.is_file()), None)
    return (dict(enumerate(samples.classes)), "the data set") if file is None else (class_names(file), file)


def _detection(line: str, names: Mapping[int, str], named_by: object, size: tuple[int, int], where: str) -> Detection:
    fields = line.split()
    if len(fields) == 5:
        raise UserError(
            f"{where}: {line[:80]!r} has no confidence, expected {_EXPECTED}: predict with save_txt=True save_conf=True"
        )
    if len(fields) != 6 or class_number(fields[0]) < 0:
        raise UserError(f"{where}: {line[:80]!r}, expected {_EXPECTED}, six numbers")
    if class_number(fields[0]) not in names:
        raise UserError(
            f"{where}: class {fields[0]} is not one of the {len(names)} of {named_by}, expected 0 to {len(names) - 1}: "
            "put the data.yaml of the training beside the files"
        )
    confidence = number(fields[5], where)
    if not 0 <= confidence <= 1:
        raise UserError(
            f"{where}: the confidence is {fields[5]}, expected 0 to 1 (a track's number? predict with save_conf=True)"
        )
    return Detection(names[class_number(fields[0])], confidence, from_fractions(fields[1:5], size, where))
