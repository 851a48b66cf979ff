"""Tables of the documentation whose first columns the code knows: everything that has a name, with its arguments.

``python tests/docs/tables.py`` writes them into the pages of `TABLES`. A table stands between the comments ``<!-- NAME:
… -->`` and ``<!-- /NAME -->``. Its rows are those of a registry, in the registry's order. The script writes the first
columns; the columns after them are prose, which is kept row by row. A new name in the registry gets a row without
prose, which `test_tables.py` refuses.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from heads import spec
from wsl.cam.methods import METHODS
from wsl.config.export import ExportFormat, SourceFormat
from wsl.config.shared import BOX_DEFAULTS
from wsl.data.layouts import LAYOUTS as DATA_LAYOUTS
from wsl.formats.exchange import FORMATS, LAYOUTS
from wsl.formats.exchange.coco import FORMER
from wsl.formats.predictions import READERS
from wsl.maps.refine import REFINEMENTS
from wsl.metrics.evaluation import METRICS as EVALUATED
from wsl.metrics.evaluation import Settings
from wsl.training.augmentation import TRANSFORMS
from wsl.training.augmentation.vision import VISION
from wsl.training.erasing import ERASERS
from wsl.training.objectives import OBJECTIVES

ROOT = Path(__file__).parents[2]
Row = tuple[str, ...]


class Table(NamedTuple):
    """A table of a page: the headers and the rows of the columns that the code knows, the name first."""

    page: str
    headers: Row
    rows: Callable[[], list[Row]]


def as_written(value: object) -> str:
    """An argument's value as a spec string has it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(as_written, value))})"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def code(*texts: str) -> str:
    """Texts in code style, separated by commas."""
    return ", ".join(f"`{text}`" for text in texts)


def plain(text: str) -> str:
    """Text in which Markdown finds neither HTML nor emphasis."""
    return re.sub(r"([<*|])", r"\\\1", text)


def arguments(function: Callable[..., object], without: Collection[str] = (), *, keywords: bool = False) -> str:
    """The arguments of a function or class with their defaults, all of them or those by keyword only."""
    known = [one for one in inspect.signature(function).parameters.values() if one.name not in without]
    shown = [one for one in known if one.kind is one.KEYWORD_ONLY or not keywords]
    return code(*(one.name if one.default is one.empty else f"{one.name}={as_written(one.default)}" for one in shown))


def specified(registry: Mapping[str, type], without: Collection[str] = ()) -> Callable[[], list[Row]]:
    """Rows of modules that spec strings name."""
    return lambda: [(code(name), arguments(kind, without)) for name, kind in registry.items()]


WINDOW = {"kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad"}
READS = {
    "gradients": "activations, gradients",
    "activations": "activations",
    "changed layer": "scores without each channel",
    "masked images": "scores of masked images",
    "attention": "attention",
    "attention gradients": "attention, its gradients",
    "block gradients": "attention, its gradients by block",
    "network": "the whole network",
    "shape": "nothing",
}


def cam_methods() -> list[Row]:
    """CAM methods: what each reads, of how many layers, and its arguments. "cam" is the model's own maps."""
    given = {"softmax", "to_map", "token", "seed"}
    rows = [(code("cam"), "the model's own class maps", "1", "")]
    for name, method in METHODS.items():
        functions = [method.weigh, *([] if method.targets is None else [method.targets])]
        taken = ", ".join(filter(None, (arguments(function, given, keywords=True) for function in functions)))
        layers = "all" if method.by_attention or method.reads == "network" else str(method.stages)
        rows.append((code(name), READS[method.reads], "–" if method.reads == "shape" else layers, taken))
    return rows


def refinements() -> list[Row]:
    """Refinements: what each reads, and how boxes are drawn of its maps when nothing else is said."""
    rows = []
    for name, defaults in BOX_DEFAULTS.items():
        known = REFINEMENTS.get(name)
        reads = [] if known is None else ["image"] * known.reads_image + ["features"] * known.reads_features
        rows.append(
            (
                code(name),
                ", ".join(reads) or "nothing",
                f"{defaults.threshold:g}",
                code(defaults.box_rule),
                f"{defaults.min_area:g}",
                code(defaults.box_score),
            )
        )
    return rows


