"""Spec strings of poolings, encoders and necks: ``weldon(k_max=0.2, k_min=0.2)`` <-> module.

A spec is a name, or a name with keyword arguments: numbers, words (quoted or not), or tuples of these. It is parsed,
never evaluated. The inverse is ``repr(module)``.
"""

import ast
import difflib
import inspect
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from torch import nn

from heads import downsampling, encoding, pooling
from heads.downsampling import Downsampling
from heads.encoding import Encoder
from heads.pooling import Pooling

M = TypeVar("M", bound=nn.Module)
Value: TypeAlias = "int | float | str | bool | tuple[Value, ...] | None"

POOLINGS: Mapping[str, type[Pooling]] = MappingProxyType(
    {
        "gmp": pooling.GMP,
        "gap": pooling.GAP,
        "kmax": pooling.KMax,
        "lse": pooling.LSE,
        "weldon": pooling.WELDON,
        "wildcat": pooling.WILDCAT,
        "mixed": pooling.Mixed,
        "add": pooling.Add,
        "cat": pooling.Cat,
        "gem": pooling.GeM,
        "softpool": pooling.SoftPool,
        "stochastic": pooling.Stochastic,
        "median": pooling.Median,
        "attention": pooling.Attention,
        "csra": pooling.CSRA,
        "pcam": pooling.PCAM,
        "gndp": pooling.GNDP,
        "exp": pooling.Exp,
        "linear": pooling.Linear,
        "adaptive": pooling.Adaptive,
    }
)
"""Every pooling by name."""

ENCODERS: Mapping[str, type[Encoder]] = MappingProxyType(
    {
        "spp": encoding.SPP,
        "netvlad": encoding.NetVLAD,
        "bilinear": encoding.Bilinear,
        "compactbilinear": encoding.CompactBilinear,
    }
)
"""Every encoder by name. The names differ from those of poolings, because one flag takes both."""

NECKS: Mapping[str, type[encoding.SPPBlock]] = MappingProxyType({"sppblock": encoding.SPPBlock})
"""Every neck by name: modules from features to features, between a backbone and either head."""

DOWNSAMPLINGS: Mapping[str, type[Downsampling]] = MappingProxyType(
    {
        "softpool1d": downsampling.SoftPool1d,
        "softpool2d": downsampling.SoftPool2d,
        "softpool3d": downsampling.SoftPool3d,
        "stochasticpool2d": downsampling.StochasticPool2d,
        "mixedpool2d": downsampling.MixedPool2d,
        "medianpool2d": downsampling.MedianPool2d,
        "powerpool2d": downsampling.PowerPool2d,
        "adapool2d": downsampling.AdaPool2d,
        "maxpool2d": downsampling.MaxPool2d,
        "avgpool2d": downsampling.AvgPool2d,
    }
)
"""Every windowed pooling by name."""

_LONGEST_SPEC = 500
_HYPHEN = re.compile(r"(?<=[A-Za-z])-(?=[A-Za-z])")
_WORDS = {"inf": math.inf, "nan": math.nan, "none": None, "true": True, "false": False}


def list_poolings() -> list[str]:
    """The names that `create_pooling` knows.

    >>> "gap" in list_poolings()
    True
    """
    return list(POOLINGS)


def create_pooling(spec: str, **sizes: int) -> Pooling:
    """The pooling module that a spec string names.

    ``create_pooling(repr(module))`` makes a module equivalent to a new one with the same arguments. ``sizes`` are the
    numbers of ``classes`` and ``channels`` that replace "auto" in the arguments of these names.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: the spec is malformed, a name or argument is unknown, or a value is out of range.

    >>> create_pooling("wildcat(k_max=0.2, alpha=0.7)")
    wildcat(k_max=0.2, k_min=0.2, alpha=0.7)
    >>> create_pooling("weldn")
    Traceback (most recent call last):
    ValueError: unknown pooling 'weldn': did you mean 'weldon'?
    """
    return create(spec, POOLINGS, "pooling", sizes=sizes)


