"""Example photographs for the page, from installed packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

_SHIPPED = (
    ("skimage", "data/chelsea.png", "Stefan van der Walt, CC0"),
    ("skimage", "data/coffee.png", "Rachel Michetti, CC0"),
    ("sklearn", "datasets/images/china.jpg", "danielbuechele, CC BY 2.0"),
    ("sklearn", "datasets/images/flower.jpg", "vultilion, CC BY 2.0"),
)


def sample_photographs() -> Mapping[Path, str]:
    """The installed photographs and their credits: two from scikit-learn, two from scikit-image.

    >>> all(file.is_file() for file in sample_photographs())
    True
    """
    found = {}
    for package, file, credit in _SHIPPED:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None and (Path(spec.origin).parent / file).is_file():
            found[Path(spec.origin).parent / file] = credit
    return found
