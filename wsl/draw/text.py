"""Text in pictures, with a font that every installation has and that covers accents, Greek and Cyrillic."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from PIL import ImageFont

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)


def load_font(size: int, *, bold: bool = False) -> Font:
    """DejaVu Sans, which is part of matplotlib, ``size`` pixels high.

    >>> load_font(12).getlength("Füchse") > load_font(12).getlength("F")
    True
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def shorten(text: str, font: Font, width: float) -> str:
    """The text, shortened with an ellipsis if it is wider than ``width`` pixels.

    >>> shorten("pottedplant", load_font(10), 1000), shorten("pottedplant", load_font(10), 30)
    ('pottedplant', 'pot…')
    """
    # File names of other encodings contain lone surrogates, which no font can draw.
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def contrasting(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (Rec. 601 luma).

    >>> contrasting((255, 255, 0)), contrasting((0, 0, 160))
    ((0, 0, 0), (255, 255, 255))
    """
    red, green, blue = color
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
