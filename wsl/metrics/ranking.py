"""The area under a precision-recall curve, by the three rules in use."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

Method = Literal["all-point", "11-point", "sum"]


def ranking_ap(scores: npt.ArrayLike, correct: npt.ArrayLike, positives: int, method: Method = "all-point") -> float:
    """Average precision of a ranked list, of which some entries are correct, against ``positives`` to be found.

    * ``all-point``: precision at a recall is the best precision at that recall or a higher one, and AP is the area
      under it (VOC 2010 and later);
    * ``11-point``: the mean of that best precision at the recalls 0, 0.1, …, 1 (VOC 2007);
    * ``sum``: no interpolation, the mean of the precision at each positive, 0 for those not found (WILDCAT).

    Entries of equal score are one step of the curve: precision and recall are read after all of them, so that AP
    does not depend on the order of the input (the devkit's does, by the order in which its sort leaves ties).

    Shape:
        ``scores`` and ``correct`` are (n,).

    Raises:
        UserError: lengths differ, a score is NaN, or there are fewer positives than correct entries, or none.

    >>> ranking_ap([0.9, 0.8, 0.7], [True, False, True], positives=2, method="sum")
    0.8333333333333333
    """
    scores, correct = np.asarray(scores, np.float64), np.asarray(correct, np.bool_)
    require_method(method)
    if scores.ndim != 1 or scores.shape != correct.shape:
        raise UserError(f"scores have shape {scores.shape}, correct {correct.shape}, expected two lists of one length")
    if np.isnan(scores).any():
        raise UserError("a score is NaN, expected numbers: no rank can be given to it")
    if positives < max(1, int(correct.sum())):
        raise UserError(f"{positives} positives with {int(correct.sum())} found, expected as many or more, at least 1")
    if not scores.size:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    found = np.cumsum(correct[order])[last_of_ties]
    precision = found / (np.flatnonzero(last_of_ties) + 1)
    recall = found / positives
    if method == "sum":
        return float((np.diff(recall, prepend=0.0) * precision).sum())
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if method == "all-point":
        return float((np.diff(recall, prepend=0.0) * envelope).sum())
    # Exact tenths: k * 0.1 would lie above 3/10 and miss a recall of three tenths.
    first_reaching = np.searchsorted(recall, np.arange(11) / 10)
    return float(np.append(envelope, 0.0)[first_reaching].mean())


def require_method(method: str) -> None:
    """Refuse an unknown way to average.

    Raises:
        UserError: naming the known ones.

    >>> require_method("11-point")
    """
    if method not in get_args(Method):
        raise UserError(f"AP method is {method!r}, expected all-point, 11-point or sum")
