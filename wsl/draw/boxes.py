"""Labelled boxes on an image: predictions solid in their class's colour, ground truth dashed in black and white."""

from __future__ import annotations

import colorsys
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from wsl.boxes import Boxes
from wsl.draw.overlays import UInt8Array, as_image
from wsl.draw.text import BLACK, WHITE, Color, Font, contrasting, load_font, shorten

Rectangle = tuple[int, int, int, int]

# On a small picture a label hides the object: it is left out if it would cover more than this fraction of the picture.
_LARGEST_LABEL = 0.2
# Chosen so that no two of VOC's classes, and no two digits, have similar colours.
_SEED = 11
# With more boxes lines and text shrink, by half at most, so that labels hide less of each other.
_FULL_SIZE = 10


def class_color(label: str) -> Color:
    """The colour of a class: bright, and the same in every run, on every machine and for any set of classes.

    It depends on the name alone, so of many classes some have similar colours; no two of VOC's have.

    >>> class_color("dog") == class_color("dog") != class_color("cat")
    True
    """
    code = zlib.crc32(label.encode("utf-8", "surrogatepass"), _SEED)
    lightness = (0.4, 0.55, 0.7)[code % 3]
    red, green, blue = colorsys.hls_to_rgb(code / 2**32, lightness, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    image: UInt8Array,
    boxes: Boxes,
    *,
    color: Color | None = None,
    dashed: bool = False,
    labels: bool = True,
    scores: bool = True,
) -> UInt8Array:
    """Draw boxes with their names and scores; lines and text scale with the image, and are finer with many boxes.

    Labels that would hide much of a very small image are left out.

    Solid boxes are for predictions: in the colour of the class, with name and score above. Dashed boxes are for
    annotations: in black and white, with the name below, and difficult ones marked as such. The two can be told apart
    without colour vision.

    Shape:
        ``image`` is (H, W, 3) uint8 RGB and is not modified; ``boxes`` are in its pixels, and clipped to it. The result
        has the shape of the image.

    Args:
        color: Colour of lines and labels, instead of each class's own (solid) or white on black (dashed).
        dashed: Draw dashed lines, without scores.
        labels: Write the names.
        scores: Write the scores of solid boxes after the names.

    Raises:
        UserError: the image is not (H, W, 3) uint8.

    >>> import numpy as np
    >>> black = np.zeros((100, 100, 3), np.uint8)
    >>> drawn = draw_boxes(black, Boxes(xyxy=[[20, 30, 80, 90]], labels=["dog"]), color=(9, 8, 7))
    >>> drawn[60, 20].tolist(), drawn[60, 50].tolist()
    ([9, 8, 7], [0, 0, 0])
    """
    return _draw(image, [_Layer(boxes, color, dashed, labels, scores)])


def draw_comparison(image: UInt8Array, predicted: Boxes, true: Boxes) -> UInt8Array:
    """Draw predicted boxes over ground truth, with no line through a label and, if possible, no overlapping labels.

    Shape:
        As for `draw_boxes`, which describes how the two look.

    Raises:
        UserError: the image is not (H, W, 3) uint8.

    >>> import numpy as np
    >>> dog = Boxes(xyxy=[[20, 30, 80, 90]], labels=["dog"])
    >>> drawn = draw_comparison(np.zeros((100, 100, 3), np.uint8), dog, dog)
    >>> tuple(drawn[60, 20].tolist()) == class_color("dog")
    True
    """
    return _draw(image, [_Layer(true, None, True, True, False), _Layer(predicted, None, False, True, True)])


class _Layer(NamedTuple):
    """Boxes and how they are drawn."""

    boxes: Boxes
    color: Color | None
    dashed: bool
    labels: bool
    scores: bool

    def color_of(self, index: int) -> Color:
        return self.color or (WHITE if self.dashed else class_color(self.boxes.labels[index]))

    def suffix(self, index: int) -> str:
        if self.dashed:
            return " (difficult)" if self.boxes.difficult[index] else ""
        return f" {self.boxes.scores[index]:.2f}" if self.scores else ""

    def visible(self, size: tuple[int, int]) -> list[tuple[int, Rectangle]]:
        """The inclusive pixels of boxes that touch the picture; the largest first, so that it is below the others."""
        order = np.argsort(-self.boxes.area, kind="stable")
        covered = [(int(i), _covered(self.boxes.xyxy[i].tolist(), size)) for i in order]
        return [(i, pixels) for i, pixels in covered if pixels is not None]


