"""Reading of data sets in any layout, and labels as numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.config import DataConfig
from wsl.data.division import Division, divide
from wsl.data.layouts import LAYOUTS, Wanted
from wsl.data.splits import UnknownSplit
from wsl.errors import UserError, listed
from wsl.images import IMAGE_SUFFIXES
from wsl.samples import Sample, SampleSet
from wsl.split_names import role, training_split

log = logging.getLogger("wsl")

_MADE = ("train", "val")


def read_samples(
    config: DataConfig, split: str | None, *, images: bool = True, outlines: bool = False, whole: bool = True
) -> SampleSet:
    """The samples of one split of the data set that a configuration names.

    If ``images`` is false, metadata lists are read without the image files; with ``outlines``, COCO's polygons are also
    read. With ``config.val_fraction``, the splits ``train`` and ``val`` are those of `divided_samples`. Without it, all
    images of a data set without splits are used for either, which is logged, unless ``whole`` is false.

    Raises:
        UnknownSplit: the data set has no such split.
        UserError: there is no such file or folder, the layout is not recognised, or the layout's reader raises it.
        RunError: a download failed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "train", "dog").mkdir(parents=True)
    ...     Path(root, "train", "dog", "a.jpg").touch()
    ...     read_samples(DataConfig(data=Path(root)), "train").classes
    ('dog',)
    """
    wanted = Wanted(config, split, images, outlines)
    part = role(split)
    if part in _MADE and config.val_fraction is not None:
        return _divided(wanted)[part]
    try:
        return _read(wanted)
    except UnknownSplit as error:
        if part not in _MADE or not error.divisible or not whole:
            raise
    samples = _read(wanted._replace(split="all"))
    trained = ", also those that a model may have been trained on" if part == "val" else ""
    log.info("%s has no splits: all its %d images are taken for %s%s", config.data, len(samples), split, trained)
    return samples


def divided_samples(config: DataConfig) -> Mapping[str, SampleSet]:
    """The training images of a data set in two parts: ``val``, held out for validation, and ``train``, the others.

    The images are those of the training split, or all if the data set has no splits. They are divided by
    ``val_fraction`` and ``split_seed`` of the configuration (`wsl.data.division.divide`), which is logged.

    Raises:
        UserError: as for `read_samples`; no class has two images.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg", "dog/d.jpg"):
    ...         Path(root, name).parent.mkdir(exist_ok=True)
    ...         Path(root, name).touch()
    ...     parts = divided_samples(DataConfig(data=Path(root), val_fraction=0.5))
    >>> {name: len(part) for name, part in parts.items()}
    {'train': 2, 'val': 2}
    """
    return _divided(Wanted(config, "val"))


def _divided(wanted: Wanted) -> Mapping[str, SampleSet]:
    config = wanted.config
    assert config.val_fraction is not None
    try:
        samples, source = _read(wanted._replace(split="train")), "train"
    except UnknownSplit as error:
        named = training_split(error.known)
        if named is None and not error.divisible:
            raise
        source = named or "all"
        samples = _read(wanted._replace(split=source))
    root = config.data if config.data.is_dir() else config.data.parent
    parts = divide(samples, config.val_fraction, config.split_seed, root)
    if not len(parts.val):
        raise UserError(
            f"{config.data}: no class has two images, one to train on and one to validate on: expected more images, or "
            "--val-split None to train on all"
        )
    _tell(config, source, parts)
    return {"train": parts.train, "val": parts.val}


def _tell(config: DataConfig, source: str, parts: Division) -> None:
    of = "" if source == "all" else f" of {source}"
    lost = parts.unvalidated
    alone = f"; in train alone: {listed(lost)}" if lost else ""
    log.info(
        "%s: split into %d images to train on and %d to validate on (%g of each class%s, split seed %d)%s",
        config.data,
        len(parts.train),
        len(parts.val),
        config.val_fraction,
        of,
        config.split_seed,
        alone,
    )


def _read(wanted: Wanted) -> SampleSet:
    config = wanted.config
    layout: str = config.format
    if config.download and layout not in ("auto", "voc"):
        raise UserError(f"the format {layout} cannot be downloaded, expected voc: leave the download out")
    if layout == "auto":
        layout = "voc" if config.download else detect_format(config.data)
    if config.image_root is not None and not LAYOUTS[layout].image_root:
        takes = ", ".join(name for name, one in LAYOUTS.items() if one.image_root)
        raise UserError(
            f"{config.data} is of the format {layout}, whose images lie beside its files, and --image-root is for "
            f"{takes}: leave it out"
        )
    try:
        return LAYOUTS[layout].read(wanted)
    except UnknownSplit as error:
        if error.known:
            raise
        raise UserError(f"{config.data}: no {layout} data set; looked for {LAYOUTS[layout].looked_for}") from error


def list_splits(config: DataConfig) -> tuple[str, ...]:
    """The splits of a data set; only ``all`` if its layout cannot list them.

    Raises:
        UserError: no data set is recognised.

    >>> list_splits(DataConfig(data=Path("."), format="cub"))
    ('all',)
    """
    layout = detect_format(config.data) if config.format == "auto" else config.format
    names = tuple(LAYOUTS[layout].splits(config))
    if config.val_fraction is not None:
        return ("train", "val", *(name for name in names if name != "all" and role(name) not in _MADE))
    return tuple(name for name in names if name != "all" or len(names) == 1) or ("all",)


def detect_format(data: Path) -> str:
    """The layout of a data set, recognised from its files.

    Raises:
        UserError: the path does not exist, or no layout is recognised; the message names what was looked for.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "dog").mkdir()
    ...     Path(root, "dog", "a.jpg").touch()
    ...     detect_format(Path(root))
    'folder'
    """
    found = next((name for name, layout in LAYOUTS.items() if layout.recognise(data)), None)
    if found is not None:
        return found
    if data.is_file():
        raise UserError(
            f"{data}: a file of unknown kind, expected a folder, a COCO .json, a .csv with labels, or a .tar"
        )
    if not data.is_dir():
        raise UserError(f"{data}: no such file or folder; expected a data set")
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in data.iterdir()):
        raise UserError(
            f"{data}: images without labels; expected them in a folder for each class ({data.name}/dog/a.jpg), or "
            "beside them a CSV with the columns path and labels"
        )
    looked_for = "; ".join(f"{layout.looked_for} ({name})" for name, layout in LAYOUTS.items())
    raise UserError(f"{data}: no data set recognised; looked for {looked_for}")


class Targets(NamedTuple):
    """The training targets of an image: the value of each class, and which of them are known.

    Shape:
        ``values`` (K,) float32 in [0, 1]: 1 present, 0 absent; ``known`` (K,) float32: 1 known, 0 to be left out.
    """

    values: npt.NDArray[np.float32]
    known: npt.NDArray[np.float32]


def targets(sample: Sample, classes: Sequence[str] | Mapping[str, int]) -> Targets:
    """A sample's labels as numbers, in the order of ``classes``, or at the positions to which these are mapped.

    The known classes are the present ones and those that are certainly absent (see `Sample.unknown`).

    Raises:
        UserError: the sample has a class that is not among ``classes``.

    >>> values, known = targets(Sample(path="a.jpg", labels=["dog"], ignored=["cow"]), ["cat", "cow", "dog"])
    >>> values.tolist(), known.tolist()
    ([0.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    >>> targets(Sample(path="a.jpg", labels=["dog"], negatives=["cat"]), ["cat", "cow", "dog"]).known.tolist()
    [1.0, 0.0, 1.0]
    """
    places = classes if isinstance(classes, Mapping) else {name: i for i, name in enumerate(classes)}
    values, known = np.zeros(len(places), np.float32), np.ones(len(places), np.float32)
    if sample.negatives is not None:
        known[:] = 0
    for names, value, certain in (
        (sample.negatives or (), 0, 1),
        (sample.ignored, 0, 0),
        (sample.labels, 1, 1),
    ):
        for name in names:
            if name not in places:
                raise UserError(f"{sample.path}: unknown class {name!r}; known: {', '.join([*places][:40])}")
            values[places[name]], known[places[name]] = value, certain
    return Targets(values, known)


def stacked_targets(samples: SampleSet) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The `targets` of all samples of a set: values, and which of them are known.

    Shape:
        (N, K) each.

    >>> every = SampleSet(classes=["cat", "dog"], samples=[Sample(path="a.jpg", labels=["dog"])])
    >>> [part.tolist() for part in stacked_targets(every)]
    [[[0.0, 1.0]], [[1.0, 1.0]]]
    """
    index = {name: i for i, name in enumerate(samples.classes)}
    rows = [targets(sample, index) for sample in samples.samples]
    if not rows:
        return np.zeros((0, len(samples.classes)), np.float32), np.zeros((0, len(samples.classes)), np.float32)
    return np.stack([row.values for row in rows]), np.stack([row.known for row in rows])
