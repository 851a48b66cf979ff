"""The feature map in a network's output: a tensor, or one in a list, a dictionary or an object."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from wsl.cam.layouts import Kind, find_layout, to_map
from wsl.errors import UserError
from wsl.models.grid import Placement


class Reading(NamedTuple):
    """Which tensor of a network's output is its feature map, and the layout of that tensor."""

    key: object
    kind: Kind
    prefix: int


def choose_map(output: Any, place: Callable[[torch.Tensor], Placement], name: str) -> Reading:
    """The coarsest map of a network's output.

    Raises:
        UserError: there is no map, or there are several of the coarsest size.

    >>> features = torch.zeros(1, 8, 7, 7)
    >>> choose_map({"out": features}, lambda tensor: Placement(find_layout(tensor.shape, (224, 224)), None), "net")
    Reading(key='out', kind='nchw', prefix=0)
    """
    layouts = {key: place(tensor).layout for key, tensor in _tensors(output).items()}
    maps = {key: layout for key, layout in layouts.items() if layout is not None}
    if not maps:
        raise UserError(f"{name} gives {_describe(output)}: expected a backbone with a feature map, (N, C, h, w)")
    fewest = min(math.prod(layout.size) for layout in maps.values())
    coarsest = [key for key, layout in maps.items() if math.prod(layout.size) == fewest]
    if len(coarsest) > 1:
        raise UserError(
            f"{name} gives {_describe(output)}, several maps of one size: expected one; wrap it in a module that "
            "returns the one to use"
        )
    layout = maps[coarsest[0]]
    return Reading(coarsest[0], layout.kind, layout.prefix)


def read_map(output: Any, reading: Reading, image_size: tuple[int, int]) -> torch.Tensor:
    """The feature map (N, C, h, w) in the output for images of (height, width).

    Raises:
        UserError: the tokens do not form a map of such an image.
    """
    tensor = output if reading.key is None else _tensors(output)[reading.key]
    if reading.kind == "nchw":
        return tensor
    layout = find_layout(tensor.shape, image_size, kind=reading.kind, prefix=reading.prefix)
    if layout is None:
        raise UserError(
            f"features of shape {tuple(tensor.shape)} are not a map of an image of {image_size[0]} x {image_size[1]}: "
            "expected a size that the network takes"
        )
    return to_map(tensor, layout)


def _tensors(output: Any) -> dict[object, torch.Tensor]:
    """The tensors of an output by name or number; a single tensor has the name None."""
    if isinstance(output, torch.Tensor):
        return {None: output}
    if isinstance(output, Mapping):
        items: Any = output.items()
    elif isinstance(output, (list, tuple)):
        items = enumerate(output)
    elif dataclasses.is_dataclass(output) or hasattr(output, "__dict__"):
        items = vars(output).items()
    else:
        items = ()
    return {key: value for key, value in items if isinstance(value, torch.Tensor)}


def _describe(output: Any) -> str:
    if isinstance(output, torch.Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in _tensors(output).values())
    kind = type(output).__name__
    return f"a {kind} of tensors of shapes {shapes}" if shapes else f"a {kind} without tensors"
