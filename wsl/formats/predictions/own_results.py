"""Localizations of `wsl-localize`, from `localizations.jsonl` or parts, with the samples of their images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from wsl.documents import guarded
from wsl.formats.localizations import find_localizations, read_localizations
from wsl.formats.predictions.matching import Pairs, matched
from wsl.samples import SampleSet


@guarded("localizations as wsl-localize writes them")
def read_own_results(place: Path, samples: SampleSet, warnings: Counter[str], *, split: str) -> Pairs:
    """Read the localizations of a results file, its folder or parts, with maps; an image without one is a miss.

    Tolerated problems are counted in ``warnings``, see `wsl.formats.predictions.matching.matched`.

    Raises:
        UserError: the file does not exist, a line is not a localization, or as for `matched`.

    >>> import tempfile
    >>> from wsl.boxes import Boxes
    >>> from wsl.formats.localizations import LocalizationWriter
    >>> from wsl.results import Localization
    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with LocalizationWriter(Path(folder)) as writer:
    ...         writer.write(Localization(path="a.jpg", size=(9, 9), scores={"dog": 0.5}, boxes=Boxes.empty()))
    ...     [(found, _)] = read_own_results(Path(folder), samples, Counter(), split="val")
    >>> found.scores
    {'dog': 0.5}
    """
    found = read_localizations(find_localizations(place), warnings=warnings)
    return matched(found, samples, split, warnings, place)
