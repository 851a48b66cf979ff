"""The biases that a network adds in a forward pass, recorded call by call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from wsl.errors import UserError


class BiasCall(NamedTuple):
    """A layer's call: the graph edge of its output's gradient, its bias, and the output's channel axis (1 or -1)."""

    edge: GradientEdge
    bias: torch.Tensor
    axis: int


class BiasCalls(TorchFunctionMode):
    """A mode that records each call that adds a bias to a tensor that depends on the input.

    It watches functions rather than modules, so no hook can stay behind, and it also finds normalisation layers with an
    activation inside and biases without a module. The edge is taken before an in-place activation can overwrite the
    output.

    >>> layer = torch.nn.Linear(2, 3)
    >>> with BiasCalls() as recorded:
    ...     layer(layer(torch.ones(1, 2, requires_grad=True))[:, :2]).shape
    torch.Size([1, 3])
    >>> len(recorded.calls)
    2
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[BiasCall] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and record it if it adds a bias."""
        options = kwargs or {}
        read, axis = _READERS.get(func, (None, 1))
        # Read before the call, which changes the running means of a network in training mode.
        bias = None if read is None else read(*args, **options)
        output = func(*args, **options)
        if bias is not None and output.requires_grad:
            spread = bias.detach()
            if axis == 1:
                spread = spread.reshape(-1, *[1] * (output.ndim - 2))
            self.calls.append(BiasCall(get_gradient_edge(output), spread, axis))
        return output


def _layer(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *rest: Any, **options: Any
) -> torch.Tensor | None:
    return bias


def _grouped(
    input: torch.Tensor,
    groups_or_shape: Any,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *rest: Any,
    **options: Any,
) -> torch.Tensor | None:
    return bias


def _batch_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """The constant that batch normalisation adds to a multiple of its input."""
    if training or running_mean is None or running_var is None:
        raise UserError(
            "batch normalisation uses the statistics of the batch, so images are not independent: "
            "call eval() on the network first"
        )
    shift = -running_mean * (running_var + eps).rsqrt()
    if weight is not None:
        shift = shift * weight
    return shift if bias is None else shift + bias


# For each function: how its bias is read from its arguments, and the channel axis of its output.
_READERS: dict[Callable[..., Any], tuple[Callable[..., torch.Tensor | None], int]] = {
    F.conv2d: (_layer, 1),
    F.conv_transpose2d: (_layer, 1),
    F.linear: (_layer, -1),
    F.batch_norm: (_batch_norm, 1),
    F.group_norm: (_grouped, 1),
    F.layer_norm: (_grouped, -1),
}
