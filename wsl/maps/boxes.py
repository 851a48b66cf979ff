"""Boxes from a class map: threshold, connected components, bounding rectangles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes, FloatArray
from wsl.errors import UserError
from wsl.maps.resolution import working_size
from wsl.maps.scale import as_map, as_size

Rule = Literal["largest", "all", "peak", "nested"]
Score = Literal["height", "contrast"]
# The rules as `kernels.extraction` numbers them; there, `nested` is `all` at several thresholds.
RULES = {"largest": 0, "peak": 1, "all": 2, "nested": 2}
# Number of thresholds of the rule `nested`, chosen on photographs held out of VOC's train split.
_LEVELS = 5


class ExtractedBoxes(NamedTuple):
    """Boxes of one map as plain arrays: ``xyxy`` (n, 4) and ``scores`` (n,), both float32, highest score first."""

    xyxy: FloatArray
    scores: FloatArray


def boxes_from_map(
    score_map: npt.ArrayLike,
    *,
    threshold: float = 0.2,
    rule: Rule = "largest",
    size: tuple[int, int] | None = None,
    resolution: int = 256,
    label: str = "",
    min_area: float = 0.001,
) -> Boxes:
    """Boxes around the connected components of a class map above a fraction of its range.

    The map is resized bilinearly to the image, or to its aspect with ``resolution`` pixels on the long side when
    the image is larger (so the cost does not depend on the image's size), then normalised to [0, 1]. Pixels above
    ``threshold`` are foreground; their 8-connected components are the candidates, and a box's score is the maximum of
    the normalised map inside its component. ``rule`` chooses among them:

    * ``largest``: the one with the most pixels, as in CAM (ties go to the topmost, then the leftmost box, then the
      first in reading order);
    * ``peak``: the one that holds the map's maximum;
    * ``all``: every one that covers at least ``min_area`` of the image, highest score first;
    * ``nested``: as ``all``, and if a component splits into several at one of four higher thresholds, each of these
      too (see `nested`), for objects that touch.

    A map without contrast (constant, NaN, infinite) gives no box.

    Shape:
        ``score_map`` is (h, w) and covers the image; ``size`` is (width, height) of the image in pixels, the unit
        of the boxes. Without it the unit is the map's cell.

    Raises:
        UserError: an argument has another shape or lies out of range.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, section 3.2.

    >>> boxes = boxes_from_map([[0, 0, 0, 0], [0, 9, 9, 0], [0, 0, 0, 0]], threshold=0.5, label="dog")
    >>> boxes.xyxy.tolist(), boxes.scores.tolist(), boxes.labels
    ([[1.0, 1.0, 3.0, 2.0]], [1.0], ('dog',))
    """
    check_rule(threshold, rule, min_area)
    values = as_map(score_map)
    size = as_size(size or (values.shape[1], values.shape[0]))
    xyxy, scores = extract_boxes(values, size, threshold=threshold, rule=rule, min_area=min_area, resolution=resolution)
    return Boxes(xyxy=xyxy, labels=(label,) * len(scores), scores=scores)


def extract_boxes(
    score_map: FloatArray,
    size: tuple[int, int],
    *,
    threshold: float,
    rule: Rule = "largest",
    min_area: float = 0.001,
    resolution: int = 256,
) -> ExtractedBoxes:
    """`boxes_from_map` for callers with many maps: plain arrays, and no validation of arguments.

    It holds the interpreter's lock for a tenth of its time (`boxes_from_map` for a third), so threads run in parallel.

    Shape:
        ``score_map`` is (h, w), float32 and C-contiguous; ``size`` is (width, height) of the image in pixels.

    >>> extract_boxes(np.float32([[0, 9, 9, 0]]), (400, 100), threshold=0.5).xyxy.tolist()
    [[100.0, 0.0, 300.0, 100.0]]
    """
    # Imported here because numba takes half a second to load.
    from wsl.maps.kernels.extraction import extract

    width, height = working_size(size, resolution)
    at = _thresholds(threshold, rule)
    return ExtractedBoxes(*extract(score_map, (height, width), at, RULES[rule], min_area, size))


def extract_many(
    maps: FloatArray,
    sizes: Sequence[tuple[int, int]],
    *,
    threshold: float,
    rule: Rule = "largest",
    min_area: float = 0.001,
    resolution: int = 256,
    nms_iou: float = 1.0,
    score: Score = "height",
) -> list[ExtractedBoxes]:
    """`extract_boxes` for many maps of the same shape in one call, which releases the interpreter's lock.

    A box whose IoU with a higher-scored box of its map is above ``nms_iou`` is dropped. This is done here because a
    separate call for each map would have to wait for the interpreter's lock each time.

    With the score ``contrast``, for maps of probabilities, the scores of the boxes that remain are multiplied by
    (1 + c) / 2. The contrast c is the mean of the map (not normalised, but clipped to [0, 1]) inside the box minus its
    mean around the box, up to a quarter of the box's width and height away. It is high where the map is, and where the
    box fits: a box around two objects includes the background between them.

    Shape:
        ``maps`` is (M, h, w), float32 and C-contiguous; ``sizes`` are the (width, height) of the M images.

    Source: Shou et al., AutoLoc: Weakly-supervised Temporal Action Localization in Untrimmed Videos, ECCV 2018, the
    "Outer-Inner-Contrastive loss", in two dimensions.

    >>> [boxes.xyxy.tolist() for boxes in extract_many(np.float32([[[0, 9, 9, 0]]]), [(400, 100)], threshold=0.5)]
    [[[100.0, 0.0, 300.0, 100.0]]]
    """
    from wsl.maps.kernels.extraction import extract_all

    working = np.array([working_size(size, resolution) for size in sizes], np.int64).reshape(-1, 2)
    images = np.array(sizes, np.int64).reshape(-1, 2)
    at = _thresholds(threshold, rule)
    xyxy, scores, counts = extract_all(maps, images, working, at, RULES[rule], min_area, nms_iou)
    if score == "contrast":
        from wsl.maps.kernels.contrast import contrasted

        xyxy, scores = contrasted(maps, images, xyxy, scores, counts)
    ends = np.cumsum(counts).tolist()
    return [
        ExtractedBoxes(xyxy[end - count : end], scores[end - count : end])
        for end, count in zip(ends, counts.tolist(), strict=True)
    ]


def _thresholds(threshold: float, rule: Rule) -> npt.NDArray[np.float64]:
    return np.array(nested_thresholds(threshold) if rule == "nested" else [threshold])


def nested_thresholds(threshold: float) -> list[float]:
    """The thresholds of rule ``nested``: five in equal steps, from `threshold` towards 1.

    >>> nested_thresholds(0.5)
    [0.5, 0.6, 0.7, 0.8, 0.9]
    """
    return [round(threshold + (1 - threshold) * level / _LEVELS, 9) for level in range(_LEVELS)]


def nested(levels: Sequence[ExtractedBoxes]) -> ExtractedBoxes:
    """All boxes at the lowest of several thresholds, and the boxes of components that split at higher ones.

    If a component contains two or more components of a higher threshold, each of these gets a box with 0.7 times its
    score, and the score of the box around them is multiplied by 0.9. A component that only shrinks adds no box.
    Highest score first.

    >>> whole, half = ExtractedBoxes(np.float32([[0, 0, 9, 4]]), np.float32([1])), np.float32([1, 0.5])
    >>> nested([whole, ExtractedBoxes(np.float32([[0, 0, 4, 4], [5, 0, 9, 4]]), half)]).scores.round(2).tolist()
    [0.8999..., 0.699..., 0.3499...]
    """
    from wsl.maps.kernels.nesting import parted

    xyxy, scores = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    return ExtractedBoxes(*parted(xyxy, scores, np.cumsum([len(level.scores) for level in levels])))


def check_rule(threshold: float, rule: str, min_area: float) -> None:
    """Refuse settings that `boxes_from_map` cannot use.

    Raises:
        UserError: an argument is out of range.

    >>> check_rule(0.2, "all", 0.001)
    """
    if not 0 <= threshold < 1:
        raise UserError(f"threshold is {threshold}, expected a fraction of the map's range in [0, 1): try 0.2")
    if not 0 <= min_area < 1:
        raise UserError(f"min area is {min_area}, expected a fraction of the image in [0, 1)")
    if rule not in RULES:
        raise UserError(f"box rule is {rule!r}, expected {', '.join(RULES)}")


def ranked(xyxy: FloatArray, scores: FloatArray, label: str) -> Boxes:
    """Boxes of one class, highest score first; ties go to the topmost, then the leftmost, then the smaller box.

    >>> ranked(np.float32([[5, 5, 9, 9], [0, 0, 1, 1]]), np.float32([0.5, 0.5]), "dog").xyxy.tolist()
    [[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 9.0, 9.0]]
    """
    order = _order(xyxy, scores)
    return Boxes(xyxy=xyxy[order], labels=(label,) * len(order), scores=scores[order])


def _order(xyxy: FloatArray, scores: FloatArray) -> npt.NDArray[np.intp]:
    return np.lexsort((xyxy[:, 2], xyxy[:, 3], xyxy[:, 0], xyxy[:, 1], -scores))
