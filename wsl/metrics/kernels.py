"""Compiled loops of the metrics, over the pixels of a map, the boxes of an image, the entries of a ranking."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
_ROUNDING = 1e-5


@compiled
def exceeding(heats: Floats, numbers: npt.NDArray[np.int32], truth: npt.NDArray[np.int32], cuts: Floats) -> Counts:
    """Pixel counts by predicted class and by the number of thresholds exceeded, (P + 1, 2, T + 1).

    Row 0 of the second axis counts all pixels, row 1 those whose true class is the same. Entry 0 of the first axis is
    the background, for which every pixel is counted. Entry i is the class ``numbers[i - 1]``, for which the pixels are
    counted where its map is the highest and above 0 (ties go to the first). Pixels with a negative true class are left
    out.

    Shape:
        ``heats`` (P, H, W) in [0, 1], ``truth`` (H, W) with 0 for the background, ``cuts`` (T,) near i / T.
    """
    places, bins = len(heats), len(cuts) + 1
    height, width = truth.shape
    table = np.zeros((places + 1, 2, bins), np.int64)
    scale = np.float32(len(cuts))
    for y in range(height):
        for x in range(width):
            actual = truth[y, x]
            if actual < 0:
                continue
            winner, value = 0, np.float32(0)
            for place in range(places):
                if heats[place, y, x] > value:
                    winner, value = place + 1, heats[place, y, x]
            number = int(value * scale)
            if number < bins - 1 and cuts[number] < value:
                number += 1
            if number > 0 and cuts[number - 1] >= value:
                number -= 1
            table[0, 0, number] += 1
            table[0, 1, number] += actual == 0
            if winner > 0:
                table[winner, 0, number] += 1
                table[winner, 1, number] += actual == numbers[winner - 1]
    return table


@compiled
def binned(scores: Doubles, truth: npt.NDArray[np.int32], number: int, edges: Doubles) -> Counts:
    """The number of pixels with a score in each bin: first those of other classes, then those of class ``number``.

    Pixels with a negative true class are left out.

    Shape:
        ``scores`` in [0, 1] and ``truth`` are (n,), ``edges`` (T + 1,) near i / T; the result is (2, T + 1).
    """
    bins = len(edges)
    counts = np.zeros(2 * bins, np.int64)
    for pixel in range(len(truth)):
        if truth[pixel] >= 0:
            value = scores[pixel]
            place = int(value * (bins - 1))
            # The product is rounded, and so are the edges.
            if place < bins - 1 and edges[place + 1] <= value:
                place += 1
            elif edges[place] > value:
                place -= 1
            counts[np.uint64(place + bins * (truth[pixel] == number))] += 1
    return counts.reshape(2, bins)


@compiled
def cut_out(heat: Floats, threshold: float, truth: npt.NDArray[np.int32], number: int) -> tuple[int, int]:
    """The number of pixels above a threshold with a known true class, and how many of these have class ``number``.

    Shape:
        ``heat`` and ``truth`` are (H, W).
    """
    height, width = heat.shape
    found, shared, cut = 0, 0, np.float32(threshold)
    for y in range(height):
        for x in range(width):
            above = heat[y, x] > cut
            found += above & (truth[y, x] >= 0)
            shared += above & (truth[y, x] == number)
    return found, shared


@compiled
def surely_exceeds(cells: Doubles, threshold: float, truth: npt.NDArray[np.int32]) -> bool:
    """Whether two pixels suffice to show that the map's heatmap exceeds a threshold at a pixel that is not ignored.

    The pixels at the map's highest and lowest cells are compared; the heatmap's range is at least their difference.
    False if that does not decide, for example if the highest pixel is ignored.

    Shape:
        ``cells`` is (h, w), ``truth`` (H, W).

    >>> surely_exceeds(np.array([[0.0, 1.0]]), 0.2, np.zeros((2, 4), np.int32))
    True
    """
    top, y, x = _resized_in(cells, int(cells.argmax()), truth.shape)
    lowest, _, _ = _resized_in(cells, int(cells.argmin()), truth.shape)
    # The heatmap's minimum is at most the value of that pixel, its maximum at most the highest cell.
    span = cells.max() - lowest
    return bool(span > 0 and (top - lowest) / span > threshold + _ROUNDING and truth[y, x] >= 0)


@compiled
def _resized_in(cells: Doubles, cell: int, shape: tuple[int, ...]) -> tuple[float, int, int]:
    """The value of the bilinearly resized map at the pixel in the middle of a cell, and its row and column."""
    height, width = cells.shape
    y, x = int((cell // width + 0.5) * shape[0] / height), int((cell % width + 0.5) * shape[1] / width)
    down = min(max((y + 0.5) * height / shape[0] - 0.5, 0.0), height - 1.0)
    right = min(max((x + 0.5) * width / shape[1] - 0.5, 0.0), width - 1.0)
    y0, x0 = int(down), int(right)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    above = cells[y0, x0] * (1 - (right - x0)) + cells[y0, x1] * (right - x0)
    below = cells[y1, x0] * (1 - (right - x0)) + cells[y1, x1] * (right - x0)
    return above * (1 - (down - y0)) + below * (down - y0), y, x


@compiled
def coco_outcomes(
    overlap: Doubles, labels: npt.NDArray[np.int32], order: npt.NDArray[np.int64], crowd: npt.NDArray[np.bool_],
    thresholds: Doubles, limit: int,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:  # fmt: skip
    """By COCO's rules, whether each detection is correct (1), wrong (0) or left out (-1), and its rank in its class.

    A detection matches the unmatched true object of its class that it overlaps most (ties go to the last); any number
    of detections may match a crowd and are left out. Detections after the first ``limit`` of a class are also left out.

    Shape:
        ``overlap`` (n, m), -1 if the classes differ, ``order`` (n,) the detections by descending score; the results are
        (n, T) and (n,).
    """
    n, m = overlap.shape
    outcomes, ranks = np.zeros((n, len(thresholds)), np.int8), np.zeros(n, np.int32)
    seen = np.zeros(labels.max() + 1 if n else 0, np.int32)
    taken = np.zeros((len(thresholds), m), np.bool_)
    for found in order:
        ranks[found] = seen[labels[found]]
        seen[labels[found]] += 1
        if ranks[found] >= limit:
            outcomes[found] = -1
            continue
        for level in range(len(thresholds)):
            highest, match = min(thresholds[level], 1 - 1e-10), -1
            for true in range(m):
                if not crowd[true] and not taken[level, true] and overlap[found, true] >= highest:
                    highest, match = overlap[found, true], true
            if match >= 0:
                taken[level, match] = True
                outcomes[found, level] = 1
                continue
            for true in range(m):
                if crowd[true] and overlap[found, true] >= highest:
                    outcomes[found, level] = -1
    return outcomes, ranks


@compiled
def segment_sums(
    weights: npt.NDArray[np.uint8], entries: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> Doubles:
    """The sums of the rows ``entries`` of the weights, between consecutive ``ends``, (ends, replicates)."""
    replicates = weights.shape[1]
    sums = np.zeros((len(ends), replicates))
    row = np.zeros(replicates, np.uint32)
    start = 0
    for segment in range(len(ends)):
        row[:] = 0
        for i in range(start, ends[segment] + 1):
            of = entries[i]
            for replicate in range(replicates):
                row[replicate] += weights[of, replicate]
        start = ends[segment] + 1
        for replicate in range(replicates):
            sums[segment, replicate] = row[replicate]
    return sums
