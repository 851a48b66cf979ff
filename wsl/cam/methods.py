"""CAM methods by name: what each reads from a network, and how it turns that into maps."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch

from heads.spec import parse_spec, suggestion
from wsl.cam.ablationcam import ablationcam
from wsl.cam.baselines import centre_gaussian, random_maps
from wsl.cam.eigencam import eigencam
from wsl.cam.eigengradcam import eigengradcam
from wsl.cam.finercam import finer_targets
from wsl.cam.fullgrad import fullgrad
from wsl.cam.gradcam import gradcam
from wsl.cam.gradcampp import gradcampp
from wsl.cam.gradient_rollout import gradient_rollout
from wsl.cam.hirescam import hirescam
from wsl.cam.layercam import layercam
from wsl.cam.legrad import legrad
from wsl.cam.rollout import rollout
from wsl.cam.scorecam import scorecam
from wsl.cam.xgradcam import xgradcam
from wsl.config.checks import check_known, spec_name
from wsl.errors import UserError

Reads = Literal[
    "gradients",
    "activations",
    "changed layer",
    "masked images",
    "attention",
    "attention gradients",
    "block gradients",
    "network",
    "shape",
]
Fuse = Literal["max", "mean", "product"]
Targets = Callable[..., torch.Tensor]


def _centre(images: torch.Tensor, classes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(centre_gaussian((size[1], size[0]))).to(images.device).expand(*classes.shape, *size)


class Method(NamedTuple):
    """A CAM method.

    ``weigh`` is the function of the method's file, and ``reads`` says what it is given. ``targets`` computes the
    scalars to differentiate from scores (N, K) and classes (N, J); None takes the classes' scores. ``fuse`` says how
    the maps of several layers are combined, and ``stages`` how many layers are read by default.
    """

    weigh: Callable[..., torch.Tensor]
    reads: Reads
    targets: Targets | None = None
    fuse: Fuse = "mean"
    stages: int = 1

    @property
    def by_attention(self) -> bool:
        """Whether the method reads the attention of blocks rather than the outputs of layers."""
        return self.reads in ("attention", "attention gradients", "block gradients")


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "gradcam": Method(gradcam, "gradients"),
        "hirescam": Method(hirescam, "gradients"),
        "gradcampp": Method(gradcampp, "gradients"),
        "xgradcam": Method(xgradcam, "gradients"),
        "layercam": Method(layercam, "gradients", fuse="max"),
        "eigencam": Method(eigencam, "activations"),
        "eigengradcam": Method(eigengradcam, "gradients"),
        "finercam": Method(gradcam, "gradients", targets=finer_targets),
        "refinecam": Method(gradcampp, "gradients", fuse="product", stages=2),
        "fullgrad": Method(fullgrad, "network"),
        "scorecam": Method(scorecam, "masked images"),
        "ablationcam": Method(ablationcam, "changed layer"),
        "legrad": Method(legrad, "block gradients"),
        "rollout": Method(rollout, "attention"),
        "gradient-rollout": Method(gradient_rollout, "attention gradients"),
        "random": Method(random_maps, "shape"),
        "centre": Method(_centre, "shape"),
    }
)
"""Every method by name. Class maps of the network itself ("cam") need no method."""

# Arguments that depend on the network and cannot be given in a spec.
_GIVEN = ("softmax", "to_map", "token", "seed")

IN_GRAPH = "cam"
AUTO = "auto"


def list_methods() -> list[str]:
    """The names of the CAM methods.

    >>> "layercam" in list_methods()
    True
    """
    return [IN_GRAPH, *METHODS]


def parse_method(spec: str) -> tuple[str, Method]:
    """The name and the method of a spec string such as ``layercam`` or ``scorecam(channels=64)``.

    The arguments are the keyword arguments of the method's function, and of its targets.

    Raises:
        UserError: the name or an argument is unknown; the message suggests the nearest one.

    >>> parse_method("finercam(alpha=0.6)")[0]
    'finercam'
    >>> parse_method("gradcm")
    Traceback (most recent call last):
    wsl.errors.UserError: unknown CAM method 'gradcm': did you mean 'gradcam'?
    """
    if isinstance(spec, str):
        check_known("CAM method", spec_name(spec), list(METHODS))
    try:
        name, arguments = parse_spec(spec)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the CAM method is {spec!r:.80}, expected a name, with arguments by name if any: 'layercam' or "
            "'scorecam(channels=64)'"
        ) from error
    method = METHODS[name]
    own, of_targets = _keywords(method.weigh), _keywords(method.targets)
    for argument in arguments:
        if argument not in {*own, *of_targets}:
            raise UserError(f"{name} has no argument {argument!r}: {suggestion(argument, [*own, *of_targets])}")
    weigh = functools.partial(method.weigh, **{key: value for key, value in arguments.items() if key in own})
    targets = method.targets
    if targets is not None:
        targets = functools.partial(targets, **{key: value for key, value in arguments.items() if key in of_targets})
    return name, method._replace(weigh=weigh, targets=targets)


def _keywords(function: Callable[..., Any] | None) -> list[str]:
    """The keyword-only arguments of a function that may be given in a spec."""
    if function is None:
        return []
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in _GIVEN]
