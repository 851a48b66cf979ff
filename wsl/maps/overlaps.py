"""The best IoU of a map's boxes at each threshold, by either protocol, for one map or a stream of maps."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.maps.benchmark import benchmark_overlaps
from wsl.maps.by_threshold import threshold_boxes
from wsl.maps.resolution import as_thresholds
from wsl.maps.sweep import Candidates, Doubles, as_ground_truth, check_candidates

Protocol = Literal["default", "wsolevaluation"]


def require_protocol(protocol: str) -> None:
    """Refuse an unknown protocol.

    Raises:
        UserError: it is unknown.
    """
    if protocol not in get_args(Protocol):
        raise UserError(f"protocol is {protocol!r}, expected default or wsolevaluation")


def overlaps(
    score_map: npt.ArrayLike,
    boxes: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    protocol: Protocol = "default",
    candidates: Candidates = "largest",
    size: tuple[int, int] | None = None,
    resolution: int = 256,
) -> Doubles:
    """The highest IoU of a map's boxes with any ground-truth box at each threshold, from one pass over its pixels.

    * ``default``: the map is resized and normalised as by `boxes_from_map`, and boxes are half-open, in pixels of
      ``size``. A map without contrast has no boxes: IoU 0.
    * ``wsolevaluation``: the map is used unchanged (see `benchmark_map`), and boxes are in its cells with inclusive far
      corners, exactly as in the benchmark's code; `wsl.maps.benchmark` lists the differences.

    ``candidates`` are the largest component (MaxBoxAcc) or all of them (MaxBoxAccV2), of any size. Without ground-truth
    boxes the result is zeros. A ground-truth box may extend outside the map.

    Shape:
        ``score_map`` is (h, w), ``boxes`` (n, 4) xyxy, ``thresholds`` (T,) in [0, 1] in any order; the result is (T,).

    Raises:
        UserError: an argument has another shape or is out of range, or a box is inverted or not finite; for
            ``wsolevaluation`` also if the map is not in [0, 1], a corner is negative or the size is not the map's.

    >>> overlaps([[0, 2, 4, 1]], [1, 0, 3, 1], [0, 0.3, 0.6]).round(3).tolist()
    [0.667, 1.0, 0.5]
    """
    ground_truth, cuts = as_ground_truth(boxes), as_thresholds(thresholds)
    check_candidates(candidates)
    require_protocol(protocol)
    if protocol == "wsolevaluation":
        shape = np.shape(score_map)
        if size is not None and tuple(size) != shape[::-1]:
            raise UserError(f"size is {tuple(size)} for a map of shape {shape}, expected the map's own: resize it")
        return benchmark_overlaps(score_map, ground_truth, cuts, candidates)
    swept = threshold_boxes(score_map, cuts, size=size, resolution=resolution)
    return swept.best_iou(ground_truth, candidates)


def sweep_overlaps(
    items: Iterable[tuple[npt.ArrayLike, npt.ArrayLike] | tuple[npt.ArrayLike, npt.ArrayLike, tuple[int, int]]],
    thresholds: npt.ArrayLike,
    *,
    protocol: Protocol = "default",
    candidates: Candidates = "largest",
    workers: int | None = None,
) -> Iterator[Doubles]:
    """`overlaps` for a stream of maps, several at a time; results are in the order of the maps.

    The stream is read as results are consumed, at most a few maps ahead, so memory does not grow with its length.

    Shape:
        Each item is (map, boxes) or (map, boxes, size); each result is (T,).

    Raises:
        UserError: as for `overlaps`, or ``workers`` (threads, by default one per core) is below 1.

    >>> maps = [[[0, 2, 4, 1]], [[4, 4, 0, 0]]]
    >>> [best.tolist() for best in sweep_overlaps(zip(maps, [[2, 0, 3, 1], [0, 0, 2, 1]]), [0.6])]
    [[1.0], [1.0]]
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers are {workers}, expected 1 thread or more")
    cuts = as_thresholds(thresholds)
    threads = workers or os.cpu_count() or 1

    def one(item: tuple[npt.ArrayLike, ...]) -> Doubles:
        score_map, boxes, *size = item
        of = None if not size else (int(np.asarray(size[0])[0]), int(np.asarray(size[0])[1]))
        return overlaps(score_map, boxes, cuts, protocol=protocol, candidates=candidates, size=of)

    def stream() -> Iterator[Doubles]:
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Doubles]] = deque()
            for item in items:
                waiting.append(pool.submit(one, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    return stream()