class _Style(NamedTuple):
    """Sizes in pixels that scale with the picture, and shrink where there are many boxes."""

    size: tuple[int, int]
    line: int
    font: Font

    @classmethod
    def of(cls, size: tuple[int, int], boxes: int) -> _Style:
        side = (size[0] * size[1]) ** 0.5 * max(0.5, min(1, (_FULL_SIZE / max(1, boxes)) ** 0.5))
        return cls(size, max(2, round(side / 140)), load_font(max(10, round(side / 29)), bold=True))


def _draw(image: UInt8Array, layers: list[_Layer]) -> UInt8Array:
    picture = Image.fromarray(as_image(image))
    canvas = ImageDraw.Draw(picture)
    style = _Style.of(picture.size, sum(len(layer.boxes) for layer in layers))
    for layer in layers:
        for i, pixels in layer.visible(style.size):
            _outline(canvas, pixels, style.line, layer.color_of(i), layer.dashed)
    taken: list[Rectangle] = []
    for layer in reversed(layers):  # labels of the top layer are placed first
        for i, pixels in layer.visible(style.size) if layer.labels else []:
            plate = _label(canvas, style, layer, i, pixels, taken) if layer.boxes.labels[i] else None
            if plate is not None:
                taken.append(plate)
    return np.array(picture)


def _covered(xyxy: list[float], size: tuple[int, int]) -> Rectangle | None:
    x0, y0, x1, y1 = (round(edge) for edge in xyxy)
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(size[0], x1) - 1, min(size[1], y1) - 1
    return (x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 else None


def _outline(canvas: ImageDraw.ImageDraw, box: Rectangle, line: int, color: Color, dashed: bool) -> None:
    x0, y0, x1, y1 = box
    line = max(1, min(line, (x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2))
    # A thin dark outline keeps a line visible on a background of the same colour.
    canvas.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=BLACK, width=1)
    if not dashed:
        canvas.rectangle(box, outline=color, width=line)
        return
    canvas.rectangle(box, outline=BLACK, width=line)
    dash = 4 * line
    for x in range(x0, x1 + 1, 2 * dash):
        end = min(x + dash - 1, x1)
        canvas.rectangle((x, y0, end, y0 + line - 1), fill=color)
        canvas.rectangle((x, y1 - line + 1, end, y1), fill=color)
    for y in range(y0, y1 + 1, 2 * dash):
        end = min(y + dash - 1, y1)
        canvas.rectangle((x0, y, x0 + line - 1, end), fill=color)
        canvas.rectangle((x1 - line + 1, y, x1, end), fill=color)


def _label(
    canvas: ImageDraw.ImageDraw, style: _Style, layer: _Layer, index: int, box: Rectangle, taken: list[Rectangle]
) -> Rectangle | None:
    """Write name and score on a filled plate beside the box; return the plate, or None if it would be too large."""
    font, pad, color = style.font, max(2, style.line), layer.color_of(index)
    suffix = layer.suffix(index)
    # A name may be as wide as its box, or half the picture if that is more; scores are never shortened.
    room = min(style.size[0], max(box[2] - box[0] + 1, style.size[0] // 2)) - 2 * pad
    text = shorten(layer.boxes.labels[index], font, room - font.getlength(suffix)) + suffix
    extent = round(font.getlength(text)) + 2 * pad, sum(font.getmetrics()) + pad
    (width, height), (whole_width, whole_height) = extent, style.size
    if width > whole_width or width * height > _LARGEST_LABEL * whole_width * whole_height:
        return None
    plate = _place(extent, box, style.size, layer.dashed, taken)
    canvas.rectangle(plate, fill=color, outline=BLACK if layer.dashed else None)
    canvas.text((plate[0] + pad, plate[1] + pad // 2), text, font=font, fill=contrasting(color))
    return plate


def _place(
    extent: tuple[int, int], box: Rectangle, size: tuple[int, int], dashed: bool, taken: list[Rectangle]
) -> Rectangle:
    """The position of a plate: above a solid or below a dashed box, in the picture, clear of others if possible."""
    (width, height), (x0, y0, x1, y1) = extent, box
    above, top, bottom, below = y0 - height, y0, y1 - height + 1, y1 + 1
    rows = (below, bottom, top, above) if dashed else (above, top, bottom, below)
    columns = (x0, x1 - width + 1)
    places = [
        (left, row, left + width - 1, row + height - 1)
        for row in rows
        if 0 <= row <= size[1] - height
        for left in (min(max(column, 0), max(size[0] - width, 0)) for column in columns)
    ]
    free = [place for place in places if not any(_touch(place, other) for other in taken)]
    fallback = (0, 0, width - 1, height - 1)
    return next(iter([*free, *places, fallback]))


def _touch(a: Rectangle, b: Rectangle) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
