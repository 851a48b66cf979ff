"""Modules whose repr is the spec string that creates them."""

import inspect
from fractions import Fraction
from typing import ClassVar

from torch import nn


class Specified(nn.Module):
    """A module whose repr is the spec string of a new one with the same arguments.

    The spec's name is the subclass's name in lower case (``KMax`` is ``kmax``) or its ``spec_name``. A subclass keeps
    every constructor argument in an attribute of the same name. Arguments that can be given by position are always in
    the repr, keyword-only ones if they differ from their default; those in ``unspecified`` never are, because they are
    given separately from the spec.

    >>> from heads.pooling import WELDON
    >>> WELDON(k_max=0.2, reduction="mean")
    weldon(k_max=0.2, k_min=0.2, reduction=mean)
    """

    unspecified: ClassVar[frozenset[str]] = frozenset()
    spec_name: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()

    def __repr__(self) -> str:
        shown = []
        for argument in inspect.signature(type(self)).parameters.values():
            if argument.name in self.unspecified:
                continue
            value = getattr(self, argument.name)
            if argument.kind is not argument.KEYWORD_ONLY or value != argument.default:
                shown.append(f"{argument.name}={_format(value)}")
        name = self.spec_name or type(self).__name__.lower()
        return f"{name}({', '.join(shown)})" if shown else name


def _format(value: object) -> str:
    """A value as written in a spec: whole floats without a decimal point, words without quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_format, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < 1e15 else repr(value)
    return value if isinstance(value, str) else repr(value)
