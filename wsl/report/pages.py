"""Gallery items to HTML pages, one after the other: memory holds one page, whatever the number of images."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from wsl.config import BoxConfig
from wsl.draw import palette
from wsl.files import write_text

MAX_ITEMS = 1000
MAX_BYTES = 28_000_000
"""A page ends before it grows beyond this: mail takes 30 MB, and a phone opens it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """The pages that were written, first to last, and the number of images in them."""

    pages: tuple[Path, ...]
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands above the gallery: a title, facts by name, the evaluation's metrics, and plots (base64 of WebP).

    ``boxes`` are the resolved settings that boxes were drawn with: the slider begins at their threshold, and marks are
    saved with them.
    """

    title: str
    boxes: BoxConfig
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plots: Sequence[str] = ()


def write_report(
    items: Iterable[tuple[Mapping[str, Any], str]],
    head: Head,
    out: Path,
    *,
    max_items: int = MAX_ITEMS,
    max_bytes: int = MAX_BYTES,
    color_maps: Sequence[str] = ("turbo", "viridis", "cividis", "inferno"),
) -> ReportSummary:
    """Write ``report.html`` (and ``report-2.html``, … when one page is full) into ``out``.

    ``items`` are gallery items with their picture (base64 of WebP). A page needs no network and no other file; the
    pages of a long report link to each other. Pages that a longer report left behind are removed.

    Raises:
        UserError: an unknown colour map.
    """
    render = _renderer(head, color_maps)
    written: list[Path] = []
    images = 0
    waiting: list[str] | None = None
    for page in _pages(items, max_items, max_bytes):
        # Whether a page has a next one is known when that one begins.
        if waiting is not None:
            written.append(_write(out, len(written) + 1, waiting, render, last=False))
        waiting = page
        images += len(page)
    written.append(_write(out, len(written) + 1, waiting or [], render, last=True))
    for number in range(len(written) + 1, 10_000):
        stale = out / _name(number)
        if not stale.is_file():
            break
        stale.unlink()
    return ReportSummary(pages=tuple(written), images=images)


def _pages(items: Iterable[tuple[Mapping[str, Any], str]], max_items: int, max_bytes: int) -> Iterator[list[str]]:
    page: list[str] = []
    size = 0
    for item, picture in items:
        text = _json({**item, "picture": picture})
        if page and (len(page) >= max_items or size + len(text) > max_bytes):
            yield page
            page, size = [], 0
        page.append(text)
        size += len(text)
    if page:
        yield page


def _renderer(head: Head, color_maps: Sequence[str]) -> Callable[..., str]:
    files = resources.files("wsl.report") / "assets"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files / "page.html").read_text(encoding="utf-8"))
    shared = {
        "head": head,
        "style": (files / "report.css").read_text(encoding="utf-8"),
        "scripts": [(files / name).read_text(encoding="utf-8") for name in ("picture.js", "marks.js", "gallery.js")],
        "settings": _json({"title": head.title, "boxes": asdict(head.boxes)}),
        "palettes": _json({name: _palette(name) for name in color_maps}),
    }
    return lambda **page: template.render(**shared, **page)


def _write(out: Path, number: int, items: list[str], render: Callable[..., str], *, last: bool) -> Path:
    path = out / _name(number)
    text = render(
        items="[" + ",\n".join(items) + "]",
        count=len(items),
        number=number,
        previous=_name(number - 1) if number > 1 else None,
        following=None if last else _name(number + 1),
    )
    write_text(path, text)
    return path


def _name(number: int) -> str:
    return "report.html" if number == 1 else f"report-{number}.html"


def _palette(name: str) -> str:
    return base64.b64encode(np.rint(palette(name)).astype(np.uint8).tobytes()).decode("ascii")


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
