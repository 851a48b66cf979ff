"""Cluttered canvases of handwritten digits: scans of real handwriting, scaled and scattered, with ground-truth boxes.

All pixels are computed in integer arithmetic (except for the lines, which OpenCV draws), so that a seed gives the same
canvases on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
Rng = np.random.Generator

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 128
MOST_DIGITS = 4

_TEST_SHARE = 3  # every third scan of a class
_SCALE = (20, 40)  # range of a scan's side on the canvas, in pixels: 2.5 to 5 times its 8 cells
_MARGIN = 3  # free pixels around a digit
_FRAGMENT_CELLS = 3  # side of the cut-outs: little more than a stroke, never a digit
_FULL = 16  # the darkest cell of a scan
_ONE = 256  # the number one in the fixed-point weights of the interpolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scans:
    """Handwritten digits of 8x8 cells from 0 (paper) to 16 (ink), with their indices in scikit-learn's data set."""

    cells: IntArray
    labels: IntArray
    numbers: IntArray

    def select(self, index: npt.NDArray[np.intp]) -> Scans:
        """The scans at `index`."""
        return Scans(cells=self.cells[index], labels=self.labels[index], numbers=self.numbers[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Digit:
    """A digit on a canvas: its class, the index of its scan, and the half-open box of its ink."""

    label: str
    scan: int
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """An image, its digits, and for each pixel the digit whose ink covers it (a position in `digits`, or -1)."""

    pixels: UInt8Array
    digits: tuple[Digit, ...]
    ink: IntArray


def read_scans() -> Scans:
    """The 1797 scans that come with scikit-learn (Alpaydin and Kaynak, UCI optical recognition of digits).

    >>> read_scans().cells.shape
    (1797, 8, 8)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    cells = np.rint(bunch.images).astype(np.int64)
    return Scans(cells=cells, labels=bunch.target.astype(np.int64), numbers=np.arange(len(cells), dtype=np.int64))


def split_scans(scans: Scans, seed: int) -> tuple[Scans, Scans]:
    """Split scans into those for training canvases and for held-out canvases (a third of each class), without overlap.

    >>> train, test = split_scans(read_scans(), seed=0)
    >>> len(train.labels), len(test.labels)
    (1195, 602)
    """
    rng = np.random.default_rng((seed, 0))
    held_out = np.zeros(len(scans.labels), bool)
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(scans.labels == label))
        held_out[members[::_TEST_SHARE]] = True
    return scans.select(np.flatnonzero(~held_out)), scans.select(np.flatnonzero(held_out))


def draw_canvases(scans: Scans, count: int, seed: tuple[int, ...]) -> Iterator[Canvas]:
    """Draw `count` canvases with one to four digits of different classes; class frequencies differ by at most one.

    >>> canvas = next(draw_canvases(read_scans(), 1, seed=(0,)))
    >>> canvas.pixels.shape, len(canvas.digits)
    ((128, 128, 3), 4)
    """
    rng = np.random.default_rng(seed)
    uses = np.zeros(len(CLASSES), np.int64)
    for _ in range(count):
        digits = int(rng.integers(1, MOST_DIGITS, endpoint=True))
        labels = np.lexsort((rng.permutation(len(CLASSES)), uses))[:digits]  # those drawn least often so far
        uses[labels] += 1
        yield _draw(scans, labels.tolist(), rng)


def stamp(cells: IntArray, width: int, height: int) -> UInt8Array:
    """Scale a scan, or a piece of one, to the opacity of its ink (0 to 255), cropped to the pixels with ink.

    `width` and `height` are the size of 8 cells in pixels; the interpolation is cubic (Catmull-Rom).

    Shape:
        (h, w) cells to at most about (h * height / 8, w * width / 8), plus a margin.

    >>> stamp(np.full((8, 8), 16), width=24, height=32).shape
    (34, 26)
    """
    padded = np.zeros([side + 2 for side in cells.shape])  # so that strokes at the border have round ends
    padded[1:-1, 1:-1] = cells
    rows, columns = (
        _cubic(cells_along, round(cells_along * side / 8))
        for cells_along, side in zip(padded.shape, (height, width), strict=True)
    )
    ink = (rows @ padded @ columns.T).astype(np.int64)
    # Ink is visible from a quarter of its full value on, and opaque from three quarters on.
    full = _FULL * _ONE * _ONE
    opacity = ((510 * ink) // full - 128).clip(0, 255).astype(np.uint8)
    used_rows, used_columns = np.flatnonzero(opacity.any(axis=1)), np.flatnonzero(opacity.any(axis=0))
    window = np.s_[used_rows[0] : used_rows[-1] + 1, used_columns[0] : used_columns[-1] + 1]
    return np.asarray(opacity[window], np.uint8)


@functools.cache
def _cubic(cells: int, pixels: int) -> FloatArray:
    """Fixed-point weights (pixels, cells) of Catmull-Rom interpolation; the border cells are repeated outside.

    They are whole numbers in floating point, with which matrix products are fast and just as exact.
    """
    place = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    base = np.floor(place).astype(np.int64)
    weights = np.zeros((pixels, cells))
    for step in (-1, 0, 1, 2):
        t = np.abs(place - base - step)
        near, far = ((1.5 * t - 2.5) * t) * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
        weight = np.rint(_ONE * np.where(t < 1, near, far))
        np.add.at(weights, (np.arange(pixels), np.clip(base + step, 0, cells - 1)), weight)
    return weights


def _draw(scans: Scans, labels: list[int], rng: Rng) -> Canvas:
    placed = None
    while placed is None:  # repeated in the rare case that there is no room for the last digit
        placed = _place_digits(scans, labels, rng)
    picture = _background(rng)
    ink = np.full((SIDE, SIDE), -1, np.int64)
    for i, (digit, opacity) in enumerate(placed):
        x0, y0, x1, y1 = digit.box
        _paint(picture, opacity, digit.box, rng)
        ink[y0:y1, x0:x1][opacity > 0] = i
    digits = tuple(digit for digit, _ in placed)
    taken = [digit.box for digit in digits]
    for _ in range(int(rng.integers(3, 8, endpoint=True))):
        opacity = _fragment(scans, rng)
        box = _free_place(opacity, taken, rng)
        if box is not None:
            _paint(picture, opacity, box, rng)
            taken.append(box)
    picture += rng.integers(-8, 8, (SIDE, SIDE, 1), endpoint=True)
    return Canvas(pixels=np.clip(picture, 0, 255).astype(np.uint8), digits=digits, ink=ink)


def _place_digits(scans: Scans, labels: list[int], rng: Rng) -> list[tuple[Digit, UInt8Array]] | None:
    """Place a digit of each class, with the opacity of its ink; None if they do not all fit."""
    placed: list[tuple[Digit, UInt8Array]] = []
    for label in labels:
        scan = int(rng.choice(np.flatnonzero(scans.labels == label)))
        height = int(rng.integers(*_SCALE, endpoint=True))
        width = height * int(rng.integers(85, 115, endpoint=True)) // 100
        opacity = stamp(scans.cells[scan], width, height)
        box = _free_place(opacity, [digit.box for digit, _ in placed], rng)
        if box is None:
            return None
        placed.append((Digit(label=CLASSES[label], scan=int(scans.numbers[scan]), box=box), opacity))
    return placed


def _background(rng: Rng) -> IntArray:
    """A background of soft colours of medium brightness, with lines across it, (SIDE, SIDE, 3)."""
    corners = rng.integers(75, 145, (1, 1, 3)) + rng.integers(-30, 30, (4, 4, 3), endpoint=True)
    weights = _cubic(4, SIDE)
    picture = (weights @ corners.transpose(2, 0, 1) @ weights.T).astype(np.int64) // (_ONE * _ONE)
    canvas = np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    for _ in range(int(rng.integers(2, 6, endpoint=True))):
        start, end = rng.integers(-SIDE // 4, SIDE + SIDE // 4, (2, 2)).tolist()
        cv2.line(canvas, start, end, rng.integers(30, 215, 3).tolist(), int(rng.integers(1, 2, endpoint=True)))
    return canvas.astype(np.int64)


def _fragment(scans: Scans, rng: Rng) -> UInt8Array:
    """A small piece of a stroke, rotated by a multiple of 90 degrees."""
    cells = scans.cells[rng.integers(len(scans.cells))]
    row, column = rng.choice(np.argwhere(cells == cells.max()))
    top, left = (min(max(int(centre) - 1, 0), 8 - _FRAGMENT_CELLS) for centre in (row, column))
    piece = cells[top : top + _FRAGMENT_CELLS, left : left + _FRAGMENT_CELLS]
    side = int(rng.integers(*_SCALE, endpoint=True))
    return stamp(np.rot90(piece, int(rng.integers(4))), side, side)


def _free_place(opacity: UInt8Array, taken: list[Box], rng: Rng) -> Box | None:
    """A box of the stamp's size inside the canvas that is clear of the occupied boxes; None if none was found."""
    height, width = opacity.shape
    for _ in range(200):
        left, top = (int(rng.integers(_MARGIN, SIDE - _MARGIN - side, endpoint=True)) for side in (width, height))
        box = (left, top, left + width, top + height)
        if not any(_near(box, other) for other in taken):
            return box
    return None


def _near(a: Box, b: Box) -> bool:
    return a[0] - _MARGIN < b[2] and b[0] - _MARGIN < a[2] and a[1] - _MARGIN < b[3] and b[1] - _MARGIN < a[3]


def _paint(picture: IntArray, opacity: UInt8Array, box: Box, rng: Rng) -> None:
    """Paint a stamp in a colour that is brighter than any background."""
    color = rng.integers(190, 255, 3, endpoint=True)
    window = picture[box[1] : box[3], box[0] : box[2]]
    cover = opacity[:, :, None].astype(np.int64)
    window[:] = (window * (255 - cover) + color * cover) // 255
