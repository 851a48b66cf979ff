"""One door to every layout of data sets, and labels as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.config import DataConfig
from wsl.data.layouts import LAYOUTS, Wanted
from wsl.errors import UserError
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
    layout: str = config.format
    if config.download and layout not in ("auto", "voc"):
        raise UserError(f"the format {layout} cannot be downloaded, expected voc: leave the download out")
    if layout == "auto":
        layout = "voc" if config.download else detect_format(config.data)
    return LAYOUTS[layout].read(Wanted(config, split, images, outlines))


def list_splits(config: DataConfig) -> tuple[str, ...]:
    """The splits of a data set; ``all`` alone where its layout cannot list them.

    Raises:
        UserError: no data set is recognised.

    >>> list_splits(DataConfig(data=Path("."), format="cub"))
    ('all',)
    """
    layout = detect_format(config.data) if config.format == "auto" else config.format
    names = tuple(LAYOUTS[layout].splits(config))
    return tuple(name for name in names if name != "all" or len(names) == 1) or ("all",)


def detect_format(data: Path) -> str:
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
    found = next((name for name, layout in LAYOUTS.items() if layout.recognise(data)), None)
    if found is not None:
        return found
    if data.is_file():
        raise UserError(
            f"{data}: a file of unknown kind, expected a folder, a COCO .json, a .csv with labels, or a .tar"
        )
    if not data.is_dir():
        raise UserError(f"{data}: no such file or folder; expected a data set")
    looked_for = "; ".join(f"{layout.looked_for} ({name})" for name, layout in LAYOUTS.items())
    raise UserError(f"{data}: no data set recognised; looked for {looked_for}")


class Targets(NamedTuple):
    """What is to be learnt of an image: the share of each class in it, and which of them are known.

    Shape:
        ``values`` (K,) float32 in [0, 1]: 1 present, 0 absent; ``known`` (K,) float32: 1 known, 0 to be left out.
    """

    values: npt.NDArray[np.float32]
    known: npt.NDArray[np.float32]


def targets(sample: Sample, classes: Sequence[str] | Mapping[str, int]) -> Targets:
    """A sample's labels as numbers, in the order of ``classes``, or at the places that they are mapped to.

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
    """The `targets` of all samples of a set, and which of them are known.

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