def exports() -> list[Row]:
    """Formats that are written: the files, the folder of the images, and whether they are read back."""
    rows = []
    for name in get_args(ExportFormat):
        layout, known = LAYOUTS.get(name), FORMATS.get(name)
        single = () if layout is None else (layout.by_split, *layout.files)
        files = [file for file in single if file not in ("", FORMER)]
        if layout is not None and layout.suffix:
            files.append(f"{layout.folder}/<image>{layout.suffix}" if layout.folder else f"<image>{layout.suffix}")
        images = (
            ("beside the files" if known.images == "." else code(f"{known.images}/")) if known and known.images else ""
        )
        rows.append(
            (
                code(name),
                code(*files) if files else "one file",
                images,
                "yes" if name in get_args(SourceFormat) else "no",
            )
        )
    return rows


def metrics() -> list[Row]:
    """Metrics: the name for ``--metrics``, what has to be annotated, and what stands beside the number."""
    beside = {"centre": "the centre", "whole": "the whole image"}
    rows = []
    for name, make in EVALUATED.items():
        metric = make(Settings(classes=["a", "b"]))
        baselines = ", ".join(beside[view] for view in metric.views if view in beside)
        rows.append((code(name), metric.needs, baselines or ("chance" if name in ("mAP", "top-k") else "")))
    return rows


def objectives() -> list[Row]:
    """What can be minimised, and whether it is a loss of scores or a term beside one."""
    return [
        (code(name), arguments(kind, {"classes", "channels"}), "loss" if kind.classifies else "term beside a loss")
        for name, kind in OBJECTIVES.items()
    ]


TABLES: Mapping[str, Table] = {
    "poolings": Table("heads/README.md", ("name", "arguments"), specified(spec.POOLINGS)),
    "downsamplings": Table("heads/README.md", ("name", "arguments"), specified(spec.DOWNSAMPLINGS, WINDOW)),
    "encoders": Table("heads/README.md", ("name", "arguments"), specified(spec.ENCODERS, {"in_channels"})),
    "necks": Table("heads/README.md", ("name", "arguments"), specified(spec.NECKS)),
    "cam-methods": Table("wsl/cam/README.md", ("`--cam`", "reads", "layers", "arguments"), cam_methods),
    "refinements": Table(
        "wsl/maps/README.md",
        ("`--refine`", "reads", "threshold", "box rule", "smallest component", "box score"),
        refinements,
    ),
    "objectives": Table("wsl/training/README.md", ("`--loss`", "arguments", "kind"), objectives),
    "transforms": Table("wsl/training/README.md", ("`--augment`", "arguments"), specified(TRANSFORMS)),
    "erasers": Table("wsl/training/README.md", ("`--erase`", "arguments"), specified(ERASERS)),
    "vision-transforms": Table(
        "wsl/training/README.md", ("transforms of torchvision",), lambda: [(code(*sorted(VISION)),)]
    ),
    "metrics": Table("wsl/metrics/README.md", ("`--metrics`", "needs", "baseline"), metrics),
    "data-layouts": Table(
        "wsl/formats/README.md",
        ("`--format`", "recognised by"),
        lambda: [(code(name), plain(layout.looked_for)) for name, layout in DATA_LAYOUTS.items()],
    ),
    "predictions": Table(
        "wsl/formats/README.md",
        ("`--predictions-format`", "holds", "recognised by"),
        lambda: [(code(name), reader.holds, plain(reader.what)) for name, reader in READERS.items()],
    ),
    "exports": Table("wsl/formats/README.md", ("`--format`", "files", "images", "read back"), exports),
}


def block(name: str) -> re.Pattern[str]:
    """The table of a name in its page: the comment before it, its lines, the comment after it."""
    return re.compile(rf"(<!-- {name}:[^\n]*-->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


def cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def written(name: str, text: str) -> str:
    """A page's text with a table brought up to date."""
    table = TABLES[name]
    found = block(name).search(text)
    if found is None:
        raise SystemExit(f"{table.page} has no place for {name}: expected <!-- {name}: … --> and <!-- /{name} -->")
    lines = [cells(line) for line in found[2].splitlines() if line]
    known = len(table.headers)
    behind = lines[0][known:] if lines else []
    prose = {line[0]: line[known:] for line in lines[2:]}
    rows = [[*row, *prose.get(row[0], [""] * len(behind))] for row in table.rows()]
    head = [*table.headers, *behind]
    body = [f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows]]
    return text[: found.start(2)] + f"\n{''.join(body)}\n".replace("  ", " ") + text[found.end(2) :]


def main() -> None:
    """Write every table into its page."""
    for name, table in TABLES.items():
        page = ROOT / table.page
        page.write_text(written(name, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
