"""Class activation maps: methods as pure functions of tensors, and the code that runs any network for them.

The module itself can be called as a function: ``wsl.cam(model, images, classes, method=..., layers=...)`` is
`wsl.models.cam.cam`, the class activation maps (N, J, h, w) of normalised images (N, 3, H, W).

>>> import torch, wsl
>>> from torchvision.models import mobilenet_v3_small
>>> wsl.cam(mobilenet_v3_small(), torch.zeros(1, 3, 64, 64), classes=[281], method="gradcam").shape
torch.Size([1, 1, 2, 2])
"""

import sys
from types import ModuleType
from typing import Any

from wsl.cam.ablationcam import ablationcam
from wsl.cam.eigencam import eigencam
from wsl.cam.eigengradcam import eigengradcam
from wsl.cam.finercam import finer_coefficients, finer_targets
from wsl.cam.fullgrad import completeness, fullgrad
from wsl.cam.fuse import fuse
from wsl.cam.gradcam import gradcam
from wsl.cam.gradcampp import gradcampp
from wsl.cam.gradient import GradientMaps, Method, gradient_maps
from wsl.cam.gradient_rollout import gradient_rollout
from wsl.cam.hirescam import hirescam
from wsl.cam.layercam import layercam, scale_shallow
from wsl.cam.legrad import legrad
from wsl.cam.methods import METHODS, list_methods, parse_method
from wsl.cam.refinecam import refinecam
from wsl.cam.rollout import rollout
from wsl.cam.scorecam import scorecam
from wsl.cam.xgradcam import xgradcam

__all__ = [
    "METHODS",
    "GradientMaps",
    "Method",
    "ablationcam",
    "completeness",
    "eigencam",
    "eigengradcam",
    "finer_coefficients",
    "finer_targets",
    "fullgrad",
    "fuse",
    "gradcam",
    "gradcampp",
    "gradient_maps",
    "gradient_rollout",
    "hirescam",
    "layercam",
    "legrad",
    "list_methods",
    "parse_method",
    "refinecam",
    "rollout",
    "scale_shallow",
    "scorecam",
    "xgradcam",
]


class _Function(ModuleType):
    """A module that can be called as the function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from wsl.models.cam import cam  # not at import time: wsl.models imports this package

        return cam(*args, **kwargs)


sys.modules[__name__].__class__ = _Function
