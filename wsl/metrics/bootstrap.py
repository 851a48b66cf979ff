"""How far a number would move on another draw of images: the Poisson bootstrap."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

REPLICATES = 1000
"""How many resampled data sets stand behind an interval."""

HIGHEST_WEIGHT = 12
"""An image is never drawn more often than that."""

Weights = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


def image_key(path: Path) -> int:
    """A number for an image by which it is drawn, alike in every process, order and metric.

    The last three parts of the path count, so that a data set may move. Images that share them are drawn together.

    >>> image_key(Path("/data/VOC2012/JPEGImages/a.jpg")) == image_key(Path("/VOC2012/JPEGImages/a.jpg"))
    True
    """
    name = "/".join(path.parts[-3:])
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def poisson_weights(keys: Iterable[int], replicates: int, seed: int = 0) -> Weights:
    """How often each image is drawn in each replicate: Poisson numbers of mean 1 that depend on its key only.

    Drawing every image independently makes resampling possible in a stream: no number of images must be known, and
    replicates of two halves add up to those of the whole.

    Shape:
        n keys to (n, replicates).

    Source: Hanley & MacGibbon, Creating non-parametric bootstrap samples using Poisson frequencies, 2006.

    >>> poisson_weights([7], 5).tolist() == poisson_weights([3, 7], 5)[1:].tolist()
    True
    """
    draws = [hashlib.shake_128(f"{seed}/{key}".encode()).digest(2 * replicates) for key in keys]
    uniform = np.frombuffer(b"".join(draws), "<u2").reshape(len(draws), replicates)
    return np.asarray(_QUANTILES[uniform])


class ImageDraws:
    """How often each image is drawn, one image after another: that of the last is at hand for all metrics that ask.

    >>> draws = ImageDraws()
    >>> draws.of(Path("a.jpg"), 5).tolist() == poisson_weights([image_key(Path("a.jpg"))], 5)[0].tolist()
    True
    """

    def __init__(self) -> None:
        self._last: tuple[Path, npt.NDArray[np.int32]] | None = None

    def of(self, path: Path, replicates: int) -> npt.NDArray[np.int32]:
        """The image's number in each replicate, (replicates,), not to be written to; those of fewer are the first."""
        if self._last is None or self._last[0] != path or len(self._last[1]) < replicates:
            self._last = path, poisson_weights([image_key(path)], replicates)[0].astype(np.int32)
        return self._last[1][:replicates]


def percentile_interval(values: npt.ArrayLike, estimate: float) -> tuple[float, float] | None:
    """Where 95 % of replicates lie, corrected for the bias that resampling brings; None for no interval.

    Drawing images twice makes rankings look better than they are, and so does choosing a threshold: the more
    replicates lie above the data set's own ``estimate``, the lower are the percentiles taken. Where half of them lie
    below, these are 2.5 and 97.5. NaN stands for a replicate in which nothing could be measured.

    Source: Efron, Nonparametric standard errors and confidence intervals, 1981 (the BC interval).

    >>> low, high = percentile_interval(np.arange(101), 50)
    >>> round(low, 3), round(high, 3)
    (2.5, 97.5)
    """
    values = np.asarray(values, np.float64)
    measured = values[~np.isnan(values)]
    # Where half the draws hold nothing to measure, the other half says little.
    if not values.size or 2 * measured.size < values.size:
        return None
    below = ((measured < estimate).sum() + (measured <= estimate).sum()) / (2 * measured.size)
    edge = 0.5 / measured.size
    shift = 2 * _NORMAL.inv_cdf(min(max(float(below), edge), 1 - edge))
    low, high = np.quantile(measured, [_NORMAL.cdf(shift + _NORMAL.inv_cdf(share)) for share in (0.025, 0.975)])
    return float(low), float(high)


def require_replicates(replicates: int) -> None:
    """Refuse a number of replicates that gives no interval, other than 0 for none.

    Raises:
        UserError: it is negative or too small for an interval of 95 %.

    >>> require_replicates(0)
    """
    if replicates and replicates < 40:
        raise UserError(f"bootstrap replicates are {replicates}, expected 0 (no interval) or 40 and more: try 1000")


def _poisson_quantiles() -> Weights:
    """The Poisson number of each 16-bit uniform number."""
    cumulative = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(HIGHEST_WEIGHT)])
    table: npt.NDArray[Any] = np.searchsorted(cumulative, (np.arange(2**16) + 0.5) / 2**16)
    return table.astype(np.uint8)


_NORMAL = NormalDist()
_QUANTILES = _poisson_quantiles()
