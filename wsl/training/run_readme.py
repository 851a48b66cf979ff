"""The README.md of a run: its settings and data, its figures for each class, and how to use it."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from wsl.config import TrainConfig
from wsl.errors import quoted
from wsl.tables import format_table
from wsl.training.optimizer import count_epochs

# Settings that do not belong to the command of a run.
_ELSEWHERE = ("resume", "overwrite")
_MOST_CLASSES, _MOST_CONFUSIONS = 200, 20


def run_readme(
    config: TrainConfig,
    best: Mapping[str, Any],
    classes: Sequence[Mapping[str, Any]],
    images: int,
    confusions: Mapping[str, Any] | None = None,
) -> str:
    """The text of a run's README.md: `best` is the record of the best epoch, `classes` holds its figures by class.

    `confusions` is the content of ``confusions.json``: the criterion for a ``predicted`` class, and the ``confusions``.
    If the model has a linear probe, both are those of its scores, and the record has the mAP of the head.

    >>> from wsl.config import DataConfig
    >>> config = TrainConfig(data=DataConfig(data=Path("voc")), out=Path("runs/gap"))
    >>> rows = [{"class": "dog", "images": 3, "AP": 0.5}]
    >>> print(run_readme(config, {"epoch": 2, "mAP": 0.5}, rows, 10).split("##")[1])
     How it was trained
    <BLANKLINE>
    ```
    wsl-train --data voc --out runs/gap
    ```
    <BLANKLINE>
    On 10 images of train, validated on val. The model is that of epoch 2 of 20, the best by mAP.
    """
    title = f"{config.model.backbone}, {config.model.pooling}"
    kept = "the last one" if best.get(config.best_by) is None else f"the best by {config.best_by}"
    split = "" if config.val_split is None else f", validated on {config.val_split}"
    lines = [f"# {title}", ""]
    lines += [
        f"A classifier of {len(classes)} classes that localizes them, trained from image-level labels by wsl-toolkit.",
        "",
    ]
    lines += ["## How it was trained", "", "```", command(config), "```", ""]
    epochs = f"epoch {best['epoch']} of {count_epochs(config.optim)}, {kept}"
    lines += [f"On {images} images of {config.train_split}{split}. The model is that of {epochs}.", ""]
    lines += [
        "## Use",
        "",
        "```",
        f"wsl-localize photos/ --weights {quoted(config.out)} --out found --heatmaps",
        "```",
    ]
    if config.val_split is not None:
        head = best.get("mAP")
        measured = [row["AP"] for row in classes if row.get("AP") is not None]
        mean = fmean(measured) if measured else head
        lines += ["", "## Figures", "", _table({"AP": mean, "pointing": best.get("pointing")}, classes)]
        if mean is not None and head is not None and not math.isclose(mean, head, abs_tol=1e-9):
            lines += ["", f"The scores are those of the linear probe; with the head's, the mAP is {head:.3f}."]
        lines += _notes(classes, confusions or {})
    return "\n".join(lines) + "\n"


def command(config: TrainConfig) -> str:
    """The command line of a training, with every setting that is not the default.

    >>> from wsl.config import DataConfig, OptimConfig
    >>> optim = OptimConfig(lr=0.1, augment=("cutmix",), flip=False)
    >>> command(TrainConfig(data=DataConfig(data=Path("my photos")), out=Path("a"), optim=optim))
    "wsl-train --data 'my photos' --out a --augment cutmix --lr 0.1 --no-flip"
    """
    return shlex.join(["wsl-train", *_flags(config)])


def _flags(config: Any) -> list[str]:
    flags: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flags += _flags(value)
        elif field.name not in _ELSEWHERE and (field.default is dataclasses.MISSING or value != field.default):
            flag = f"--{field.name.replace('_', '-')}"
            if isinstance(value, bool):
                flags.append(flag if value else f"--no-{flag[2:]}")
            else:
                flags += [flag, *map(_text, value if isinstance(value, tuple) else (value,))]
    return flags


def _text(value: Any) -> str:
    return value.as_posix() if isinstance(value, Path) else str(value)


def _table(means: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> str:
    names = ("AP", "pointing", "precision", "recall")
    figures = [name for name in names if any(row.get(name) is not None for row in classes)]
    rows = [[row["class"], str(row["images"]), *_cells(row, figures)] for row in classes[:_MOST_CLASSES]]
    return format_table(["class", "images", *figures], [*rows, ["mean", "", *_cells(means, figures)]], (0,), "markdown")


def _cells(values: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    """Figures as text, empty where a figure is missing."""
    return ["" if values.get(name) is None else f"{values[name]:.3f}" for name in figures]


def _notes(classes: Sequence[Mapping[str, Any]], confusions: Mapping[str, Any]) -> list[str]:
    """Notes below the table: omitted classes, the criterion for predictions, and the most frequent confusions."""
    lines = []
    if len(classes) > _MOST_CLASSES:
        lines += ["", f"The first {_MOST_CLASSES} of {len(classes)} classes; classes.json has all."]
    if not confusions.get("predicted"):
        return lines
    lines += ["", f"Precision and recall are of classes predicted by this criterion: {confusions['predicted']}."]
    pairs = confusions.get("confusions", [])
    if pairs:
        more = " (confusions.json has more)" if len(pairs) > _MOST_CONFUSIONS else ""
        lines += [
            "",
            "## Confusions",
            "",
            f"Classes predicted in images without them, by the classes present{more}:",
            "",
        ]
        header = ["predicted", "in images of", "images", "of"]
        rows = [[pair["predicted"], pair["present"], str(pair["images"]), str(pair["of"])] for pair in pairs]
        lines += [format_table(header, rows[:_MOST_CONFUSIONS], (0, 1), "markdown")]
    return lines
