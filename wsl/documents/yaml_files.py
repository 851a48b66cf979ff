"""YAML of bounded size, without aliases and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from wsl.documents.guard import describe
from wsl.documents.text import read_text
from wsl.errors import UserError

LARGEST_YAML = 1 << 20
"""Maximum size of a document in bytes; the parser needs a second for some hundred thousand."""


class _Plain(yaml.SafeLoader):  # type: ignore[misc] # the library has no types
    """Refuses aliases, with which a short text can expand to any size."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has aliases")
        return super().compose_node(parent, index)


def load_yaml(path: Path, expected: str) -> Any:
    """A YAML document of plain values.

    Raises:
        UserError: the document cannot be read, is larger than 1 MiB, is not YAML, or has aliases or tags.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "data.yaml")
    ...     _ = file.write_text("names: [cat, dog]", encoding="utf-8")
    ...     load_yaml(file, "names")
    {'names': ['cat', 'dog']}
    """
    text = read_text(path, expected, LARGEST_YAML)
    try:
        return yaml.load(text, Loader=_Plain)
    except RecursionError as error:
        raise UserError(f"{path}: not YAML (nested too deeply); expected {expected}") from error
    except Exception as error:  # invalid dates, numbers of thousands of digits: the parser raises many types
        reason = str(error).splitlines()[0][:200] if isinstance(error, yaml.YAMLError) else describe(error)
        raise UserError(f"{path}: not YAML ({reason}); expected {expected}") from error
