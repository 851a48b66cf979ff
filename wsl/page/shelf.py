"""Models offered by the page: runs, and classifiers by name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from wsl.checkpoints import run_folder
from wsl.errors import UserError, nearest
from wsl.models import CamLocalizer, Localizer, OnnxLocalizer, open_model
from wsl.models.backbone import list_backbones
from wsl.models.classifiers import TINY
from wsl.models.timm_models import TIMM, is_timm_model

PRETRAINED = ("mobilenet_v2", "resnet50", "densenet121")
_OPEN = 2


class Shelf:
    """Models by name: those offered at the start, and every other classifier of torchvision and timm.

    ``offered`` are run folders, folders that contain runs, and names of classifiers; by default, some pretrained
    classifiers. Visitors of the page can open no other files.

    Raises:
        UserError: a folder without a run, or an unknown name.

    >>> Shelf(["resnet18", "timm/resnet18"]).names
    ('resnet18', 'timm/resnet18')
    """

    def __init__(self, offered: Sequence[str] = (), local_weights: Path | None = None) -> None:
        self.names = tuple(name for one in offered or PRETRAINED for name in _names(one))
        if local_weights is not None and (len(self.names) != 1 or not _is_classifier(self.names[0])):
            raise UserError(f"{local_weights} are the weights of one classifier: expected one name beside it")
        self._local_weights = local_weights
        self._opened = functools.lru_cache(maxsize=_OPEN)(self._open)

    def __call__(self, name: str) -> Localizer | CamLocalizer:
        """The model of a name, ready for inference.

        Raises:
            UserError: the name is neither offered nor that of a classifier, or its weights cannot be had.
        """
        if name not in self.names and not _is_classifier(name):
            near = nearest(name, [*self.names, *list_backbones()])
            hint = f"did you mean {near!r}?" if near else "expected one of the list, or a name of torchvision or timm"
            raise UserError(f"no model {name!r:.80}: {hint}")
        return self._opened(name)

    def _open(self, name: str) -> Localizer | CamLocalizer:
        model = open_model(name, self._local_weights if name in self.names else None)
        if isinstance(model, OnnxLocalizer):
            raise UserError(f"{name} runs outside PyTorch: the page takes run folders and names of classifiers")
        return model.eval()


def _names(one: str) -> Sequence[str]:
    if run_folder(one) is not None or _is_classifier(one):
        return [one]
    folder = Path(one)
    if not folder.is_dir():
        near = nearest(one, list_backbones())
        hint = f"did you mean {near!r}?" if near else "expected a run, a folder of runs, or a classifier's name"
        raise UserError(f"no model {one!r}: {hint}")
    runs = [file.parent.as_posix() for file in sorted(folder.glob("**/model.safetensors"))]
    if not runs:
        raise UserError(f"{one}: no run below it; wsl-train makes some, and so does `make demo` in demo/out")
    return runs


def _is_classifier(name: str) -> bool:
    if name.startswith(TIMM):
        return is_timm_model(name)
    return name != TINY and name in list_backbones()
