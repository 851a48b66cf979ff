"""Flags of other tools, and the corresponding flags of this one."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from wsl.errors import UserError

# Keys are flags in snake case; values are our settings of that meaning, of which a command has at most one.
_OURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "arch": ("backbone", "weights"),
        "batch": ("batch_size",),
        "bs": ("batch_size",),
        "checkpoint": ("weights",),
        "ckpt": ("weights",),
        "conf": ("score_threshold", "min_score"),
        "conf_thres": ("score_threshold", "min_score"),
        "data_dir": ("data",),
        "dataset": ("data",),
        "gpu": ("device",),
        "gpus": ("device",),
        "img": ("image_size",),
        "img_size": ("image_size",),
        "imgsz": ("image_size",),
        "input": ("sources", "predictions"),
        "iou": ("nms_iou",),
        "iou_thres": ("nms_iou",),
        "learning_rate": ("lr",),
        "lr0": ("lr",),
        "method": ("cam",),
        "name": ("out",),
        "num_epochs": ("epochs",),
        "num_workers": ("workers",),
        "output": ("out",),
        "output_dir": ("out",),
        "pretrained": ("weights",),
        "project": ("out",),
        "save_dir": ("out",),
        "source": ("sources", "predictions"),
        "target_layer": ("layers",),
        "target_layers": ("layers",),
        "topk": ("top_k",),
        "wd": ("weight_decay",),
    }
)


def check_flags(args: Sequence[str], kind: Any) -> None:
    """Refuse flags of other tools for which the command has a corresponding setting.

    Raises:
        UserError: there is such a flag; the message names the setting.

    >>> from wsl.config import LocalizeConfig
    >>> check_flags(["photos", "--conf", "0.3"], LocalizeConfig)
    Traceback (most recent call last):
    wsl.errors.UserError: unknown flag --conf: it is called --score-threshold here
    """
    known = names_of(kind)
    for arg in args:
        if not arg.startswith("--"):
            continue
        flag = arg.partition("=")[0]
        name = flag.removeprefix("--").replace("-", "_").lower()
        ours = next((one for one in _OURS.get(name, ()) if one in known), None)
        if ours == "sources":
            raise UserError(f"unknown flag {flag}: images and folders are given without a flag here")
        if ours is not None and name not in known:
            raise UserError(f"unknown flag {flag}: it is called --{ours.replace('_', '-')} here")


def names_of(kind: Any) -> set[str]:
    """The names of all settings, including those of groups.

    >>> from wsl.config import PickConfig
    >>> sorted(names_of(PickConfig))
    ['classes', 'score_threshold', 'top_k']
    """
    hints = typing.get_type_hints(kind)
    found: set[str] = set()
    for one in dataclasses.fields(kind):
        members = (hints[one.name], *typing.get_args(hints[one.name]))
        groups = [member for member in members if dataclasses.is_dataclass(member)]
        found |= names_of(groups[0]) if groups else {one.name}
        found.add(one.name)
    return found