def list_encoders() -> list[str]:
    """The names that `create_encoder` knows.

    >>> list_encoders()
    ['spp', 'netvlad', 'bilinear', 'compactbilinear']
    """
    return list(ENCODERS)


def create_encoder(spec: str, in_channels: int) -> Encoder:
    """The encoder module that a spec string names, for features with ``in_channels`` channels.

    ``create_encoder(repr(module), module.in_channels)`` makes a module equivalent to a new one with the same arguments.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: the spec is malformed, a name or argument is unknown, or a value is out of range.

    >>> create_encoder("spp(levels=(2, 1), kind=average)", 512)
    spp(levels=(2, 1), kind=average)
    """
    return create(spec, ENCODERS, "encoder", given={"in_channels": in_channels})


def names_encoder(spec: str) -> bool:
    """Whether a spec string names an encoder; otherwise it names a pooling.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: the spec is malformed, or names neither.

    >>> names_encoder("netvlad(clusters=16)"), names_encoder("gap")
    (True, False)
    """
    kind, known = "pooling or encoder", [*POOLINGS, *ENCODERS]
    name, _ = parse_spec(spec, kind, known)
    if name not in ENCODERS and name not in POOLINGS:
        raise ValueError(f"unknown {kind} {name!r}: {suggestion(name, known)}")
    return name in ENCODERS


def list_necks() -> list[str]:
    """The names that `create_neck` knows.

    >>> list_necks()
    ['sppblock']
    """
    return list(NECKS)


def create_neck(spec: str) -> encoding.SPPBlock:
    """The neck that a spec string names; the head receives its ``out_channels(in_channels)`` channels.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: the spec is malformed, a name or argument is unknown, or a value is out of range.

    >>> create_neck("sppblock"), create_neck("sppblock(kernels=(3, 7))").out_channels(512)
    (sppblock(kernels=(5, 9, 13)), 1536)
    """
    return create(spec, NECKS, "neck")


def list_downsamplings() -> list[str]:
    """The names that `create_downsampling` and `heads.replace_pooling` know.

    >>> "softpool2d" in list_downsamplings()
    True
    """
    return list(DOWNSAMPLINGS)


def create_downsampling(spec: str, **window: Any) -> Downsampling:
    """The windowed pooling that a spec string names; ``window`` holds arguments that the spec may omit.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: the spec is malformed, a name or argument is unknown, ``kernel_size`` is missing, or a value is out
            of range.

    >>> create_downsampling("softpool2d(kernel_size=3, stride=2)")
    softpool2d(kernel_size=3, stride=2, padding=0)
    >>> create_downsampling("powerpool2d(p=4)", kernel_size=2)
    powerpool2d(kernel_size=2, stride=2, padding=0, p=4)
    """
    return create(spec, DOWNSAMPLINGS, "downsampling", defaults=window)


def create(
    spec: str,
    known: Mapping[str, type[M]],
    kind: str,
    *,
    sizes: Mapping[str, int] | None = None,
    given: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> M:
    """The module that a spec string names, out of the known modules of its kind.

    ``sizes`` replace the argument "auto"; ``given`` are arguments that are never part of a spec, and ``defaults`` those
    that it may omit.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: the spec is malformed, a name or argument is unknown, an argument is missing, or a value is out of
            range.

    >>> create("gmp", POOLINGS, "pooling")
    gmp
    """
    name, arguments = parse_spec(spec, kind, known)
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}: {suggestion(name, known)}")
    signature = inspect.signature(known[name]).parameters
    parameters = {argument: about for argument, about in signature.items() if argument not in (given or {})}
    for argument in arguments:
        if argument not in parameters:
            raise ValueError(f"{kind} {name!r} has no argument {argument!r}: {suggestion(argument, parameters)}")
    missing = [
        argument
        for argument, about in parameters.items()
        if about.default is about.empty
        and about.kind not in (about.VAR_POSITIONAL, about.VAR_KEYWORD)
        and argument not in {**(defaults or {}), **arguments}
    ]
    if missing:
        expected = ", ".join(f"{argument}=…" for argument in missing)
        raise ValueError(f"{kind} {spec!r} has no {' and no '.join(missing)}: expected {name}({expected})")
    for size, number in (sizes or {}).items():
        if size in parameters and arguments.get(size, parameters[size].default) == "auto":
            arguments[size] = number
    try:
        return known[name](**{**(defaults or {}), **(given or {}), **arguments})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind} {spec!r}: {error}") from error


