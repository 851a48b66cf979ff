"""Replacement of the pooling layers of an existing network."""

import inspect
from typing import Literal, NamedTuple, TypeAlias

from torch import nn

from heads._checks import check_choice
from heads.downsampling import Downsampling
from heads.spec import DOWNSAMPLINGS, create_downsampling

Kind: TypeAlias = Literal["max", "average", "both"]

_MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Replacement(NamedTuple):
    """A pooling layer of a network that was replaced."""

    name: str
    old: nn.Module
    new: Downsampling


def replace_pooling(model: nn.Module, pooling: str | type[Downsampling], kind: Kind = "both") -> list[Replacement]:
    """Replace a network's max pools, average pools, or both by another pooling, and return what was replaced.

    ``pooling`` is a class of `heads.downsampling` or a spec string. kernel_size, stride, padding, dilation, ceil_mode
    and count_include_pad are those of the old layer, unless the spec gives them. The model is changed in place; the
    result is empty if it has no such layer.

    Not replaced are strided convolutions (as in ResNet's stem), global and adaptive pools, layers of other dimensions,
    subclasses of torch's layers (timm's ``AvgPool2dSame`` does its own padding), and max pools that also return
    indices for another layer. Poolings that a network calls as functions in its ``forward`` are not layers and cannot
    be replaced.

    Raises:
        TypeError: ``model`` or ``pooling`` has the wrong type.
        ValueError: a name, argument or kind is unknown, the model itself is the pool, or an average has a
            divisor_override.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
    >>> replace_pooling(model, "softpool2d")[0].new
    softpool2d(kernel_size=3, stride=2, padding=1)
    """
    check_choice(kind, "kind", ("max", "average", "both"))
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {model!r}, expected a torch.nn.Module")
    spec, made = _spec_of(pooling)
    wanted = tuple(kinds[made.dims] for word, kinds in (("max", _MAX), ("average", _AVERAGE)) if kind in (word, "both"))
    changed: list[Replacement] = []
    successors: dict[nn.Module, Downsampling] = {}
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if type(layer) not in wanted or getattr(layer, "return_indices", False):
            continue
        if not name:
            raise ValueError(f"model is itself the pooling layer {layer}: expected a network that holds it")
        if layer not in successors:
            successors[layer] = _successor(spec, made, name, layer, model)
        model.set_submodule(name, successors[layer])
        changed.append(Replacement(name, layer, successors[layer]))
    return changed


def _spec_of(pooling: str | type[Downsampling]) -> tuple[str, type[Downsampling]]:
    """The spec string and the class of the given pooling."""
    if isinstance(pooling, type) and issubclass(pooling, Downsampling) and pooling in DOWNSAMPLINGS.values():
        return pooling.__name__.lower(), pooling
    if not isinstance(pooling, str):
        raise TypeError(
            f"pooling is {pooling!r}, expected a class of heads.downsampling or a spec such as 'softpool2d'"
        )
    # Created once for its errors, so that a bad name or argument is reported even if there is nothing to replace. The
    # kernel is large enough for any padding.
    return pooling, type(create_downsampling(pooling, kernel_size=1001))


def _successor(spec: str, made: type[Downsampling], name: str, layer: nn.Module, model: nn.Module) -> Downsampling:
    """The new layer with the old one's window, mode and device."""
    if getattr(layer, "divisor_override", None) is not None:
        raise ValueError(
            f"{name} is {layer}, whose divisor no other pooling has: replace it by hand, or only kind='max'"
        )
    accepted = inspect.signature(made).parameters
    window = {
        argument: getattr(layer, argument)
        for argument in ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad")
        if argument in accepted and hasattr(layer, argument)
    }
    new = create_downsampling(spec, **window).train(layer.training)
    beside = next(model.parameters(), None)
    return new if beside is None else new.to(beside.device)
