"""Settings to JSON and back, exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import cattrs
import cattrs.v

from wsl.errors import UserError

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
        UserError: not JSON, an unknown or missing setting, or a value out of range.

    >>> from wsl.config import PickConfig
    >>> from_json('{"top_k": 3}', PickConfig).top_k
    3
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise UserError(f"settings are {type(values).__name__}, expected names with values")
        return _converter().structure(values, kind)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"not JSON: {error}") from error
    except cattrs.BaseValidationError as error:
        raise UserError("; ".join(cattrs.transform_error(error, format_exception=_explain))) from error


def _explain(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, UserError) else str(cattrs.v.format_exception(error, kind))


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, lambda path: path.as_posix())
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    return converter