def parse_spec(spec: str, kind: str = "spec", known: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a spec string, without checking that they exist.

    Underscores in the name are replaced by hyphens. A message calls the spec by its ``kind``, and lists the ``known``
    names if it is empty.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: it does not have the form ``name`` or ``name(argument=value, ...)``.

    >>> parse_spec("weldon(k_max=0.2, k_min=all)")
    ('weldon', {'k_max': 0.2, 'k_min': 'all'})
    >>> parse_spec("soft_margin"), parse_spec("soft-margin")
    (('soft-margin', {}), ('soft-margin', {}))
    """
    match _parse_expression(spec, kind, known):
        case ast.Name(id=name):
            return name.replace("_", "-"), {}
        case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
            arguments: dict[str, Any] = {}
            for keyword in keywords:
                if keyword.arg is None or keyword.arg in arguments:
                    raise _malformed(spec, kind)
                arguments[keyword.arg] = _value(keyword.value, spec, kind)
            return name.replace("_", "-"), arguments
        case _:
            raise _malformed(spec, kind)


def parse_sum(spec: str, kind: str = "spec", known: Iterable[str] = ()) -> list[str]:
    """The terms of a sum of specs, without checking that they exist; ``kind`` and ``known`` as for `parse_spec`.

    Raises:
        TypeError: ``spec`` is not a string.
        ValueError: it does not have the form ``spec + spec + ...``.

    >>> parse_sum("soft-margin + puzzle(alpha=4)")
    ['soft_margin', 'puzzle(alpha=4)']
    """

    def terms(node: ast.expr) -> Iterable[ast.expr]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [*terms(node.left), *terms(node.right)]
        return [node]

    return [ast.unparse(term) for term in terms(_parse_expression(spec, kind, known))]


def _parse_expression(spec: str, kind: str, known: Iterable[str]) -> ast.expr:
    if not isinstance(spec, str):
        raise TypeError(f"the {kind} is {spec!r}, expected a string: a name, or name(argument=value)")
    if len(spec) > _LONGEST_SPEC or not spec.strip():
        raise _malformed(spec, kind, known)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # such as for "1or 2", which is refused below
            return ast.parse(_HYPHEN.sub("_", spec.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _malformed(spec, kind) from None


def _value(node: ast.expr, spec: str, kind: str) -> Value:
    match node:
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, spec, kind) for item in items)
        case ast.Constant(value=int() | float() | str() | None as value):
            return value
        case ast.Name(id=word):
            return _WORDS.get(word.lower(), word)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name() as operand):
            number = _value(operand, spec, kind)
            if isinstance(number, int | float) and not isinstance(number, bool):
                return -number
    raise _malformed(spec, kind)


def _malformed(spec: str, kind: str, known: Iterable[str] = ()) -> ValueError:
    shown = spec if len(spec) <= 80 else f"{spec[:80]}…"
    names = "" if spec.strip() else ", ".join(known)
    expected = f"one of {names}" if names else "a name with its arguments by name, as in name(argument=value)"
    return ValueError(f"the {kind} is {shown!r}, expected {expected}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """A suggestion for an unknown word: the nearest known one, or all of them.

    >>> suggestion("weldn", ["gap", "weldon"])
    "did you mean 'weldon'?"
    """
    known = list(known)
    close = difflib.get_close_matches(word.lower(), known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"expected {'one of ' + ', '.join(known) if known else 'none'}"
