"""Reading XML that strangers wrote: nothing in it is expanded, and every surprise is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException, ElementTree

from wsl.errors import UserError


def load_xml(path: Path, expected: str) -> Any:
    """The root of an XML document without entities.

    Raises:
        UserError: it cannot be read, is not well-formed, or declares entities.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.xml")
    ...     _ = file.write_text("<dog age='3'/>", encoding="utf-8")
    ...     load_xml(file, "a dog").get("age")
    '3'
    """
    try:
        return ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    except DefusedXmlException as error:
        raise UserError(f"{path}: refused, it declares XML entities; expected {expected}") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not well-formed XML ({error}); expected {expected}") from error
