"""HTML pages of gallery items, written one after the other, so that only one page is in memory at a time."""

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

_SCRIPTS = ("picture.js", "marks.js", "cards.js", "gallery.js")
MAX_ITEMS = 1000
MAX_BYTES = 28_000_000
"""Limit on the items of one page, in characters: such a page fits into a mail of 30 MB and opens on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """The pages of a report, first to last, and the number of images on them."""

    pages: tuple[Path, ...]
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The part of a page above the gallery: a title, facts by name, metrics by name, and plots (base64 of WebP).

    ``boxes`` are the resolved settings with which boxes were drawn: the slider starts at their threshold, and marks are
    saved with them. In a report of two runs, ``name`` is the run's name, ``against`` the head of the second run (whose
    title is not shown), and ``differences`` how much higher metrics are for the first run, where they can be compared.
    """

    title: str
    boxes: BoxConfig
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plots: Sequence[str] = ()
    name: str = ""
    against: Head | None = None
    differences: Mapping[str, float] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[Head, ...]:
        """The head of each run.

        >>> Head(title="What gap finds", boxes=BoxConfig().resolved()).runs[0].title
        'What gap finds'
        """
        return (self,) if self.against is None else (self, self.against)

    @property
    def rows(self) -> list[tuple[str, list[Mapping[str, Any] | None]]]:
        """Each metric by name, with its numbers for each run, or None for a run without them."""
        names = dict.fromkeys(name for run in self.runs for name in run.metrics)
        return [(name, [run.metrics.get(name) for run in self.runs]) for name in names]


def write_report(
    items: Iterable[tuple[Mapping[str, Any], str]],
    head: Head,
    out: Path,
    *,
    max_items: int = MAX_ITEMS,
    max_bytes: int = MAX_BYTES,
    color_maps: Sequence[str] = ("turbo", "viridis", "cividis", "inferno"),
) -> ReportSummary:
    """Write ``report.html`` into ``out``, and ``report-2.html``, … when a page is full.

    ``items`` are gallery items (`wsl.report.items`), each with its picture (base64 of WebP): all for one run, or all
    pairs if the head has a second run. Pages need no network and no other file, and link to each other. Pages left by
    an earlier, longer report are removed.

    Raises:
        UserError: a colour map is unknown.
    """
    render = _renderer(head, color_maps)
    written: list[Path] = []
    images = 0
    waiting: list[str] | None = None
    for page in _pages(items, max_items, max_bytes):
        # A page is written when the next one begins, because only then it is known whether to link to a next one.
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
        "scripts": [(files / name).read_text(encoding="utf-8") for name in _SCRIPTS],
        "settings": _json(_settings(head)),
        "palettes": _json({name: _palette(name) for name in color_maps}),
    }
    return lambda **page: template.render(**shared, **page)


def _settings(head: Head) -> dict[str, Any]:
    settings: dict[str, Any] = {"title": head.title, "boxes": asdict(head.boxes)}
    if head.against is not None:
        settings["runs"] = [{"name": run.name, "threshold": run.boxes.threshold} for run in head.runs]
    return settings


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
    """JSON that cannot close the script element that contains it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
