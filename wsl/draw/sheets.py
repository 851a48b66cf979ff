"""Contact sheets of many pictures, and saving of pictures and sheets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw

from wsl.draw.overlays import UInt8Array, as_image
from wsl.draw.text import load_font, shorten
from wsl.errors import UserError
from wsl.files import replacing

CELL = (320, 240)
_SHORTEST = 32  # side of the cell of a single size, which has a title
_GAP = 14
_INK = (33, 37, 41)
_PAPER = (255, 255, 255)
_FRAME = (243, 244, 246)


def contact_sheet(
    pictures: Sequence[UInt8Array],
    *,
    columns: int = 4,
    titles: Sequence[str] = (),
    heading: str = "",
    cell: tuple[int, int] = CELL,
) -> UInt8Array:
    """Arrange pictures in rows on a white page, each scaled to fit its cell, with a title below.

    Shape:
        ``pictures`` are (H, W, 3) uint8 RGB of any sizes, ``cell`` is (width, height) in pixels. The result is one
        image, as wide as ``columns`` cells.

    Raises:
        UserError: there is no picture or no column, a picture is not (H, W, 3) uint8, or the number of titles is not
            that of the pictures.

    >>> import numpy as np
    >>> contact_sheet([np.zeros((10, 20, 3), np.uint8)] * 3, columns=2, cell=(100, 80)).shape
    (202, 242, 3)
    """
    if not pictures:
        raise UserError("a contact sheet of no pictures: expected at least one")
    if titles and len(titles) != len(pictures):
        raise UserError(f"{len(titles)} titles for {len(pictures)} pictures: expected one each, or none")
    if columns < 1 or min(cell) < 8:
        raise UserError(f"{columns} columns of {cell[0]}x{cell[1]} pixels: expected 1 or more, of 8x8 or larger")
    font, head = load_font(max(9, cell[0] // 22)), load_font(max(11, cell[0] // 13), bold=True)
    top = _GAP + (sum(head.getmetrics()) + _GAP if heading else 0)
    step = cell[0] + _GAP, cell[1] + _GAP + (sum(font.getmetrics()) + 4 if titles else 0)
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (_GAP + columns * step[0], top + rows * step[1]), _PAPER)
    canvas = ImageDraw.Draw(page)
    if heading:
        canvas.text((_GAP, _GAP), shorten(heading, head, page.width - 2 * _GAP), font=head, fill=_INK)
    for i, picture in enumerate(pictures):
        left, upper = _GAP + i % columns * step[0], top + i // columns * step[1]
        canvas.rectangle((left, upper, left + cell[0] - 1, upper + cell[1] - 1), fill=_FRAME)
        small = Image.fromarray(fit_into(picture, cell))
        page.paste(small, (left + (cell[0] - small.width) // 2, upper + (cell[1] - small.height) // 2))
        if titles:
            canvas.text((left, upper + cell[1] + 3), shorten(titles[i], font, cell[0]), font=font, fill=_INK)
    return np.array(page)


def cell_of(picture: UInt8Array) -> tuple[int, int]:
    """The cell (width, height) of a sheet whose pictures all have the size of this one; larger if that is very flat.

    >>> cell_of(np.zeros((10, 400, 3), np.uint8))
    (400, 32)
    """
    height, width = picture.shape[:2]
    return max(width, _SHORTEST), max(height, _SHORTEST)


def save_sheets(
    pictures: Iterable[tuple[str, UInt8Array]],
    stem: Path,
    *,
    columns: int = 4,
    rows: int = 5,
    file_format: Literal["png", "pdf"] = "png",
    title: str = "",
    cell: tuple[int, int] = CELL,
) -> list[Path]:
    """Lay out a stream of titled pictures on pages and save them, holding one page at a time.

    PNG pages are ``<stem>-001.png``, ``<stem>-002.png``, …; a PDF is one file ``<stem>.pdf`` with all pages. Without
    pictures no file is written.

    Raises:
        UserError: a picture is not (H, W, 3) uint8, columns or rows are below 1, or the format is unknown.

    >>> import tempfile
    >>> grey = np.full((10, 20, 3), 128, np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pages = save_sheets([("a", grey), ("b", grey)], Path(folder, "sheet"), columns=1, rows=1)
    ...     [page.name for page in pages]
    ['sheet-001.png', 'sheet-002.png']
    """
    if columns < 1 or rows < 1:
        raise UserError(f"{columns} columns and {rows} rows: expected 1 or more of each")
    if file_format not in ("png", "pdf"):
        raise UserError(f"file format is {file_format!r}, expected png or pdf")
    pages = _pages(pictures, columns, columns * rows, title, cell)
    if file_format == "pdf":
        return _save_pdf(pages, stem.with_name(f"{stem.name}.pdf"))
    paths = []
    for number, page in enumerate(pages, 1):
        paths.append(stem.with_name(f"{stem.name}-{number:03d}.png"))
        save_image(paths[-1], page)
    return paths


def save_image(path: Path, image: UInt8Array) -> None:
    """Write a PNG file atomically, replacing an existing one.

    Raises:
        UserError: the image is not (H, W, 3) uint8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_image(Path(folder, "a.png"), np.zeros((2, 3, 3), np.uint8))
    ...     with Image.open(Path(folder, "a.png")) as saved:
    ...         saved.size
    (3, 2)
    """
    picture = Image.fromarray(as_image(image))
    with replacing(path, durable=False) as temporary:
        # Level 1 takes a quarter of the time of the default for a tenth more bytes.
        picture.save(temporary, format="PNG", compress_level=1)


def fit_into(picture: UInt8Array, cell: tuple[int, int]) -> UInt8Array:
    """Scale a picture so that it just fits into ``cell`` (width, height), keeping its aspect ratio.

    >>> fit_into(np.zeros((10, 40, 3), np.uint8), (100, 100)).shape
    (25, 100, 3)
    """
    height, width = as_image(picture).shape[:2]
    scale = min(cell[0] / width, cell[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Area averaging keeps thin lines when shrinking, but would show blocks when enlarging.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _pages(
    pictures: Iterable[tuple[str, UInt8Array]], columns: int, per_page: int, title: str, cell: tuple[int, int]
) -> Iterator[UInt8Array]:
    # Resized as they are read, so that only thumbnails are in memory.
    small = ((name, fit_into(picture, cell)) for name, picture in pictures)
    for number in itertools.count(1):
        batch = list(itertools.islice(small, per_page))
        if not batch:
            return
        heading = f"{title} · page {number}" if title and number > 1 else title
        names, thumbnails = zip(*batch, strict=True)
        yield contact_sheet(thumbnails, columns=columns, titles=names, heading=heading, cell=cell)


def _save_pdf(pages: Iterator[UInt8Array], path: Path) -> list[Path]:
    first = next(pages, None)
    if first is None:
        return []
    with replacing(path, durable=False) as temporary:
        for number, page in enumerate(itertools.chain([first], pages)):
            Image.fromarray(page).save(temporary, format="PDF", append=number > 0, resolution=150, quality=90)
    return [path]
