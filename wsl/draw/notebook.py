"""A `Localization` as HTML, for notebooks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import Any

from PIL import Image, features

from wsl.draw.boxes import class_color, draw_boxes
from wsl.draw.localizations import localization_overlay, photo_of
from wsl.draw.overlays import UInt8Array
from wsl.draw.sheets import fit_into
from wsl.errors import UserError
from wsl.results import Localization

# Long side of the picture in pixels; a smaller image is enlarged so that its labels are legible.
_SMALLEST, _LARGEST = 320, 640
_MOST_CLASSES, _MOST_BOXES = 5, 10


def localization_html(found: Localization) -> str:
    """The image with heatmap and boxes, its classes with their probabilities, and its boxes, as one HTML element.

    The picture is embedded, and left out if the image cannot be read (any more).

    >>> from wsl.boxes import Boxes
    >>> gone = Localization(path="gone.jpg", size=(4, 2), scores={"<dog>": 0.9}, boxes=Boxes.empty())
    >>> "&lt;dog&gt;" in localization_html(gone), "<img" in localization_html(gone)
    (True, False)
    """
    width, height = found.size
    head = f"<b>{_text(found.id)}</b> · {width} × {height} pixels"
    best = sorted(found.scores.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
    classes = _table(("class", "probability"), [(_swatch(found, name), f"{score:.3f}") for name, score in best])
    boxes = found.boxes
    rows = [
        (_text(boxes.labels[i]), f"{boxes.scores[i]:.3f}", *(f"{edge:.0f}" for edge in boxes.xyxy[i].tolist()))
        for i in range(min(len(boxes), _MOST_BOXES))
    ]
    listed = _table(("box", "score", "x0", "y0", "x1", "y1"), rows) if rows else "<div>no boxes</div>"
    more = f"<div>and {len(boxes) - len(rows)} more boxes</div>" if len(boxes) > len(rows) else ""
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">'
        f'{_picture(found)}<div><div title="{_text(found.path)}">{head}</div>{classes}{listed}{more}</div></div>'
    )


def _picture(found: Localization) -> str:
    try:
        picture = _drawn(found)
    except UserError:  # the image is gone or has changed: show only the numbers
        return ""
    height, width = picture.shape[:2]
    kind = "WEBP" if features.check("webp") else "PNG"
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, quality=90)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'<img src="data:image/{kind.lower()};base64,{data}" width="{width}" height="{height}" '
        f'style="max-width:100%;height:auto" alt="{_text(found.id)}">'
    )


def _drawn(found: Localization) -> UInt8Array:
    photo = photo_of(found)
    side = min(max(*photo.shape[:2], _SMALLEST), _LARGEST)
    photo = fit_into(photo, (side, side))
    if found.maps is None:
        return draw_boxes(photo, found.boxes.scaled(found.size, to=photo.shape[1::-1]))
    return localization_overlay(found, image=photo)


def _swatch(found: Localization, name: str) -> str:
    """The name of a class, with the colour of its boxes if it has any."""
    if name not in found.boxes.labels:
        return _text(name)
    red, green, blue = class_color(name)
    return f'<span style="color:rgb({red},{green},{blue})">■</span> {_text(name)}'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    """The value as escaped text; characters that cannot be encoded (file names of other encodings) are replaced."""
    return escape(str(value).encode("utf-8", "replace").decode())
