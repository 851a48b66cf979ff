"""Settings to JSON and back, exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from wsl.errors import UserError

if TYPE_CHECKING:  # otherwise loaded on first use: `--help` of a command reads and writes no settings
    import cattrs

C = TypeVar("C")


def to_json(config: Any) -> str:
    """A configuration as JSON text, every setting written out.

    >>> from wsl.config import PickConfig
    >>> print(to_json(PickConfig(top_k=3)))
    {
      "top_k": 3,
      "score_threshold": 0.0,
      "classes": []
    }
    """
    return json.dumps(_converter().unstructure(config), indent=2)


def from_json(text: str, kind: type[C]) -> C:
    """The inverse of `to_json`.

    Raises:
        UserError: the text is not JSON, a setting is unknown or missing, or a value is out of range.

    >>> from wsl.config import PickConfig
    >>> from_json('{"top_k": 3}', PickConfig).top_k
    3
    """
    import cattrs

    from wsl.documents import parse_json
    from wsl.documents.guard import describe

    values = parse_json(text, "settings", "names with values")
    if not isinstance(values, dict):
        raise UserError(f"settings are {type(values).__name__}, expected names with values")
    try:
        return _converter().structure(values, kind)
    except cattrs.BaseValidationError as error:
        told = "; ".join(cattrs.transform_error(error, format_exception=_explain))
        raise UserError(" ".join(told.split())) from error
    except (AttributeError, TypeError, ValueError) as error:  # such as a number instead of names with values
        raise UserError(f"malformed settings ({describe(error)}), expected names with values") from error


def _explain(error: BaseException, kind: type | None) -> str:
    import cattrs.v

    return str(error) if isinstance(error, UserError) else str(cattrs.v.format_exception(error, kind))


def _converter() -> cattrs.Converter:
    import cattrs

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, lambda path: path.as_posix())
    converter.register_structure_hook(Path, lambda value, _: Path(_plain(value, str)))
    for kind in (int, str, bool):
        converter.register_structure_hook(kind, _plain)
    converter.register_structure_hook(
        float, lambda value, _: float(value if type(value) is int else _plain(value, float))
    )
    converter.register_structure_hook_func(
        lambda kind: bool(get_origin(kind) is tuple),  # type: ignore[comparison-overlap] # of any type
        lambda value, kind: _listed(value, get_args(kind), converter),
    )
    return converter


def _plain(value: Any, kind: type) -> Any:
    """A value that has exactly that type in JSON; cattrs would convert text to a number, and true to 1."""
    if type(value) is not kind:
        raise ValueError(f"invalid value {value!r:.40}")
    return value


def _listed(value: Any, kinds: tuple[Any, ...], converter: cattrs.Converter) -> tuple[Any, ...]:
    inner = kinds[:1] * len(value) if kinds[-1] is Ellipsis and type(value) is list else kinds
    if type(value) is not list or len(value) != len(inner):
        raise ValueError(f"invalid value {value!r:.40}")
    return tuple(converter.structure(one, kind) for one, kind in zip(value, inner, strict=True))
