"""Score maps of other systems: a folder with one file per image, or one per image and class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsl.boxes import Boxes, FloatArray
from wsl.documents import guarded, read_text
from wsl.errors import UserError
from wsl.formats.predictions.class_names import ClassNames
from wsl.formats.predictions.map_files import load_map, load_maps
from wsl.formats.predictions.map_names import map_listing, match_maps
from wsl.formats.predictions.matching import Pairs, size_of, unpredicted
from wsl.results import Localization
from wsl.samples import Sample, SampleSet


@guarded("a folder of score maps")
def read_score_maps(folder: Path, samples: SampleSet, warnings: Counter[str], *, side: int | None = None) -> Pairs:
    """Stream the score maps of each sample, for the classes in its labels; a sample without maps is a miss.

    A map covers its image: (h, w), floats in [0, 1] or 8-bit integers, which are divided by 255. Files are named after
    the id of the image, with its suffix (``val/0.jpeg.npy``) or without (``val/0.npy``):

    * ``<id>.npy`` (h, w), or a grey ``<id>.png`` if the folder has no arrays: the map of the only class of the sample,
      as stored by the WSOL benchmark;
    * ``<id>.npy`` (K, h, w), with the K classes in ``classes.txt``, one per line;
    * ``<id>.npz``, with one map under the name of each class;
    * one file per class, named as in `wsl.formats.predictions.map_names.match_maps`.

    The maps of one image are in memory at a time, and are never unpickled. Files are looked up in the listing of the
    folder, so that an id that leads out of it matches nothing. Maps of classes that are not labels of the image are
    ignored: a map in [0, 1] does not say whether its class is present.

    Tolerated problems are counted in ``warnings``: images, and classes of an image, without a map (misses); maps with
    NaN or infinity (misses in all metrics of maps); maps that are not ``side`` x ``side``, if given (resampled); a
    single map for an image without labels or with several (its class is unknown; left out); files that belong to no
    sample (left out).

    Raises:
        UserError: the folder does not exist; no file belongs to a sample; two files are the same map, or a file matches
            two samples; a file has another format or values outside [0, 1]; none of its classes is one of the samples';
            the size of a sample is unknown.

    >>> import tempfile
    >>> dog = Sample(path="val/0.jpeg", id="val/0.jpeg", labels=["dog"], size=(8, 8))
    >>> samples = SampleSet(classes=["dog"], samples=[dog])
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "val").mkdir()
    ...     np.save(Path(root, "val", "0.npy"), np.eye(2))
    ...     [(found, sample)] = read_score_maps(Path(root), samples, Counter())
    >>> found.maps["dog"].tolist(), sample.id
    ([[1.0, 0.0], [0.0, 1.0]], 'val/0.jpeg')
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one with a score map <image id>.npy for each image")
    names = map_listing(folder)
    files = match_maps(names, samples, folder)
    extra = len(names) - sum(map(len, files.values()))
    if extra:
        warnings["score maps that belong to no image of the split: left out"] = extra
    reading = _Reading(folder, samples)
    for sample in samples.samples:
        if sample.path not in files:
            continue
        maps = reading.maps(sample, files[sample.path])
        if maps is None:
            warnings["images without labels or with several, and only one map: left out"] += 1
            continue
        _count(maps, sample, side, warnings)
        yield Localization(path=sample.path, size=size_of(sample), scores={}, boxes=Boxes.empty(), maps=maps), sample
    reading.names.check()
    yield from unpredicted(samples, files, warnings, "score map", labelled=True)


class _Reading:
    """Reader of one folder, with the classes listed in its ``classes.txt`` and those found in its files."""

    def __init__(self, folder: Path, samples: SampleSet) -> None:
        self.folder = folder
        self.names = ClassNames(samples.classes, folder)
        file = folder / "classes.txt"
        lines = read_text(file, "one class per line").splitlines() if file.is_file() else []
        self.listed = [line.strip() for line in lines if line.strip()]
        if len(set(self.listed)) < len(self.listed):
            raise UserError(f"{file}: names a class twice; expected one class per line, in the order of the maps")

    def maps(self, sample: Sample, files: Mapping[str | None, str]) -> Mapping[str, FloatArray] | None:
        """The maps of a sample's classes; None for a single map whose class is unknown."""
        wanted = (*sample.labels, *sample.ignored)
        if None not in files:
            return {label: self._one(files[label]) for label in wanted if label in files}
        path = self.folder / files[None]
        alone = load_map(path)
        if alone is not None:
            return {sample.labels[0]: alone} if len(sample.labels) == 1 else None
        maps, names = load_maps(path, wanted, self.listed)
        self.names.see(names)
        return maps

    def _one(self, name: str) -> FloatArray:
        path = self.folder / name
        found = load_map(path)
        if found is None:
            raise UserError(f"{path}: holds several maps; expected one, (h, w), of the class in its name")
        return found


def _count(maps: Mapping[str, FloatArray], sample: Sample, side: int | None, warnings: Counter[str]) -> None:
    absent = len(set(sample.labels) - set(maps))
    if absent:
        warnings["classes of an image without a score map: misses"] += absent
    for score_map in maps.values():
        if not np.isfinite(score_map).all():
            warnings["score maps with a NaN or an infinity: misses"] += 1
        if side is not None and score_map.shape != (side, side):
            warnings[f"score maps of another size than {side}x{side}: resampled"] += 1
