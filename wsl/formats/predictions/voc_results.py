"""Detections in the VOC devkit's format: ``comp3_det_val_dog.txt``, with a line ``<image> <score> <box>`` for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsl.documents import guarded, text_lines
from wsl.errors import UserError
from wsl.formats.predictions.class_names import suggestion
from wsl.formats.predictions.detections import Detection, Detections
from wsl.formats.predictions.matching import Pairs
from wsl.samples import SampleSet

_LARGEST = 1e18
_FILE = re.compile(r"comp\d+_det_(.+)\.txt")


@guarded("the VOC devkit's result files")
def read_voc_results(source: Path, samples: SampleSet, warnings: Counter[str], *, split: str) -> Pairs:
    """Read the detections of every image of a split, from a folder of the devkit's result files or one of them.

    A file is ``comp<number>_det_<split>_<class>.txt`` with lines ``<image> <score> <xmin> <ymin> <xmax> <ymax>``, where
    pixels are counted from 1 and the far corner is inclusive. An image without a line has no detections. All detections
    are held in memory.

    Tolerated problems are counted in ``warnings``, see `Detections`, as are classes without a file (no detections).

    Raises:
        UserError: no file belongs to the split; two files have the same class, or one an unknown class; a line is
            malformed or has an inverted box (the message names the line); or as for `Detections`.

    >>> import tempfile
    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "comp4_det_val_dog.txt").write_text("a 0.9 1 1 4 2", encoding="utf-8")
    ...     [(found, _)] = read_voc_results(Path(folder), samples, Counter(), split="val")
    >>> found.boxes.xyxy.tolist(), found.boxes.labels
    ([[0.0, 0.0, 4.0, 2.0]], ('dog',))
    """
    files = _files(source, split, samples.classes)
    detections = Detections(samples, warnings, source, "inclusive")
    for label, path in files.items():
        for number, image, detection in _read(path, label):
            detections.add(image, detections.match(image), detection, f"{path}:{number}")
    absent = len(set(samples.classes) - set(files))
    if absent:
        warnings["classes without a file of detections: none found"] = absent
    return detections.pairs()


def result_files(source: Path) -> list[Path]:
    """The devkit's result files at a path: the file itself, or those in a folder.

    >>> result_files(Path("no such folder"))
    []
    """
    paths = [source] if source.is_file() else sorted(source.glob("comp*_det_*.txt"))
    return [path for path in paths if _FILE.fullmatch(path.name)]


def _files(source: Path, split: str, classes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    named = {path: _FILE.fullmatch(path.name) for path in result_files(source)}
    for path, match in named.items():
        rest = match[1] if match else ""
        if not rest.startswith(f"{split}_"):
            continue
        label = rest.removeprefix(f"{split}_")
        if label not in classes:
            raise UserError(f"{path}: detections of the unknown class {label!r}; {suggestion(label, classes)}")
        if label in found:
            raise UserError(f"{path}: a second file of {label}, beside {found[label].name}; expected one per class")
        found[label] = path
    if not found:
        raise UserError(
            f"{source}: none of its {len(named)} result files belongs to the split {split}; expected comp3_det_{split}_"
            f"{classes[0] if classes else '<class>'}.txt"
        )
    return found


def _read(path: Path, label: str) -> Iterator[tuple[int, str, Detection]]:
    for number, line in text_lines(path, "lines of <image> <score> <xmin> <ymin> <xmax> <ymax>"):
        cells = line.split()
        if not cells:
            continue
        numbers = _numbers(cells[1:])
        if numbers is None:
            raise UserError(f"{path}:{number}: {line[:80]!r}, expected <image> <score> <xmin> <ymin> <xmax> <ymax>")
        score, x0, y0, x1, y1 = numbers
        yield number, cells[0], Detection(label, score, (x0 - 1, y0 - 1, x1, y1))


def _numbers(cells: Sequence[str]) -> tuple[float, ...] | None:
    """The score and the corners, if these are five finite numbers."""
    try:
        numbers = tuple(map(float, cells))
    except ValueError:
        return None
    return numbers if len(numbers) == 5 and all(abs(one) < _LARGEST for one in numbers) else None
