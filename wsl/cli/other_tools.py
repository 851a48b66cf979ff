"""Flags of other tools, and the corresponding flags of this one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from wsl.errors import UserError

# Keys are flags in snake case; values are our settings of that meaning, of which a command has at most one.
_OURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "arch": ("backbone", "weights"),
        "batch": ("batch_size",),
        "bs": ("batch_size",),
        "checkpoint": ("weights", "source", "models"),
        "ckpt": ("weights", "source", "models"),
        "model": ("backbone", "weights", "source", "models"),
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
        "o": ("out",),
        "output": ("out",),
        "output_dir": ("out",),
        "pretrained": ("weights",),
        "project": ("out",),
        "save_dir": ("out",),
        "source": ("sources", "predictions"),
        "sources": ("sources",),
        "target_layer": ("layers",),
        "target_layers": ("layers",),
        "topk": ("top_k",),
        "wd": ("weight_decay",),
        "weights": ("source", "models"),
    }
)


def check_other_tools(flag: str, known: Collection[str]) -> None:
    """Refuse a flag of another tool for which a command has a corresponding setting, one of `known` in snake case.

    Raises:
        UserError: it is such a flag; the message names the setting.

    >>> check_other_tools("--conf", ["sources", "score_threshold"])
    Traceback (most recent call last):
    wsl.errors.UserError: unknown flag --conf: it is called --score-threshold here
    """
    name = flag.lstrip("-").replace("-", "_").lower()
    ours = next((one for one in _OURS.get(name, ()) if one in known), None)
    if ours is None:
        return
    hint = f"it is called --{ours.replace('_', '-')} here"
    if ours == "sources":
        hint = "images and folders are given without a flag here"
    if ours in ("source", "models"):
        hint = "a model is given without a flag here"
    raise UserError(f"unknown flag {flag}: {hint}")
