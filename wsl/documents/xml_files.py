"""XML of bounded size and depth, in which nothing is expanded."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, TreeBuilder

from defusedxml import DefusedXmlException, ElementTree

from wsl.documents.text import read_whole
from wsl.errors import UserError

LARGEST_XML = 256 << 20
"""Bytes of the largest document; its elements take some fifty times as much."""
DEEPEST = 64
"""Elements within each other."""


def load_xml(path: Path, expected: str, *roots: str) -> Any:
    """The root of an XML document without entities, which must be one of ``roots`` where some are named.

    Raises:
        UserError: it cannot be read, is larger than 256 MiB, not well-formed, nested more than 64 elements deep or of
            another root, or declares entities.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.xml")
    ...     _ = file.write_text("<dog age='3'/>", encoding="utf-8")
    ...     load_xml(file, "a dog", "dog").get("age")
    '3'
    """
    return parse_xml(read_whole(path, expected, LARGEST_XML), path, expected, *roots)


def parse_xml(text: str | bytes, where: object, expected: str, *roots: str) -> Any:
    """The root of an XML document from its text; ``where`` opens the messages.

    Raises:
        UserError: as `load_xml`.

    >>> parse_xml("<dog age='3'/>", "the form", "a dog").get("age")
    '3'
    """
    try:
        parser = ElementTree.XMLParser(target=_Bounded())
        parser.feed(text)
        root: Any = parser.close()
    except DefusedXmlException as error:
        raise UserError(f"{where}: refused, it declares XML entities; expected {expected}") from error
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: not well-formed XML ({error}); expected {expected}") from error
    if roots and root.tag not in roots:
        named = f"<{str(root.tag)[:80]}>"
        raise UserError(f"{where}: its root is {named}, expected <{'> or <'.join(roots)}> of {expected}")
    return root


class _Bounded(TreeBuilder):
    """Builds the tree, and stops where it becomes too deep for whoever walks through it."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} elements deep")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Any:
        self._depth -= 1
        return super().end(tag)
