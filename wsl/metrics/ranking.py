"""The area under a precision-recall curve, by several rules."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError

Method = Literal["all-point", "11-point", "11-point-python", "11-point-matlab", "sum"]


def ranking_ap(scores: npt.ArrayLike, correct: npt.ArrayLike, positives: int, method: Method = "all-point") -> float:
    """Average precision of a ranked list of correct and wrong entries, given the number of ``positives``.

    * ``all-point``: precision at a recall is the best precision at that recall or a higher one, and AP is the area
      under it (VOC 2010 and later);
    * ``11-point``: the mean of that best precision at the recalls 0, 0.1, …, 1 (VOC 2007);
    * ``11-point-python``, ``11-point-matlab``: the same at the levels that programs compute for these recalls, some of
      which lie above the exact tenth (see `recall_levels`), so that a recall of exactly 3/10 misses its level;
    * ``sum``: no interpolation, the mean of the precision at each positive, 0 for those not found (WILDCAT).

    Entries of equal score are one step of the curve: precision and recall are read after all of them, so AP does not
    depend on the order of the input (in the devkit it depends on how the sort orders ties).

    Shape:
        ``scores`` and ``correct`` are (n,).

    Raises:
        UserError: lengths differ, a score is NaN, or there are no positives or fewer than correct entries.

    >>> ranking_ap([0.9, 0.8, 0.7], [True, False, True], positives=2, method="sum")
    0.8333333333333333
    """
    scores, correct = as_numbers(scores, "scores"), np.asarray(correct, np.bool_)
    require_method(method)
    if scores.ndim != 1 or scores.shape != correct.shape:
        raise UserError(f"scores have shape {scores.shape}, correct {correct.shape}, expected two lists of one length")
    if np.isnan(scores).any():
        raise UserError("a score is NaN, expected numbers: it cannot be ranked")
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
    first_reaching = np.searchsorted(recall, recall_levels(method))
    return float(np.append(envelope, 0.0)[first_reaching].mean())


def recall_levels(method: Method) -> npt.NDArray[np.float64]:
    """The recalls at which an 11-point rule reads precision, in float64.

    * ``11-point``: the float64 nearest to each tenth, which a recall of exactly as many tenths reaches;
    * ``11-point-python``: multiples of the float64 0.1, of which the fourth, seventh and eighth lie above 3/10, 6/10
      and 7/10. This is ``np.arange(0, 1.1, 0.1)`` of py-faster-rcnn, Detectron, detectron2 and mmdetection, and
      ``np.linspace(0, 1, 11)`` of rafaelpadilla's Object-Detection-Metrics;
    * ``11-point-matlab``: ``0:0.1:1`` of the VOC 2007 devkit. MATLAB takes multiples of 0.1 from the left end up to the
      middle, and from the right end beyond it, so that only the fourth lies above its tenth.

    Raises:
        UserError: the method is not an 11-point rule.

    >>> [(recall_levels(name) > recall_levels("11-point")).nonzero()[0].tolist()
    ...  for name in ("11-point-python", "11-point-matlab")]
    [[3, 6, 7], [3]]
    """
    if method == "11-point":
        return np.arange(11, dtype=np.float64) / 10
    if method == "11-point-python":
        return np.arange(11, dtype=np.float64) * 0.1
    if method == "11-point-matlab":
        return np.append(np.arange(6) * 0.1, 1 - np.arange(4, -1, -1) * 0.1)
    raise UserError(f"AP method is {method!r}, expected one that reads precision at levels of recall")


def require_method(method: str) -> None:
    """Refuse an unknown rule for average precision.

    Raises:
        UserError: the rule is unknown; the message names the known ones.
    """
    if method not in get_args(Method):
        *most, last = get_args(Method)
        raise UserError(f"AP method is {method!r}, expected {', '.join(most)} or {last}")
