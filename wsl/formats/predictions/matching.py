"""Matching of predictions to samples: each prediction with its sample, and every sample once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from wsl.boxes import Boxes
from wsl.errors import BadImageError, UserError
from wsl.formats.predictions.class_names import ClassNames
from wsl.formats.predictions.coordinates import Coordinates
from wsl.images.decode import image_size
from wsl.results import Localization
from wsl.samples import Sample, SampleIndex, SampleSet

log = logging.getLogger("wsl")
Pairs = Iterator[tuple[Localization, Sample]]
SCORES_OUTSIDE = "scores outside [0, 1]: only their order counts"


def matched(
    found: Iterable[Localization], samples: SampleSet, split: str, warnings: Counter[str], source: Path
) -> Pairs:
    """Yield localizations with their samples, then the samples without a localization, with empty predictions.

    Localizations of images outside the split (left out), scores outside [0, 1], and images without a localization
    (misses) are counted in ``warnings``.

    Raises:
        UserError: there is no localization, or none of an image of the split; an image has two; a path matches two
            samples; boxes look like fractions of their image; none of the predicted classes is one of the samples'.

    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path=f"{name}.jpg", size=(9, 9)) for name in "ab"])
    >>> found = Localization(path="b.jpg", size=(9, 9), scores={"dog": 0.5}, boxes=Boxes.empty())
    >>> [(one.id, dict(one.scores)) for one, _ in matched([found], samples, "val", Counter(), Path("found"))]
    [('b', {'dog': 0.5}), ('a', {})]
    """
    index = SampleIndex(samples)
    names, coordinates = ClassNames(samples.classes, source), Coordinates(source, "xyxy")
    done: set[Path] = set()
    extra: list[Path] = []
    for one in found:
        sample = index.match(one.path)
        path = one.path if sample is None else sample.path
        if path in done:
            raise UserError(f"{source} has two localizations of {path}: expected one per image")
        done.add(path)
        if sample is None:
            extra.append(one.path)
            continue
        names.see((*one.scores, *one.boxes.labels, *one.points))
        coordinates.see(one.boxes.xyxy, one.size)
        scores = [*one.scores.values(), *one.boxes.scores.tolist()]
        outside = sum(not 0 <= score <= 1 for score in scores)
        if outside:
            warnings[SCORES_OUTSIDE] += outside
        yield one, sample
    if len(extra) == len(done):
        raise UserError(_nothing_of_split(source, extra, samples, split))
    if extra:
        warnings["localizations of images outside the split: left out"] += len(extra)
        log.warning(
            "%d localizations of images outside split %s were left out, such as %s (an image of the split is %s)",
            len(extra),
            split,
            extra[0],
            samples.samples[0].path,
        )
    names.check()
    coordinates.check()
    yield from unpredicted(samples, done, warnings, "localization")


def _nothing_of_split(source: Path, extra: Sequence[Path], samples: SampleSet, split: str) -> str:
    """The message for localizations of which none belongs to a split."""
    if not extra:
        return f"{source} has no localization: expected those of the images of split {split}"
    an_image = f", expected such as {samples.samples[0].path}" if len(samples) else ""
    return (
        f"{source}: none of its {len(extra)} localizations is of an image of split {split}: they are of {extra[0]}"
        f"{an_image}: give those of this split, or another --split or --data"
    )


def unpredicted(
    samples: SampleSet, done: Collection[Path], warnings: Counter[str], what: str, *, labelled: bool = False
) -> Pairs:
    """The samples that are not ``done``, with empty predictions, so that they count in the denominators.

    They are counted in ``warnings``; with ``labelled`` only those that have a label. A sample is left out if its size
    is given neither by the annotation nor by the file.

    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", size=(9, 9))])
    >>> warnings = Counter()
    >>> [len(found.boxes) for found, _ in unpredicted(samples, set(), warnings, "score map")], warnings
    ([0], Counter({'images without a score map: misses': 1}))
    """
    absent = [sample for sample in samples.samples if sample.path not in done]
    missing = [sample for sample in absent if sample.labels or not labelled]
    if missing:
        counts = len(missing), len(samples)
        log.warning("%d of %d images have no %s, such as %s: they count as misses", *counts, what, missing[0].id)
    for sample in absent:
        try:
            size = size_of(sample)
        except UserError:
            warnings[f"images without a {what} and of unknown size: left out"] += 1
            continue
        if sample.labels or not labelled:
            warnings[f"images without a {what}: misses"] += 1
        yield Localization(path=sample.path, size=size, scores={}, boxes=Boxes.empty()), sample


def size_of(sample: Sample) -> tuple[int, int]:
    """The (width, height) of a sample's image, from the annotation or else from the file.

    Raises:
        UserError: the size is given by neither.

    >>> size_of(Sample(path="a.jpg", size=(9, 6)))
    (9, 6)
    """
    if sample.size is not None:
        return sample.size
    try:
        return image_size(sample.path)
    except BadImageError as error:
        raise UserError(
            f"{sample.path}: its size is unknown ({error}); expected the image, image_sizes.txt or a size in the "
            "annotation"
        ) from error
