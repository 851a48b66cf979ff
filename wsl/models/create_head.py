"""The head of a localizer from its settings."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import torch
from torch import nn

from heads import (
    AdversarialClassifier,
    MapClassifier,
    TokenClassifier,
    VectorClassifier,
    create_downsampling,
    create_neck,
    create_pooling,
    names_encoder,
)
from heads.spec import create, parse_spec
from wsl.errors import UserError
from wsl.models.gradient_head import GradientHead

HEADS: Mapping[str, type[MapClassifier | AdversarialClassifier]] = MappingProxyType(
    {"ts-cam": TokenClassifier, "scm": TokenClassifier, "acol": AdversarialClassifier}
)
"""Every head except the default one, by name."""

_LARGEST = 4 << 30  # limit of a head's parameters in bytes


def check_specs(
    pooling: str, head: str | None = None, neck: str | None = None, downsampling: str | None = None
) -> None:
    """Check the names and arguments of a model's parts without a backbone; of an encoder only the name.

    Raises:
        UserError: a name is unknown, or a value is out of range.

    >>> check_specs("weldn")
    Traceback (most recent call last):
    wsl.errors.UserError: unknown pooling or encoder 'weldn': did you mean 'weldon'?
    """
    with user_errors():
        if not names_encoder(pooling):
            check_affordable(lambda: create_pooling(pooling, classes=1, channels=1), pooling)
            check_affordable(lambda: _build(1, 1, head, pooling, None, 1), head or pooling)
        if neck is not None:
            create_neck(neck)
        if downsampling is not None:
            create_downsampling(downsampling, kernel_size=2)


def create_head(
    channels: int, num_classes: int, *, head: str | None, pooling: str, neck: str | None, maps_per_class: int
) -> MapClassifier | AdversarialClassifier | GradientHead:
    """A head for features with ``channels`` channels; see `Localizer` for the settings.

    Raises:
        UserError: a name is unknown, or settings are incompatible.

    >>> create_head(192, 20, head="ts-cam", pooling="gap", neck=None, maps_per_class=1).conv.kernel_size
    (3, 3)
    """
    build = functools.partial(_build, channels, num_classes, head, pooling, neck, maps_per_class)
    with user_errors():
        check_affordable(build, f"a head of {num_classes} classes with {pooling}")
        module = build()
    if not isinstance(module, VectorClassifier):
        return module
    if head is not None:
        name, _ = parse_spec(head, "head")
        raise UserError(f"head {name!r} pools class maps, and {pooling} has none: expected a pooling such as gap")
    if maps_per_class != 1:
        raise UserError(f"maps per class is {maps_per_class}, but {pooling} has no class maps: leave it at 1")
    if module.encoder.other_channels is not None:
        raise UserError(f"{pooling} takes two sources, and a backbone gives one: leave other_channels out")
    return GradientHead(module)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Raise errors of `heads` as `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(str(error).splitlines()[0]) from error  # torch appends locations in its code


def check_affordable(build: Callable[[], nn.Module], what: str) -> None:
    """Check that the parameters of a module take at most 4 GiB, before allocating them.

    Raises:
        UserError: they take more.

    >>> check_affordable(lambda: nn.Linear(10**6, 10**6), "that layer")
    Traceback (most recent call last):
    wsl.errors.UserError: that layer takes 4e+03 GB, expected 4.29 at most: give it smaller numbers
    """
    try:
        with torch.device("meta"):  # where modules have sizes but no memory
            module = build()
    except RuntimeError as error:  # the number of bytes exceeds 64 bits
        raise UserError(f"{what} takes more memory than there is: give it smaller numbers") from error
    size = sum(one.numel() * one.element_size() for one in module.parameters())
    if size > _LARGEST:
        raise UserError(
            f"{what} takes {size / 1e9:.3g} GB, expected {_LARGEST / 1e9:.3g} at most: give it smaller numbers"
        )


def _build(
    channels: int, num_classes: int, head: str | None, pooling: str, neck: str | None, maps_per_class: int
) -> MapClassifier | AdversarialClassifier | VectorClassifier:
    if names_encoder(pooling):
        return VectorClassifier(channels, num_classes, encoder=pooling, neck=neck)
    if head is None:
        return MapClassifier(channels, num_classes, pooling, maps_per_class, neck)
    given = {
        "in_channels": channels,
        "num_classes": num_classes,
        "pooling": pooling,
        "maps_per_class": maps_per_class,
        "neck": neck,
    }
    name, _ = parse_spec(head, "head")
    if HEADS.get(name) is TokenClassifier:
        given["calibrate"] = name == "scm"
    return create(head, HEADS, "head", given=given)
